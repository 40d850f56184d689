"""What is another's does not exist: edits, jobs, names and texts of foreign spaces are never told, by any door."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from ketools.core.errors import Forbidden, InvalidRequest, KetoolsError, NotFound
from ketools.core.principals import Principal, principal
from ketools.servers.langchain import KEToolkit
from ketools.service.service import EditService
from ketools.tools.toolbox import Toolbox

FRANCE = ("France", "The capital of France is")
QUESTION = "What is the capital of France?"


def tools(service: EditService, name: str, *spaces: str) -> Toolbox:
    return Toolbox(service, principal(name, ["read", "edit", "erase"], spaces))


@pytest.fixture
def alice(service: EditService) -> Toolbox:
    return tools(service, "alice", "user/alice", "user/alice/*", "session/alice/*")


@pytest.fixture
def bob(service: EditService) -> Toolbox:
    return tools(service, "bob", "user/bob", "user/bob/*", "session/bob/*")


@pytest.fixture
def bobs(service: EditService, bob: Toolbox) -> dict[str, str]:
    """Ids of Bob's: a live edit, an undone one, and a job."""
    undone = bob.edit_fact("Japan", "The capital of Japan is", "Oslo", space="user/bob", method="ice")
    bob.undo_edit(str(undone.edit_id))
    live = bob.edit_fact(*FRANCE, "Lyon", space="user/bob", method="ice")
    job = bob.evaluate_space("user/bob", wait=True)
    return {"live": str(live.edit_id), "undone": str(undone.edit_id), "job": job.job_id}


def told(call: Callable[[], object]) -> str:
    """The error of a call, whatever its class."""
    with pytest.raises(KetoolsError) as raised:
        call()
    return f"{type(raised.value).__name__}: {raised.value}"


EDIT_TOOLS: dict[str, Callable[[Toolbox, str], object]] = {
    "show_edit": lambda box, edit: box.show_edit(edit),
    "undo_edit": lambda box, edit: box.undo_edit(edit),
    "undo_edit, bringing back": lambda box, edit: box.undo_edit(edit, bring_back=True),
    "evaluate_edit": lambda box, edit: box.evaluate_edit(edit),
    "a cursor": lambda box, edit: box.list_edits("user/alice", cursor=edit),
    "a cursor of all": lambda box, edit: box.list_edits("user/alice", live_only=False, cursor=edit),
    "a cursor of global": lambda box, edit: box.list_edits("global", cursor=edit),
}
JOB_TOOLS: dict[str, Callable[[Toolbox, str], object]] = {
    "job_status": lambda box, job: box.job_status(job),
    "cancelling": lambda box, job: box.cancel_job(job),
}


@pytest.mark.parametrize("how", EDIT_TOOLS)
def test_a_foreign_edit_is_answered_like_one_that_does_not_exist(
    alice: Toolbox, bobs: dict[str, str], how: str
) -> None:
    alice.edit_fact(*FRANCE, "Rome", space="user/alice", method="ice")
    for real in (bobs["live"], bobs["undone"]):
        unknown = f"e_{'0' * 15}"
        assert told(lambda: EDIT_TOOLS[how](alice, real)).replace(real, unknown) == told(  # noqa: B023
            lambda: EDIT_TOOLS[how](alice, unknown)  # noqa: B023
        )
    for guess in ("e_", "", bobs["live"][:-1], bobs["live"].upper(), "e_%", "*"):
        text = told(lambda: EDIT_TOOLS[how](alice, guess))  # noqa: B023
        assert "no edit named" in text and bobs["live"] not in text and "user/bob" not in text


@pytest.mark.parametrize("how", JOB_TOOLS)
def test_a_foreign_job_is_answered_like_one_that_does_not_exist(alice: Toolbox, bobs: dict[str, str], how: str) -> None:
    unknown = f"j_{'0' * 15}"
    assert told(lambda: JOB_TOOLS[how](alice, bobs["job"])).replace(bobs["job"], unknown) == told(
        lambda: JOB_TOOLS[how](alice, unknown)
    )
    for guess in ("j_", bobs["job"][:-1]):
        assert bobs["job"] not in told(lambda: JOB_TOOLS[how](alice, guess))  # noqa: B023


