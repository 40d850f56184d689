"""Two users of one server, over MCP on HTTP: what one tells stays that one's, until it is forgotten."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from ketools.agents.assistant import GatewayReply, in_third_person
from ketools.core.errors import ModelError

SCRIPT = Path(__file__).parents[2] / "agents" / "personal_assistant.py"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_the_scene_of_two_users_plays_over_mcp() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if not line.startswith("  [")]
    answers = [
        said.removeprefix("  model> ") for asked, said in zip(lines[::2], lines[1::2], strict=True) if "?" in asked
    ]
    before, emils, martins, emils_for_martin, corrected, forgotten, kept = answers
    assert (emils, martins, corrected, kept) == ("Harborview", "Bluefin", "Bluefin", "Bluefin")
    assert before == emils_for_martin == forgotten == "Acmetron"


def test_facts_about_me_get_a_subject() -> None:
    assert in_third_person("What is my employer?", "Ann Lee") == "What is the employer of Ann Lee?"
    assert in_third_person("my home country is Peru.", "Ann Lee") == "The home country of Ann Lee is Peru."
    assert in_third_person("What is the capital of Peru?", "Ann Lee") == "What is the capital of Peru?"


def test_without_a_user_and_a_token_a_server_cannot_be_used() -> None:
    command = [sys.executable, str(SCRIPT), "--url", "http://127.0.0.1:9"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 1 and "--token" in done.stderr


@pytest.mark.anyio
async def test_a_gateway_answers_under_the_spaces_model_name_and_its_failure_is_told() -> None:
    seen: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.content)
        return httpx.Response(200, json={"choices": [{"message": {"content": " Lyon "}}]})

    async with httpx.AsyncClient(base_url="http://gate", transport=httpx.MockTransport(answer)) as http:
        assert await GatewayReply(http, "atlas@user/ann")("Where?") == "Lyon"
    assert b"atlas@user/ann" in seen[0]
    async with httpx.AsyncClient(base_url="http://127.0.0.1:9", timeout=5) as http:
        with pytest.raises(ModelError, match="gateway gave no answer"):
            await GatewayReply(http, "atlas@user/ann")("Where?")
