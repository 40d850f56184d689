"""What is written down stays, and only what was committed is live."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event

from ketools.core.errors import Conflict, InvalidRequest, NotFound
from ketools.core.evidence import Evidence
from ketools.core.requests import EditRequest, Kind
from ketools.journal import EditRecord, Journal, Outcome, check_space_name
from ketools.journal.records import Ids

Begin = Callable[..., EditRecord]
segment = st.text("abcxyz019._-", min_size=1, max_size=20).filter(lambda s: s not in (".", ".."))


@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(segment, min_size=1, max_size=4).map("/".join))
def test_names_of_segments_are_accepted(name: str) -> None:
    assert check_space_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "/", "a/", "/a", "a//b", "User/alice", "a b", "a\n", "..", "a/../b", "é", "a#2", "x" * 121]
)
def test_other_names_are_refused_with_an_example(name: str) -> None:
    with pytest.raises(InvalidRequest, match="user/alice"):
        check_space_name(name)


def test_ids_are_short_unique_and_sort_as_they_were_made() -> None:
    ids = Ids()
    made = [ids.new("e") for _ in range(2000)]
    assert made == sorted(made)
    assert len(set(made)) == 2000
    assert {len(one) for one in made} == {17}


# --- spaces ---


def test_the_root_exists_from_the_start_with_an_empty_version(journal: Journal) -> None:
    assert [space.name for space in journal.spaces()] == ["global"]
    assert journal.space("global").parent is None
    assert journal.head("global").live == ()
    assert journal.head("global").version == 0


def test_a_space_knows_its_chain_and_its_owner(journal: Journal) -> None:
    journal.create_space("user/alice", owner="alice")
    journal.create_space("session/42", "user/alice", "alice")
    assert journal.space("session/42").chain == ("global", "user/alice", "session/42")
    assert [space.name for space in journal.spaces("alice")] == ["session/42", "user/alice"]
    assert [head.space for head in journal.state("session/42")[0].heads] == ["global", "user/alice", "session/42"]


def test_bad_taken_and_cyclic_names_and_unknown_parents_are_refused(journal: Journal) -> None:
    journal.create_space("user/alice")
    with pytest.raises(InvalidRequest, match="already"):
        journal.create_space("user/alice")
    with pytest.raises(InvalidRequest, match="own parent"):
        journal.create_space("user/bob", "user/bob")
    with pytest.raises(InvalidRequest, match="not a space name"):
        journal.create_space("User")
    with pytest.raises(NotFound, match="user/alice"):
        journal.create_space("session/1", "user/alcie")
    assert len(journal.spaces()) == 2


def test_chains_cannot_grow_without_bound(journal: Journal) -> None:
    parent = "global"
    for depth in range(15):
        parent = journal.create_space(f"s/{depth}", parent).name
    with pytest.raises(InvalidRequest, match="deep"):
        journal.create_space("s/16", parent)


def test_a_dropped_space_is_gone_and_its_name_starts_afresh(journal: Journal, commit: Begin) -> None:
    journal.create_space("user/alice", owner="alice")
    edit = commit(space="user/alice")
    counter = journal.change_counter()
    assert journal.drop_space("user/alice") == ("user/alice",)
    assert journal.change_counter() > counter
    with pytest.raises(NotFound):
        journal.head("user/alice")
    assert journal.edit(edit.id).space == "user/alice"
    journal.create_space("user/alice", owner="another")
    assert journal.head("user/alice").version == 0
    assert journal.edits("user/alice").edits == ()
    assert journal.space("user/alice").owner == "another"


def test_an_edit_begun_before_the_drop_cannot_enter_the_new_space_of_that_name(journal: Journal, begin: Begin) -> None:
    journal.create_space("user/alice")
    edit = begin(space="user/alice")
    journal.drop_space("user/alice")
    with pytest.raises(NotFound):
        journal.commit("user/alice", 0, [edit.id], "edit", edit.id, [Outcome(edit.id, "committed")])
    journal.create_space("user/alice")
    with pytest.raises(InvalidRequest, match="begun in"):
        journal.commit("user/alice", 0, [edit.id], "edit", edit.id, [Outcome(edit.id, "committed")])


def test_a_space_with_children_is_dropped_only_together_with_them(journal: Journal) -> None:
    journal.create_space("user/alice")
    journal.create_space("session/1", "user/alice")
    with pytest.raises(InvalidRequest, match="session/1"):
        journal.drop_space("user/alice")
    assert journal.drop_space("user/alice", with_children=True) == ("session/1", "user/alice")
    with pytest.raises(InvalidRequest, match="cannot be dropped"):
        journal.drop_space("global", with_children=True)


# --- edits and versions ---


def test_a_begun_edit_is_pending_and_not_live(journal: Journal, begin: Begin) -> None:
    edit = begin()
    assert journal.pending() == [edit]
    assert journal.edit(edit.id) == edit
    assert journal.head("global").live == ()


def test_a_commit_makes_the_edit_live_with_its_evidence(journal: Journal, begin: Begin) -> None:
    edit = begin()
    evidence = Evidence(success=1, success_n=3, locality=0.5, locality_n=8, probability=0.9)
    ending = Outcome(edit.id, "committed", "verified", evidence, {"compute": 1.5}, supersedes=())
    version = journal.commit("global", 0, [edit.id], "edit", edit.id, [ending])
    assert version == journal.head("global") == journal.version("global", 1)
    assert (version.version, version.live, version.edit_id) == (1, (edit.id,), edit.id)
    found = journal.edit(edit.id)
    assert found.outcome is not None
    assert replace(found.outcome, created_at=0.0) == ending
    assert replace(found, outcome=None) == edit
    assert journal.live_edits(["global"]) == {"global": (found,)}
    assert journal.pending() == []


def test_of_two_writers_on_one_version_the_second_gets_a_conflict_and_nothing_of_it_stays(
    journal: Journal, begin: Begin
) -> None:
    first, second = begin("France"), begin("Japan")
    journal.commit("global", 0, [first.id], "edit", first.id, [Outcome(first.id, "committed")])
    with pytest.raises(Conflict, match="from version 0 to 1"):
        journal.commit("global", 0, [second.id], "edit", second.id, [Outcome(second.id, "committed")])
    assert journal.head("global").live == (first.id,)
    assert journal.pending() == [second]


def test_only_committed_edits_can_be_live(journal: Journal, begin: Begin) -> None:
    pending, refused = begin("France"), begin("Japan")
    journal.close_edit(refused.id, "refused", "locality 0.2")
    for bad in (pending.id, refused.id):
        with pytest.raises(InvalidRequest, match="cannot be live"):
            journal.commit("global", 0, [bad], "edit")
    with pytest.raises(NotFound, match=pending.id):
        journal.commit("global", 0, [pending.id[:-1] + "!"], "edit")
    with pytest.raises(InvalidRequest, match="twice"):
        journal.commit("global", 0, [pending.id] * 2, "edit", outcomes=[Outcome(pending.id, "committed")])
    assert journal.head("global").version == 0


def test_an_edit_ends_once(journal: Journal, begin: Begin, commit: Begin) -> None:
    refused, live = begin("France"), commit("Japan")
    journal.close_edit(refused.id, "refused", "locality 0.2")
    for edit in (refused, live):
        with pytest.raises(Conflict, match="ended already"):
            journal.close_edit(edit.id, "cancelled")
    with pytest.raises(Conflict, match="ended already"):
        journal.commit("global", 1, [live.id, refused.id], "edit", outcomes=[Outcome(refused.id, "committed")])
    with pytest.raises(InvalidRequest, match="use commit"):
        journal.close_edit(begin("Peru").id, "committed")


def test_an_edit_without_an_artefact_can_fail_but_not_be_committed(journal: Journal, begin: Begin) -> None:
    edit = journal.begin_edit(replace(begin(), id="e_1", artefact=None))
    with pytest.raises(InvalidRequest, match="no artefact"):
        journal.commit("global", 0, [edit.id], "edit", edit.id, [Outcome(edit.id, "committed")])
    assert journal.close_edit(edit.id, "failed", "diverged").outcome == "failed"


def test_history_keeps_every_version(journal: Journal, commit: Begin) -> None:
    edits = [commit(name) for name in ("France", "Japan", "Peru")]
    journal.commit("global", 3, [edits[1].id], "restore")
    versions = journal.history("global")
    assert [version.version for version in versions] == [4, 3, 2, 1, 0]
    assert versions[1].live == tuple(edit.id for edit in edits)
    assert journal.history("global", limit=2) == versions[:2]
    assert [version.sequence for version in versions] == sorted((v.sequence for v in versions), reverse=True)
    with pytest.raises(NotFound, match="0 to 4"):
        journal.version("global", 9)


def test_pages_follow_each_other_without_gap_or_overlap(journal: Journal, commit: Begin) -> None:
    journal.create_space("user/alice")
    mine = [commit(f"Land{i}", "user/alice") for i in range(7)]
    commit("France")
    seen: list[EditRecord] = []
    after = None
    while True:
        page = journal.edits("user/alice", limit=3, after=after)
        seen += page.edits
        if (after := page.next) is None:
            break
    assert seen == mine[::-1]
    assert len(journal.edits().edits) == 8


def test_live_only_pages_leave_out_what_was_undone(journal: Journal, commit: Begin) -> None:
    edits = [commit(f"Land{i}") for i in range(4)]
    journal.commit("global", 4, [edits[0].id, edits[2].id, edits[3].id], "undo")
    page = journal.edits("global", live_only=True, limit=2)
    assert [edit.id for edit in page.edits] == [edits[3].id, edits[2].id]
    rest = journal.edits(live_only=True, limit=2, after=page.next)
    assert [edit.id for edit in rest.edits] == [edits[0].id]
    assert rest.next is None


def test_unknown_names_are_answered_with_near_ones(journal: Journal, commit: Begin) -> None:
    edit = commit()
    journal.create_space("user/alice")
    with pytest.raises(NotFound, match="user/alice"):
        journal.space("user/alcie")
    with pytest.raises(NotFound, match=edit.id):
        journal.edit(edit.id[:-1])
    with pytest.raises(NotFound):
        journal.job("j_none")


def test_the_change_counter_tells_of_other_processes_commits(place: Any, journal: Journal, commit: Begin) -> None:
    other = place.open()
    counter = other.change_counter()
    assert other.change_counter() == counter
    commit()
    assert other.change_counter() > counter
    other.close()


def test_only_artefacts_of_committed_and_pending_edits_are_kept(journal: Journal, begin: Begin, commit: Begin) -> None:
    made = [journal.begin_edit(replace(begin(), id=f"e_{i}", artefact=f"{i}" * 64)) for i in range(2)]
    journal.close_edit(made[0].id, "refused")
    assert journal.artefacts() == {"ab" * 32, "1" * 64}


def test_what_was_live_before_an_edit_is_known(journal: Journal, begin: Begin, commit: Begin) -> None:
    late = begin("Chile")
    edits = [commit(f"Land{i}") for i in range(3)]
    live = [edit.id for edit in edits]
    journal.commit("global", 3, [*live, late.id], "edit", late.id, [Outcome(late.id, "committed")])
    assert journal.live_before(edits[2].id) == tuple(live[:2])
    assert journal.live_before(late.id) == tuple(live)
    assert journal.live_before(begin("Peru").id) == ()


def test_the_same_fact_has_the_same_keyed_hash_and_another_journal_another_one(
    journal: Journal, tmp_path: Path
) -> None:
    other = Journal(tmp_path / "other" / "journal.db")
    assert journal.key_hash("france|capital") == journal.key_hash("france|capital")
    assert journal.key_hash("france|capital") != other.key_hash("france|capital")
    other.close()


# --- jobs ---


def test_a_job_is_the_latest_of_its_events(journal: Journal) -> None:
    job = journal.new_job_id()
    first = journal.job_event(job, kind="consolidate", state="queued", space="global")
    journal.job_event(job, kind="consolidate", state="running", space="global", progress=0.5, message="2 of 4")
    assert journal.job(job).progress == 0.5
    done = journal.job_event(job, kind="consolidate", state="done", space="global", progress=1, result={"n": 4})
    assert journal.job(job) == done
    assert done.created_at == first.created_at
    assert journal.jobs("global") == [done]
    assert journal.jobs("user/alice") == []
    with pytest.raises(Conflict, match="ended already"):
        journal.job_event(job, kind="consolidate", state="running")


def test_jobs_are_listed_by_their_newest_event(journal: Journal) -> None:
    one, two = journal.new_job_id(), journal.new_job_id()
    for job in (one, two, one):
        journal.job_event(job, kind="consolidate", state="running")
    assert [job.id for job in journal.jobs()] == [one, two]
    assert [job.id for job in journal.jobs(limit=1)] == [one]


# --- append-only ---


@contextmanager
def statements() -> Iterator[list[str]]:
    """Every statement that any database connection executes meanwhile."""
    seen: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_rest: object) -> None:
        seen.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def recovered(journal: Journal, count: int) -> list[str]:
    """What is closed in a writer's place: on PostgreSQL once its lock has been missing for a while."""
    closed: list[str] = []
    deadline = time.monotonic() + 60
    while len(closed) < count and time.monotonic() < deadline:
        closed += journal.recover()
        time.sleep(0.1)
    return closed