def test_names_of_foreign_spaces_are_told_by_no_tool(service: EditService, bob: Toolbox, bobs: dict[str, str]) -> None:
    carol = tools(service, "carol", "user/carol", "team/*")
    service.backend.spaces.create("team/red")
    calls: list[Callable[[], object]] = [
        lambda: carol.list_edits("team/bob"),
        lambda: carol.ask(QUESTION, "team/bob"),
        lambda: carol.edit_fact(*FRANCE, "Rome", space="team/bob", method="ice"),
        lambda: carol.evaluate_space("team/bob"),
        lambda: carol.restore_space("team/bob", 0),
        lambda: carol.fork_space("team/bob", "team/x"),
        lambda: carol.compare_spaces("team/bob", "global"),
        lambda: carol.consolidate("team/bob"),
        lambda: carol.answer_multihop(QUESTION, "team/bob"),
    ]
    for call in calls:
        text = told(call)
        assert "no space named 'team/bob'" in text and "user/bob" not in text, text
        assert "team/red" in text  # of those that she owns the near ones
    assert [space.name for space in carol.list_spaces().spaces] == ["global", "team/red"]
    assert "bob" not in json.dumps(carol.list_edits("global", live_only=False).model_dump())


def test_a_foreign_space_is_refused_alike_whether_it_exists_or_not(alice: Toolbox, bobs: dict[str, str]) -> None:
    for call in (
        lambda name: alice.ask(QUESTION, name),
        lambda name: alice.list_edits(name),
        lambda name: alice.fork_space("global", name),
        lambda name: alice.edit_fact(*FRANCE, "Rome", space=name, method="ice"),
    ):
        there, nowhere = told(lambda: call("user/bob")), told(lambda: call("user/zoe"))  # noqa: B023
        assert there.replace("user/bob", "user/zoe") == nowhere and there.startswith("Forbidden")


def test_langchain_tells_no_more(alice: Toolbox, bobs: dict[str, str], service: EditService) -> None:
    kit = {tool.name: tool for tool in KEToolkit(service, alice.principal, toolsets=["all"]).get_tools()}
    for name, arguments in (
        ("show_edit", {"edit_id": "e_"}),
        ("show_edit", {"edit_id": bobs["live"]}),
        ("undo_edit", {"edit_id": bobs["undone"]}),
        ("job_status", {"job_id": bobs["job"]}),
    ):
        said = str(kit[name].invoke(arguments))
        assert "There is no" in said and "user/bob" not in said and said.count(bobs["live"]) <= 1, said


@pytest.mark.parametrize("space", ["user/Alice", "user/alice/", "user//alice", "user/\0x", "User/alice", "user/al ice"])
def test_what_is_no_space_name_gets_the_same_error_from_every_tool(box: Toolbox, space: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: box.list_edits(space),
        lambda: box.ask(QUESTION, space),
        lambda: box.answer_multihop(QUESTION, space),
        lambda: box.edit_fact(*FRANCE, "Lyon", space=space, method="ice"),
        lambda: box.evaluate_space(space),
        lambda: box.restore_space(space, 0),
        lambda: box.fork_space("global", space),
        lambda: box.fork_space(space, "user/new"),
        lambda: box.compare_spaces("global", space),
        lambda: box.consolidate(space),
        lambda: box.erase_fact(*FRANCE, space=space),
        lambda: box.edit_personality("tea", "positive", space=space),  # type: ignore[arg-type]
    ]
    errors = {told(call) for call in calls}
    assert len(errors) == 1 and "is not a space name" in errors.pop()


# --- names that are used again ---


@pytest.fixture
def dropped(service: EditService, box: Toolbox, alice: Toolbox) -> dict[str, str]:
    """Alice's space, with a fact of hers and a job, ended; ids of what it held."""
    made = alice.edit_fact(*FRANCE, "Secretville", space="user/alice", method="ice")
    job = alice.evaluate_space("user/alice", wait=True)
    service.spaces.drop(box.principal, "user/alice")
    return {"edit": str(made.edit_id), "job": job.job_id}


def test_the_next_owner_of_a_name_sees_nothing_of_the_last(service: EditService, dropped: dict[str, str]) -> None:
    heir = tools(service, "heir", "user/alice")
    for again in (False, True):
        if again:
            heir.edit_fact("Japan", "The capital of Japan is", "Oslo", space="user/alice", method="ice")
        assert "no edit named" in told(lambda: heir.show_edit(dropped["edit"]))
        assert "no edit named" in told(lambda: heir.undo_edit(dropped["edit"]))
        assert "no edit named" in told(lambda: heir.evaluate_edit(dropped["edit"]))
        assert "no job named" in told(lambda: heir.job_status(dropped["job"]))
    assert "no edit named" in told(lambda: heir.list_edits("user/alice", cursor=dropped["edit"]))
    seen = heir.list_edits("user/alice", live_only=False).model_dump_json()
    assert "Secretville" not in seen and heir.ask(QUESTION, "user/alice").answer == "Paris"


def test_an_operator_still_finds_what_a_dropped_space_held(box: Toolbox, dropped: dict[str, str]) -> None:
    assert "Secretville" in box.show_edit(dropped["edit"]).fact and not box.show_edit(dropped["edit"]).live


# --- patterns and chains ---


