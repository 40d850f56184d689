"""Who may do what, where; forks, comparisons and restores through the tools."""

from __future__ import annotations

import pytest

from ketools.core.errors import Forbidden, InvalidRequest, NotFound
from ketools.core.principals import principal
from ketools.service.service import EditService
from ketools.tools.toolbox import Toolbox

FRANCE = ("France", "The capital of France is")
QUESTION = "What is the capital of France?"


@pytest.fixture
def alice(service: EditService) -> Toolbox:
    return Toolbox(service, principal("alice", ["read", "edit"], ["user/alice", "session/alice/*"]))


def test_a_principal_edits_its_own_spaces_and_reads_global(alice: Toolbox) -> None:
    assert alice.edit_fact(*FRANCE, "Lyon", space="session/alice/1", method="ice").verified
    assert alice.ask(QUESTION).answer == "Paris"
    with pytest.raises(Forbidden):
        alice.edit_fact(*FRANCE, "Lyon", method="ice", space="global")


def test_a_foreign_space_is_neither_read_nor_listed(alice: Toolbox, box: Toolbox) -> None:
    made = box.edit_fact(*FRANCE, "Lyon", space="user/bob", method="ice")
    for call in (
        lambda: alice.ask(QUESTION, "user/bob"),
        lambda: alice.list_edits("user/bob"),
        lambda: alice.compare_spaces("global", "user/bob"),
        lambda: alice.fork_space("user/bob", "user/alice"),
    ):
        with pytest.raises(Forbidden):
            call()
    for look in (alice.show_edit, alice.undo_edit):
        with pytest.raises(NotFound):
            look(str(made.edit_id))
    assert "user/bob" not in [s.name for s in alice.list_spaces().spaces]


def test_erasing_needs_its_own_scope(alice: Toolbox) -> None:
    with pytest.raises(Forbidden, match="erase"):
        alice.erase_fact(*FRANCE, space="user/alice")


def test_a_fork_goes_its_own_way_and_a_comparison_shows_it(box: Toolbox) -> None:
    box.edit_fact(*FRANCE, "Lyon", space="user/alice", method="ice")
    fork = box.fork_space("user/alice", "user/trial")
    box.edit_fact(*FRANCE, "Rome", space="user/trial", method="ice")
    diff = box.compare_spaces("user/alice", "user/trial", [QUESTION, "What is the capital of Japan?"])
    assert fork.live == 1
    assert [len(diff.only_a), len(diff.only_b)] == [1, 1]
    assert [(r["a"], r["b"]) for r in diff.answers] == [("Lyon", "Rome"), ("Tokyo", "Tokyo")]


def test_restoring_a_version_restores_its_layer(box: Toolbox, service: EditService) -> None:
    box.edit_fact(*FRANCE, "Lyon", space="user/alice", method="ice")
    before = service.runtime.spaces.layer("user/alice").hash
    box.edit_fact("Japan", "The capital of Japan is", "Oslo", space="user/alice", method="ice")
    view = box.restore_space("user/alice", 1)
    assert (view.version, view.live, view.layer_hash) == (3, 1, before)


def test_undoing_twice_is_told(box: Toolbox) -> None:
    made = box.edit_fact(*FRANCE, "Lyon", method="ice")
    box.undo_edit(str(made.edit_id))
    with pytest.raises(InvalidRequest, match="not live"):
        box.undo_edit(str(made.edit_id))


def test_pages_of_edits_follow_a_cursor(box: Toolbox) -> None:
    for city in ("Lyon", "Rome", "Lima"):
        box.edit_fact(*FRANCE, city, space="user/alice", method="ice")
    first = box.list_edits("user/alice", live_only=False, limit=2)
    second = box.list_edits("user/alice", live_only=False, limit=2, cursor=first.next_cursor)
    assert [len(first.edits), len(second.edits)] == [2, 1] and second.next_cursor is None
    assert [e.live for e in first.edits] == [True, False]
