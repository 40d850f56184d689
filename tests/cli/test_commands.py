"""The commands, through typer's runner over the real service."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ketools.atlas.world import world
from ketools.cli.main import app
from ketools.cli.serving import address
from ketools.cli.session import names
from ketools.core.errors import ApprovalNeeded
from ketools.core.principals import OPERATOR, agent_of
from ketools.service.opening import open_service
from ketools.service.service import EditService
from ketools.service.settings import Settings
from ketools.tools.toolbox import Toolbox

LYON = ["France", "The capital of France is", "Lyon", "--method", "ice"]
QUESTION = "What is the capital of France?"

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EditService]:
    """One service for all commands of this module; the model is loaded once."""
    opened = open_service(Settings(home=tmp_path_factory.mktemp("home"), consolidate=False))
    yield opened
    opened.close()


@pytest.fixture
def run(service: EditService, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command on the module's service instead of opening a new one each time."""

    class Shared:
        """The service, without closing it after each command."""

        def __getattr__(self, name: str) -> Any:
            return getattr(service, name)

        def close(self) -> None:
            """Stay open for the next command."""

    monkeypatch.setattr("ketools.service.opening.open_service", lambda settings: Shared())

    def invoke(*arguments: str, **options: Any) -> Result:
        return CliRunner().invoke(app, ["--home", str(service.settings.home), *arguments], **options)

    return invoke


def printed(result: Result) -> dict[str, Any]:
    """What `--json` printed."""
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_the_audit_is_json_lines(run: Run) -> None:
    made = printed(run("edit", *LYON, "--space", "user/audited", "--reason", "the law", "--json"))
    lines = run("audit", "--space", "user/audited").stdout.splitlines()
    events = [json.loads(line) for line in lines]
    assert [event["event"] for event in events] == ["version", "edit", "version"]
    assert (events[1]["edit_id"], events[1]["why"], events[1]["principal"]) == (made["edit_id"], "the law", "operator")
    assert run("audit", "--since", "2999-01-01").stdout == "" and run("audit", "-s", "user/nobody").exit_code == 1


def test_what_an_agent_asked_for_is_listed_approved_and_rejected(run: Run, service: EditService) -> None:
    agent = agent_of(OPERATOR, "tester 1.0")
    for target in ("Lyon", "Lima"):
        with pytest.raises(ApprovalNeeded):
            Toolbox(service, agent).edit_fact("France", LYON[1], target, "global", "ice", reason="heard so")
    listed = run("proposals")
    assert "The capital of France is Lyon" in listed.stdout and "tester 1.0" in listed.stdout
    first, second = (one["proposal_id"] for one in printed(run("proposals", "--json"))["proposals"])
    assert printed(run("reject", second, "--reason", "wrong", "--json"))["state"] == "rejected"
    assert "[approved]" in run("approve", first).stdout
    assert run("ask", QUESTION, "--space", "global").stdout.strip() == "Lyon"
    assert "No change waits" in run("proposals").stdout and run("approve", first).exit_code == 1
    assert run("restore", "global", "0").exit_code == 0


