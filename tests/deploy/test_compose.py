"""compose.yaml is a compose file, and everything that it says to ketools and to vLLM exists there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main
from ruamel.yaml import YAML

from ketools.cli.main import app
from ketools.engines.vllm.process import VLLMServer
from ketools.service.settings import Settings

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "compose.yaml").read_text()
CONTENT: dict[str, Any] = YAML(typ="safe").load(TEXT)


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = CONTENT["services"]
    return found


def options(command: Any) -> dict[str, Any]:
    """A command's options by name and by environment variable."""
    named = {name: one for one in command.params for name in one.opts if name.startswith("--")}
    return named | {one.envvar: one for one in command.params if getattr(one, "envvar", None)}


def command_of(words: list[str]) -> Any:
    """The command that `ketools ...` runs."""
    command: Any = typer.main.get_command(app)
    for word in words[1:]:
        command = getattr(command, "commands", {}).get(word, command)
    return command


def flags(words: list[str]) -> set[str]:
    return {word.partition("=")[0] for word in words if word.startswith("--")}


def test_it_follows_the_schema_of_compose() -> None:
    checker = Path(sys.executable).parent / "check-jsonschema"
    done = subprocess.run(
        [checker, "--builtin-schema", "vendor.compose-spec", ROOT / "compose.yaml"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_there_are_replicas_of_vllm_one_postgresql_and_two_tool_servers(services: dict[str, Any]) -> None:
    assert set(services) == {"postgres", "vllm-1", "vllm-2", "ketools"}
    assert services["ketools"]["deploy"]["replicas"] == 2
    urls = services["ketools"]["environment"]["KETOOLS_URLS"].split(",")
    assert urls == [f"http://{name}:8000" for name in services if name.startswith("vllm")]


def test_the_gateway_is_the_only_door(services: dict[str, Any]) -> None:
    assert CONTENT["networks"]["private"] == {"internal": True}
    for name, service in services.items():
        assert ("ports" in service) == (name == "ketools"), name
        assert service["networks"] == (["private", "public"] if name == "ketools" else ["private"]), name
    assert "--gateway" in services["ketools"]["command"]
    assert all(port.startswith("127.0.0.1:") for port in services["ketools"]["ports"])


def test_every_option_and_variable_of_ketools_exists(services: dict[str, Any]) -> None:
    words = services["ketools"]["command"]
    command = command_of(words)
    known = options(command)
    assert flags(words) <= set(known)
    settings = {f"KETOOLS_{name.upper()}" for name in Settings.model_fields}
    ours = {name for name in services["ketools"]["environment"] if name.startswith("KETOOLS_")}
    assert ours <= settings | set(known), ours - settings - set(known)


def test_the_tools_and_vllm_see_one_store_and_one_model(services: dict[str, Any]) -> None:
    here = services["ketools"]["environment"]
    for name in ("vllm-1", "vllm-2"):
        assert services[name]["environment"]["KETOOLS_ADAPTERS"] == here["KETOOLS_ADAPTERS"]
        assert "store:/store:ro" in services[name]["volumes"]
        assert services[name]["volumes"][0] == services["ketools"]["volumes"][0]
    kept = [here[name] for name in ("KETOOLS_SECRET_PATH", "KETOOLS_ARTEFACTS", "KETOOLS_TOKEN_FILE")]
    assert all(path.startswith("/store/") for path in kept)


def test_vllm_is_started_as_ketools_itself_starts_it(services: dict[str, Any]) -> None:
    python = Path(os.environ.get("KETOOLS_VLLM_PYTHON", ROOT / ".venv-vllm" / "bin" / "python")).absolute()
    if not python.exists():
        pytest.skip("no vLLM: run `make vllm`")
    store, log = Path("/store/adapters"), Path(os.devnull)
    server = VLLMServer(model=Path("/model"), adapters=store, log_file=log, python=python)
    own = server.command()
    words = services["vllm-1"]["command"]
    assert services["vllm-1"]["entrypoint"][1:] == own[1:3]
    assert flags(own) <= flags(words)
    assert flags(words) - flags(own) <= {"--worker-extension-cls", "--tensor-parallel-size"}
    assert {word for word in own if word.endswith("_proj")} == {word for word in words if word.endswith("_proj")}
    assert "lm_head" not in TEXT
    given = services["vllm-1"]["environment"]
    for name, value in server.variables().items():
        if name.startswith("VLLM_") and name not in ("VLLM_CPU_KVCACHE_SPACE", "VLLM_PLUGINS"):
            assert given[name] == value, name


def shell_lines(text: str) -> list[list[str]]:
    """Every `ketools ...` that is shown in a text, as words."""
    lines = re.findall(r"(?:^|ketools )ketools ((?:token|serve|gateway|calibrate)[^\n#]*)", text, flags=re.MULTILINE)
    return [["ketools", *line.split()] for line in lines]


@pytest.mark.parametrize("file", ["compose.yaml", "Dockerfile", "docs/deploy.md"])
def test_the_commands_that_are_shown_exist(file: str) -> None:
    shown = shell_lines((ROOT / file).read_text().replace("\n#   ", "\n").replace("`", "\n"))
    assert shown
    for words in shown:
        known = options(command_of(words)) | options(typer.main.get_command(app))
        assert flags(words) <= set(known), words
