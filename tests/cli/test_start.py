"""What needs no model loads none: commands on the journal, and an MCP server up to its list of tools."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread

import pytest

from ketools.bench.start import HELLO, bench_start
from ketools.core.errors import EngineUnavailable
from ketools.core.principals import OPERATOR
from ketools.core.requests import EditRequest
from ketools.journal import Journal, Outcome
from ketools.layers.kinds.note import Note
from ketools.layers.store import ArtefactStore
from ketools.service.in_place import note_server
from ketools.service.opening import open_service
from ketools.service.settings import Settings

HEAVY = ("torch", "transformers", "numpy", "faiss", "mcp", "langchain_core")
PROGRAM = """
import sys
from typer.testing import CliRunner
from ketools.cli.main import app
done = CliRunner().invoke(app, sys.argv[1:])
print(done.stdout, done.exit_code, [m for m in {heavy} if m in sys.modules])
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home whose journal holds one live note in the global space, and a job."""
    with closing(Journal(tmp_path / "journal.db")) as journal:
        request = EditRequest(subject="France", prompt="The capital of France is", target_new="Lyon")
        name = ArtefactStore(tmp_path / "artefacts").put(Note("ice", request))
        record = journal.new_record(
            "global", request, principal="operator", method="ice", artefact=name, base_version=0
        )
        journal.begin_edit(record)
        journal.commit("global", 0, [record.id], "edit", record.id, [Outcome(record.id, "committed")])
        journal.job_event(journal.new_job_id(), kind="consolidate", space="global", state="done")
    return tmp_path


def edit_of(home: Path) -> str:
    with closing(Journal(home / "journal.db")) as journal:
        return journal.head("global").live[0]


def job_of(home: Path) -> str:
    with closing(Journal(home / "journal.db")) as journal:
        return journal.jobs()[0].id


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("list --space global", "The capital of France is Lyon"),
        ("spaces", "global v1: 1 live edits"),
        ("show EDIT", "The capital of France is Lyon"),
        ("methods", "rome (mastery, calibrated)"),
        ("job JOB", "consolidate in global: done"),
        ("token list", ""),
        ("undo EDIT", "Undid"),
    ],
)
def test_commands_on_the_journal_load_no_model(home: Path, command: str, says: str) -> None:
    words = command.replace("EDIT", edit_of(home)).replace("JOB", job_of(home)).split()
    program = [sys.executable, "-c", PROGRAM.format(heavy=HEAVY), "--home", str(home), *words]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300, check=True)
    assert says in done.stdout and done.stdout.rstrip().endswith("0 []"), done.stdout


def test_an_edit_undone_by_the_journal_alone_is_gone(home: Path) -> None:
    with closing(open_service(Settings(home=home))) as service:
        undone = service.edits.undo(OPERATOR, edit_of(home))
        assert service.spaces.list(OPERATOR).spaces[0].layer_hash == undone.layer_hash
        assert service.backend.starter.opened is None
        assert service.edits.list(OPERATOR, "global", True, 20, None).edits == ()


def test_changes_in_place_are_not_undone_where_no_server_follows(home: Path) -> None:
    with closing(open_service(Settings(home=home, in_place=True))) as service:
        with pytest.raises(EngineUnavailable, match="no server answers"):
            service.edits.undo(OPERATOR, edit_of(home))
        note_server(home, "http://127.0.0.1:9")
        with pytest.raises(EngineUnavailable, match="no server answers"):
            service.edits.undo(OPERATOR, edit_of(home))


def test_changes_in_place_are_undone_while_their_server_answers(home: Path) -> None:
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Healthy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

    with HTTPServer(("127.0.0.1", 0), Healthy) as server:
        Thread(target=server.handle_request, daemon=True).start()
        note_server(home, f"http://127.0.0.1:{server.server_port}")
        with closing(open_service(Settings(home=home, in_place=True))) as service:
            assert service.edits.undo(OPERATOR, edit_of(home)).version == 2


@pytest.fixture
def server(home: Path) -> Iterator[subprocess.Popen[str]]:
    """`ketools serve` on stdio, to which a client has said hello."""
    command = [sys.executable, "-m", "ketools.cli.main", "--home", str(home), "serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        process.stdin.writelines(json.dumps(message) + "\n" for message in HELLO)
        process.stdin.flush()
        yield process
        process.kill()


def answer(server: subprocess.Popen[str], number: int) -> tuple[dict[str, object], list[str]]:
    """The answer with that id, and the progress messages before it."""
    assert server.stdout is not None
    told: list[str] = []
    for line in server.stdout:
        message = json.loads(line)
        if message.get("id") == number:
            return message["result"], told
        told.append(message.get("params", {}).get("message", ""))
    raise AssertionError("the server ended")


def libraries(server: subprocess.Popen[str]) -> str:
    return Path(f"/proc/{server.pid}/maps").read_text()


def test_a_server_lists_its_tools_and_refuses_bad_calls_before_it_loads_the_model(
    server: subprocess.Popen[str],
) -> None:
    tools, _ = answer(server, 2)
    assert "libtorch" not in libraries(server) and "edit_fact" in str(tools)


def test_the_first_call_waits_for_the_model_with_progress(server: subprocess.Popen[str]) -> None:
    answer(server, 2)
    assert server.stdin is not None
    call = {"name": "ask", "arguments": {"question": "What is the capital of France?"}, "_meta": {"progressToken": 1}}
    server.stdin.write(json.dumps({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": call}) + "\n")
    server.stdin.flush()
    result, told = answer(server, 3)
    assert "Lyon" in str(result) and "loading the model" in told


def test_a_server_ends_within_a_second_when_its_input_closes(server: subprocess.Popen[str]) -> None:
    answer(server, 2)
    assert server.stdin is not None
    server.stdin.close()
    begun = time.monotonic()
    assert server.wait(60) == 0 and time.monotonic() - begun < 1


def test_the_benchmark_of_starts_tells_cpu_seconds(tmp_path: Path) -> None:
    found = bench_start(Settings(home=tmp_path), n=1)
    assert set(found) == {"help_s", "list_s", "tools_list_s", "list_mb"}
    assert 0 < found["help_s"] < found["list_s"] < found["tools_list_s"] < 20 and found["list_mb"] < 200