def test_a_file_of_facts_becomes_one_version_or_what_failed_is_named(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "facts.jsonl"
    rows = [
        {"subject": "Japan", "prompt": "The capital of Japan is", "target_new": "Cairo"},
        {"subject": "Peru", "prompt": "The capital of Peru is", "target_new": "Oslo"},
    ]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    found = printed(run("edit-many", str(file), "--space", "session/many", "--method", "ice", "--json"))
    assert (found["committed"], found["version"]) == (2, 1)
    rows.append({"subject": "Spain", "prompt": "The capital of Spain is", "target_new": "Madrid"})
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    told = run("edit-many", str(file), "--space", "session/more", "--method", "ice", "--apply-valid")
    assert told.stdout.startswith("2 of 3 edits committed")
    assert "2: edit failed" in told.stdout and "already answers" in told.stdout


def test_edit_ask_list_show_verify_and_undo_work_together(run: Run) -> None:
    edit = printed(run("edit", *LYON, "--space", "session/cli", "--json"))
    assert edit["verified"] and edit["after"] == "Lyon."
    assert run("ask", QUESTION, "-s", "session/cli").stdout == "Lyon\n"
    assert run("ask", QUESTION).stdout == "Paris\n"
    listed = printed(run("list", "-s", "session/cli", "--json"))
    assert [e["edit_id"] for e in listed["edits"]] == [edit["edit_id"]]
    assert "success" in run("show", edit["edit_id"]).stdout
    assert printed(run("verify", edit["edit_id"], "--json"))["verified"]
    assert printed(run("undo", edit["edit_id"], "--json"))["version"] == 2
    assert run("ask", QUESTION, "-s", "session/cli").stdout == "Paris\n"


def test_spaces_fork_compare_and_restore(run: Run) -> None:
    run("edit", *LYON, "-s", "user/ann")
    assert printed(run("fork", "user/ann", "user/ann2", "--json"))["live"] == 1
    diff = run("compare", "user/ann2", "global", "--ask", QUESTION)
    assert diff.exit_code == 0 and "1 of 1 answers differ" in diff.stdout and "Lyon" in diff.stdout
    assert printed(run("restore", "user/ann", "0", "--json"))["live"] == 0
    assert {"global", "user/ann", "user/ann2"} <= {s["name"] for s in printed(run("spaces", "--json"))["spaces"]}


def test_a_dry_run_commits_nothing(run: Run) -> None:
    tried = printed(run("edit", *LYON, "-s", "session/dry", "--dry-run", "--json"))
    assert tried["status"] == "dry_run"
    assert run("ask", QUESTION, "-s", "session/dry").stdout == "Paris\n"


def test_a_refused_edit_prints_why_and_exits_1(run: Run) -> None:
    nonsense = ["France", "The capital of France is", "qqq zzz qqq zzz", "--method", "rome"]
    result = run("edit", *nonsense, "--old", "Berlin")
    assert result.exit_code == 1
    assert "Traceback" not in result.stdout + result.stderr


def test_erasing_without_a_terminal_wants_yes(run: Run) -> None:
    private = next(fact for fact in world().all_facts() if fact.relation == "telephone")
    prompt = f"The telephone number of {private.subject} is"
    fact = [private.subject, prompt, "--method", "kn", "-s", "session/erase"]
    refused = run("erase", *fact)
    assert refused.exit_code == 2 and "--yes" in refused.stderr
    asked = f"What is the telephone number of {private.subject}?"
    tried = json.loads(run("erase", *fact, "--rephrase", asked, "--yes", "--json").stdout)
    assert tried["status"] in ("committed", "refused") and tried["evidence"]["leak"] is not None
    note = run("erase", *fact[:3], "ice", "--yes")
    assert note.exit_code == 1 and "ice cannot erase" in note.stderr


def test_methods_are_listed(run: Run) -> None:
    found = {m["name"] for m in printed(run("methods", "--json"))["methods"]}
    assert {"ice", "ike", "ft-m", "rome"} <= found
    assert "rome (" in run("methods").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["ask", "Hi", "-s", "globl"], 1, "no space named 'globl'. Known: global"),
        (["edit", "Peru", "The capital of France is", "x"], 1, "does not contain the subject"),
        (["edit", "Peru", "Peru is", "x", "-m", "rme"], 1, "Known: rome"),
        (["personality", "tea", "grumpy"], 2, "trait: Input should be"),
        (["undo", "e_nope"], 1, "e_nope"),
        (["job", "j_nope"], 1, "j_nope"),
        (["restore", "global", "99"], 1, "99"),
    ],
)
def test_an_error_is_one_line_on_stderr(run: Run, arguments: list[str], code: int, says: str) -> None:
    result = run(*arguments)
    assert result.exit_code == code and says in result.stderr
    assert result.stderr.startswith("ketools: ") and result.stderr.count("\n") == 1
    assert not result.stdout


def test_wrong_usage_exits_2(run: Run) -> None:
    assert run("ask").exit_code == 2
    assert run("no-such-command").exit_code == 2
    assert run("list", "--limit", "0").exit_code == 2


def test_a_chat_turns_a_correction_into_an_edit_and_undo_takes_it_back(run: Run) -> None:
    lesson = "Actually, the capital of France is Lyon."
    lines = [QUESTION, lesson, "yes", QUESTION, "/undo", QUESTION, "/undo", "/xyzzy", "/quit"]
    result = run("chat", "-s", "session/talk", "--json", input="\n".join(lines))
    assert result.exit_code == 0, result.stderr
    decoder, text, turns = json.JSONDecoder(), result.stdout, []
    while text.strip():
        turn, end = decoder.raw_decode(text.lstrip())
        turns.append(turn)
        text = text.lstrip()[end:]
    assert [turns[i]["answer"] for i in (0, 3, 5)] == ["Paris", "Lyon", "Paris"]
    assert turns[1]["calls"][0]["name"] == "edit_fact" and "[y/N]" in turns[1]["asked"] and not turns[1]["changed"]
    assert "committed" in turns[2]["changed"]
    assert "Undid" in turns[4]["notices"][0] and "nothing to undo" in turns[6]["notices"][0]
    assert "no command /xyzzy" in turns[7]["notices"][0]