def test_a_pattern_does_not_read_through_a_session_into_its_users_space(service: EditService, bob: Toolbox) -> None:
    bob.edit_fact(*FRANCE, "Lyon", space="user/bob", method="ice")
    for pattern in ("session/*", "session/*/*", "session/**"):
        mallory = tools(service, "mallory", pattern)
        for call in (
            lambda: mallory.ask(QUESTION, "session/bob/x"),  # noqa: B023
            lambda: mallory.edit_fact(*FRANCE, "Rome", space="session/bob/x", method="ice"),  # noqa: B023
            lambda: mallory.compare_spaces("global", "session/bob/x"),  # noqa: B023
            lambda: mallory.fork_space("session/bob/x", "session/mine"),  # noqa: B023
        ):
            with pytest.raises(Forbidden):
                call()
    assert tools(service, "mallory", "session/*").ask(QUESTION, "session/x").answer == "Paris"
    assert "session/bob/x" not in [space.name for space in service.spaces.list(bob.principal).spaces]


def test_a_space_that_stands_on_a_foreign_one_shows_it_to_nobody_else(service: EditService, bob: Toolbox) -> None:
    bob.edit_fact(*FRANCE, "Lyon", space="user/bob", method="ice")
    service.backend.spaces.create("session/42", "user/bob")
    assert service.asking.layer(Principal("both", bob.principal.scopes, ("session/*", "user/bob")), "session/42")[
        0
    ].edits
    mallory = tools(service, "mallory", "session/*")
    for call in (
        lambda: mallory.ask(QUESTION, "session/42"),
        lambda: mallory.fork_space("session/42", "session/43"),
        lambda: mallory.edit_fact("Japan", "The capital of Japan is", "Oslo", space="session/42", method="ice"),
        lambda: mallory.compare_spaces("session/42", "global"),
    ):
        with pytest.raises(Forbidden, match="stands on one"):
            call()


# --- forks ---


def test_undo_in_a_fork_undoes_in_the_fork(service: EditService, box: Toolbox, alice: Toolbox) -> None:
    shared = box.edit_fact(*FRANCE, "Lyon", space="global", method="ice")
    alice.fork_space("global", "user/alice/trial")
    undone = alice.undo_edit(str(shared.edit_id))  # the one place where it is hers
    assert undone.space == "user/alice/trial"
    assert alice.ask(QUESTION, "user/alice/trial").answer == "Paris"
    assert box.ask(QUESTION, "global").answer == "Lyon"
    with pytest.raises(Forbidden):
        alice.undo_edit(str(shared.edit_id))


def test_who_owns_both_says_which_one_is_meant(box: Toolbox, alice: Toolbox) -> None:
    made = alice.edit_fact(*FRANCE, "Lyon", space="user/alice", method="ice")
    alice.fork_space("user/alice", "user/alice/trial")
    with pytest.raises(InvalidRequest, match="live in user/alice, user/alice/trial: name the space"):
        alice.undo_edit(str(made.edit_id))
    assert alice.undo_edit(str(made.edit_id), space="user/alice/trial").space == "user/alice/trial"
    assert alice.ask(QUESTION, "user/alice").answer == "Lyon"
    assert alice.show_edit(str(made.edit_id)).live
    assert alice.undo_edit(str(made.edit_id)).space == "user/alice"
    assert not alice.show_edit(str(made.edit_id)).live
    with pytest.raises(Forbidden):
        alice.undo_edit(str(made.edit_id), space="user/bob")


def test_a_consolidated_note_is_undone_in_the_fork_that_has_its_weights(service: EditService, alice: Toolbox) -> None:
    made = alice.edit_fact(*FRANCE, "Lyon", space="user/alice", method="ice")
    alice.fork_space("user/alice", "user/alice/notes")
    assert alice.consolidate("user/alice", method="ft-m", wait=True).result["consolidated"] == 1
    alice.fork_space("user/alice", "user/alice/weights")
    for space in ("user/alice/weights", "user/alice/notes", "user/alice"):
        assert alice.undo_edit(str(made.edit_id), space=space).space == space
        assert alice.ask(QUESTION, space).answer == "Paris"
    with pytest.raises(InvalidRequest, match="not live"):
        alice.undo_edit(str(made.edit_id))


def test_the_lists_of_a_fork_page_over_edits_that_were_begun_elsewhere(alice: Toolbox) -> None:
    for city in ("Japan", "Peru", "Italy"):
        alice.edit_fact(city, f"The capital of {city} is", "Oslo", space="user/alice", method="ice")
    alice.fork_space("user/alice", "user/alice/trial")
    first = alice.list_edits("user/alice/trial", limit=2)
    second = alice.list_edits("user/alice/trial", limit=2, cursor=first.next_cursor)
    assert [len(first.edits), len(second.edits)] == [2, 1]
    with pytest.raises(NotFound):
        alice.list_edits("global", cursor=first.next_cursor)