def test_nothing_is_ever_updated_or_deleted(place: Any) -> None:
    with statements() as seen:
        journal = place.open()
        request = EditRequest(kind=Kind.INSERT, subject="France", prompt="The capital of France is", target_new="x")
        journal.create_space("user/alice")
        for number in range(3):
            record = journal.new_record(
                "user/alice", request, principal="a", method="ice", artefact="0" * 64, base_version=number
            )
            journal.begin_edit(record)
            ending = Outcome(record.id, "committed")
            journal.commit("user/alice", number, [record.id], "edit", record.id, [ending])
        lost = journal.new_record("global", request, principal="a", method="ice", artefact=None, base_version=0)
        journal.begin_edit(lost)
        job = journal.new_job_id()
        journal.job_event(job, kind="consolidate", state="running")
        journal.close()
        journal = place.open()
        assert recovered(journal, 2) == [lost.id, job]
        journal.drop_space("user/alice")
        journal.close()
    verbs = {statement.split()[0].upper() for statement in seen}
    assert verbs <= {"SELECT", "INSERT", "CREATE", "ALTER", "BEGIN", "PRAGMA", "SET"}
    assert not any("REPLACE" in statement or "ON CONFLICT" in statement for statement in seen)


def test_many_threads_may_write_and_read_at_once(journal: Journal, begin: Begin) -> None:
    def one(number: int) -> str:
        edit = begin(f"Land{number}")
        while True:
            head = journal.head("global")
            try:
                ending = [Outcome(edit.id, "committed")]
                journal.commit("global", head.version, (*head.live, edit.id), "edit", edit.id, ending)
            except Conflict:
                continue
            return edit.id

    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(one, range(18)))
    assert set(journal.head("global").live) == set(made)
    assert journal.head("global").version == 18