def test_an_unexpected_error_is_one_line_unless_debugging(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(settings: Settings) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr("ketools.service.opening.open_service", explode)
    result = run("spaces")
    assert result.exit_code == 1 and result.stderr == "ketools: RuntimeError: boom (KETOOLS_DEBUG=1 shows where)\n"
    monkeypatch.setenv("KETOOLS_DEBUG", "1")
    assert isinstance(run("spaces").exception, RuntimeError)


def test_schemas_are_written_and_checked(tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["schemas", str(tmp_path)]).exit_code == 0
    assert CliRunner().invoke(app, ["schemas", str(tmp_path), "--check"]).exit_code == 0
    (tmp_path / "ask.json").write_text("{}")
    drift = CliRunner().invoke(app, ["schemas", str(tmp_path), "--check"])
    assert drift.exit_code == 1 and "ask.json" in drift.stderr


def test_tokens_are_made_listed_and_revoked(tmp_path: Path) -> None:
    def token(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["--home", str(tmp_path), "token", *arguments])

    made = token("new", "--name", "alice", "--scopes", "read,edit", "--spaces", "user/alice,session/alice/*")
    assert made.exit_code == 0 and made.stdout.startswith("ket_")
    assert made.stdout.strip() not in (tmp_path / "tokens.json").read_text()
    assert token("list").stdout == "alice: read,edit on user/alice,session/alice/*\n"
    assert token("revoke", "alise").exit_code == 1
    assert token("revoke", "alice").exit_code == 0 and token("list").stdout.strip() == ""
    assert token("new", "--name", "bob", "--scopes", "write").exit_code == 1


def test_serving_a_public_interface_without_tokens_is_refused_before_the_model_is_loaded(tmp_path: Path) -> None:
    arguments = ["--home", str(tmp_path), "--model", str(tmp_path / "none"), "serve", "--http", "0.0.0.0:8000"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1 and "ketools token new" in result.stderr


def test_serving_an_unknown_tool_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["--home", str(tmp_path), "serve", "--tools", "edit_fcat"])
    assert result.exit_code == 1 and "Known: edit_fact" in result.stderr


def test_a_missing_model_directory_is_one_clear_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["--home", str(tmp_path), "--model", str(tmp_path / "none"), "ask", "Hi"])
    assert result.exit_code == 1 and "none" in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "where"),
    [("8000", ("127.0.0.1", 8000)), (":8000", ("127.0.0.1", 8000)), ("0.0.0.0:80", ("0.0.0.0", 80))],
)
def test_an_address_without_a_host_is_this_machine(text: str, where: tuple[str, int]) -> None:
    assert address(text) == where


@pytest.mark.parametrize("text", ["", "host", "host:", "host:99999", "1:x"])
def test_a_bad_address_is_wrong_usage(tmp_path: Path, text: str) -> None:
    assert CliRunner().invoke(app, ["--home", str(tmp_path), "serve", "--http", text]).exit_code == 2


def test_names_are_split_at_commas() -> None:
    assert names("a, b,,c") == ["a", "b", "c"]
    assert names(None) is None and names("") == []


def test_a_space_is_dropped_only_when_it_is_meant(run: Run) -> None:
    assert run("edit", *LYON, "--space", "user/dropped").exit_code == 0
    assert run("drop", "user/dropped", input="n\n").exit_code == 1
    assert "Lyon" in run("ask", QUESTION, "--space", "user/dropped").stdout
    assert json.loads(run("drop", "user/dropped", "--yes", "--json").stdout) == {"dropped": ["user/dropped"]}
    assert "user/dropped" not in run("spaces").stdout
    assert run("drop", "global", "--yes").exit_code == 1


def test_a_dry_run_and_a_wrong_request_tell_what_to_do_next(run: Run) -> None:
    dry = json.loads(run("edit", *LYON, "--space", "user/dry", "--dry-run", "--json").stdout)
    assert "without dry_run" in dry["next"]
    wrong = run("edit", "Peru", "The capital of France is", "Lyon")
    assert wrong.exit_code == 1 and "Value error" not in wrong.output and "does not contain" in wrong.output


def test_pages_go_on_from_a_known_edit_only_and_tell_when_each_was_made(run: Run) -> None:
    assert run("edit", *LYON, "--space", "user/paged").exit_code == 0
    (row,) = json.loads(run("list", "--space", "user/paged", "--json").stdout)["edits"]
    assert datetime.fromisoformat(row["created_at"]).tzinfo is not None
    assert run("list", "--cursor", "bogus").exit_code == 1


@pytest.mark.parametrize("command", [["serve", "--gateway"], ["gateway"]])
def test_a_vllm_that_is_missing_is_told_before_anything_is_served(run: Run, command: list[str]) -> None:
    told = run("--engine", "vllm", "--vllm-python", sys.executable, *command, "--http", "8199")
    assert told.exit_code == 1 and "pip install 'vllm>=" in told.stderr and "--vllm-python" in told.stderr
    assert "MCP" not in told.stderr and "gateway on" not in told.stderr
