"""Spaces obey their laws: undo is the inverse of edit, restore of everything since, and a fork sees the same."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ketools.core.errors import Conflict, InvalidRequest, NotFound, StorageError
from ketools.core.requests import EditRequest
from ketools.journal import EditRecord, Journal, Outcome
from ketools.layers.artefacts import Artefact
from ketools.layers.composition import BASE
from ketools.layers.kinds.low_rank import LowRankDelta
from ketools.layers.kinds.note import Note
from ketools.layers.store import ArtefactStore
from ketools.spaces.layers import LayeredSpaces


def request(subject: str, target: str) -> EditRequest:
    return EditRequest(subject=subject, prompt=f"The capital of {subject} is", target_new=target, relation="capital")


def artefact(subject: str, target: str, note: bool = False) -> Artefact:
    """A note, or factors that depend on the fact and on nothing else."""
    if note:
        return Note("ice", request(subject, target))
    seed = int.from_bytes(hashlib.sha256(f"{subject}|{target}".encode()).digest()[:4])
    dice = torch.Generator().manual_seed(seed)
    return LowRankDelta("rome", {"down": (torch.randn(1, 4, generator=dice), torch.randn(3, 1, generator=dice))})


class Desk:
    """Spaces over a real journal and store, and the short way to edit."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.journal = Journal(root / "journal.db")
        self.store = ArtefactStore(root / "artefacts")
        self.spaces = LayeredSpaces(self.journal, self.store)

    def begin(self, space: str, subject: str, target: str = "Lyon", note: bool = False) -> EditRecord:
        """A pending edit on the space's head."""
        made = artefact(subject, target, note)
        return self.journal.begin_edit(
            self.journal.new_record(
                space,
                request(subject, target),
                principal="alice",
                method=made.method,
                artefact=self.store.put(made),
                base_version=self.journal.head(space).version,
            )
        )

    def ending(self, record: EditRecord) -> Outcome:
        """The outcome that lets an edit supersede what the space says about the fact."""
        same = self.spaces.same_key(record.space, record.key_hash)
        return Outcome(record.id, "committed", supersedes=tuple(edit.id for edit in same))

    def edit(self, space: str, subject: str, target: str = "Lyon", note: bool = False) -> EditRecord:
        """A committed edit."""
        record = self.begin(space, subject, target, note)
        self.spaces.commit(space, self.ending(record))
        return self.journal.edit(record.id)

    def hash(self, space: str) -> str:
        return self.spaces.layer(space).hash

    def close(self) -> None:
        self.journal.close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    opened = Desk(tmp_path)
    yield opened
    opened.close()


# --- layers ---


def test_a_space_without_edits_serves_the_untouched_model(desk: Desk) -> None:
    assert desk.spaces.layer("global") == BASE
    assert desk.hash("global") == BASE.hash


def test_a_layer_is_the_ancestors_edits_and_then_its_own(desk: Desk) -> None:
    desk.spaces.create("user/alice", owner="alice")
    desk.spaces.create("session/1", "user/alice")
    mine = desk.edit("session/1", "Peru")
    root = desk.edit("global", "France")
    users = desk.edit("user/alice", "Japan", note=True)
    layer = desk.spaces.layer("session/1")
    assert [edit.edit_id for edit in layer.edits] == [root.id, users.id, mine.id]
    assert [name for name, _ in layer.notes] == [users.id]
    expected = sum(
        delta.factors["down"][1] @ delta.factors["down"][0]
        for delta in (artefact("France", "Lyon"), artefact("Peru", "Lyon"))
        if isinstance(delta, LowRankDelta)
    )
    torch.testing.assert_close(layer.deltas["down"].matrix(), expected)
    assert [edit.edit_id for edit in desk.spaces.layer("user/alice").edits] == [root.id, users.id]
    assert desk.spaces.chain("session/1") == ["global", "user/alice", "session/1"]


def test_a_childs_edit_of_a_fact_hides_its_ancestors_edit_of_it(desk: Desk) -> None:
    desk.spaces.create("session/1")
    desk.edit("global", "France", "Lyon")
    other = desk.edit("global", "Japan", "Kyoto")
    mine = desk.edit("session/1", "France", "Nice")
    assert [edit.id for edit in desk.spaces.visible("session/1")] == [other.id, mine.id]
    assert [edit.id for edit in desk.spaces.live("session/1")] == [mine.id]
    assert len(desk.spaces.layer("global").edits) == 2
    desk.spaces.undo("session/1", mine.id)
    assert desk.hash("session/1") == desk.hash("global")


@pytest.mark.parametrize("disturbed", [False, True])
def test_a_noted_version_is_the_state_that_would_be_read(desk: Desk, disturbed: bool) -> None:
    desk.spaces.create("session/1")
    record, state = desk.begin("session/1", "France"), desk.spaces.state("session/1")
    if disturbed:
        desk.edit("global", "Japan")
    version = desk.journal.commit("session/1", 0, (record.id,), "edit", record.id, [desk.ending(record)])
    desk.spaces.moved(state, version)
    assert desk.spaces.state("session/1") == desk.journal.state("session/1")[0]
    assert len(desk.spaces.layer("session/1").edits) == 1 + disturbed


def test_spaces_that_see_the_same_share_one_layer_object(desk: Desk) -> None:
    desk.edit("global", "France")
    for name in ("session/1", "session/2"):
        desk.spaces.create(name)
    assert desk.spaces.layer("session/1") is desk.spaces.layer("session/2") is desk.spaces.layer("global")


def test_an_edit_of_another_process_is_seen_at_once(desk: Desk) -> None:
    desk.spaces.create("session/1")
    before = desk.hash("session/1")
    other = Desk(desk.root)
    other.edit("global", "France")
    assert desk.hash("session/1") == other.hash("session/1") != before
    other.spaces.drop("session/1")
    with pytest.raises(NotFound):
        desk.spaces.layer("session/1")
    other.close()


def test_a_restart_gives_every_version_the_same_hash(desk: Desk) -> None:
    for subject in ("France", "Japan", "Peru"):
        desk.edit("global", subject)
    hashes = [desk.spaces.layer("global", version).hash for version in range(4)]
    assert len(set(hashes)) == 4
    desk.close()
    again = Desk(desk.root)
    assert [again.spaces.layer("global", version).hash for version in range(4)] == hashes
    again.close()


# --- undo, restore, fork, diff, drop ---


def test_an_undone_edit_does_not_bring_back_silently_what_it_superseded(desk: Desk) -> None:
    desk.edit("global", "Japan", "Kyoto")
    old = desk.edit("global", "France", "Lyon")
    desk.edit("global", "Peru", "Cusco")
    before = desk.hash("global")
    new = desk.edit("global", "France", "Nice")
    assert old.id not in desk.journal.head("global").live
    version = desk.journal.head("global").version
    undone = desk.spaces.undo("global", new.id)
    assert undone.undone.id == new.id
    assert [edit.id for edit in undone.superseded] == [old.id]
    assert not undone.brought_back
    assert old.id not in undone.version.live
    desk.spaces.restore("global", version)
    back = desk.spaces.undo("global", new.id, bring_back=True)
    assert back.brought_back
    assert desk.hash("global") == before


def test_undo_of_what_is_not_live_here_says_where_it_is(desk: Desk) -> None:
    desk.spaces.create("session/1")
    root = desk.edit("global", "France")
    with pytest.raises(InvalidRequest, match="live in 'global'"):
        desk.spaces.undo("session/1", root.id)
    desk.spaces.undo("global", root.id)
    with pytest.raises(InvalidRequest, match="undone or superseded"):
        desk.spaces.undo("global", root.id)
    with pytest.raises(InvalidRequest, match="never committed"):
        desk.spaces.undo("global", desk.begin("global", "Japan").id)
    with pytest.raises(NotFound):
        desk.spaces.undo("global", "e_unknown")


def test_restoring_needs_every_artefact_and_else_does_nothing(desk: Desk) -> None:
    edit = desk.edit("global", "France")
    desk.spaces.undo("global", edit.id)
    desk.spaces.layer("global", 1)
    (path,) = desk.store.root.glob("*/*.safetensors")
    data = path.read_bytes()
    path.unlink()
    with pytest.raises(StorageError, match=path.name):
        desk.spaces.restore("global", 1)
    assert desk.journal.head("global").version == 2
    path.write_bytes(data)
    assert desk.spaces.restore("global", 1).live == (edit.id,)
    with pytest.raises(NotFound, match="0 to 3"):
        desk.spaces.restore("global", 7)


def test_a_fork_goes_its_own_way(desk: Desk) -> None:
    desk.spaces.create("user/alice")
    edit = desk.edit("user/alice", "France")
    fork = desk.spaces.fork("user/alice", "user/copy", owner="bob")
    assert (fork.parent, fork.owner) == ("global", "bob")
    assert desk.hash("user/copy") == desk.hash("user/alice")
    desk.spaces.undo("user/copy", edit.id)
    assert desk.hash("user/copy") == BASE.hash != desk.hash("user/alice")
    desk.edit("global", "Japan")
    assert desk.spaces.layer("user/copy").edits[0].artefact == desk.spaces.layer("global").edits[0].artefact


def test_a_fork_of_the_root_does_not_follow_it(desk: Desk) -> None:
    desk.edit("global", "France")
    desk.spaces.fork("global", "frozen")
    before = desk.hash("frozen")
    assert before == desk.hash("global")
    desk.edit("global", "Japan")
    assert desk.hash("frozen") == before


def test_a_forked_edit_that_superseded_another_can_be_undone_bringing_it_back(desk: Desk) -> None:
    old = desk.edit("global", "France", "Lyon")
    new = desk.edit("global", "France", "Nice")
    desk.spaces.fork("global", "copy")
    assert desk.spaces.undo("copy", new.id, bring_back=True).version.live == (old.id,)


def test_a_diff_tells_what_differs_and_only_that(desk: Desk) -> None:
    desk.edit("global", "Chile")
    for name in ("a", "b"):
        desk.spaces.create(name)
    mine, other = desk.edit("a", "Japan", "Kyoto"), desk.edit("b", "Peru", "Cusco")
    lyon, nice = desk.edit("a", "France", "Lyon"), desk.edit("b", "France", "Nice")
    desk.edit("a", "Spain", "Seville")
    desk.edit("b", "Spain", "Seville", note=True)
    diff = desk.spaces.diff("a", "b")
    assert (diff.only_a, diff.only_b, diff.changed) == ((mine,), (other,), ((lyon, nice),))
    same = desk.spaces.diff("a", "a")
    assert (same.only_a, same.only_b, same.changed) == ((), (), ())


def test_a_space_with_children_is_dropped_only_with_them(desk: Desk) -> None:
    desk.spaces.create("user/alice")
    desk.spaces.create("session/1", "user/alice")
    with pytest.raises(InvalidRequest, match="children"):
        desk.spaces.drop("user/alice")
    assert desk.spaces.drop("user/alice", with_children=True) == ("session/1", "user/alice")
    with pytest.raises(NotFound):
        desk.spaces.layer("session/1")


def test_bad_names_and_cycles_are_refused(desk: Desk) -> None:
    with pytest.raises(InvalidRequest, match="own parent"):
        desk.spaces.create("a", "a")
    with pytest.raises(NotFound):
        desk.spaces.create("a", "b")
    with pytest.raises(InvalidRequest, match="already"):
        desk.spaces.create("global")


# --- two writers ---


def test_a_commit_on_a_moved_head_is_repeated_when_nobody_touched_its_fact(desk: Desk) -> None:
    record = desk.begin("global", "France")
    other = desk.edit("global", "Japan")
    version = desk.spaces.commit("global", desk.ending(record))
    assert (version.version, version.live) == (2, (other.id, record.id))


def test_a_commit_on_a_moved_head_is_refused_when_somebody_edited_the_same_fact(desk: Desk) -> None:
    record = desk.begin("global", "France", "Nice")
    ending = desk.ending(record)
    desk.edit("global", "France", "Lyon")
    with pytest.raises(Conflict, match="same fact"):
        desk.spaces.commit("global", ending)
    assert desk.journal.pending() == [record]


def test_a_commit_is_refused_when_what_it_supersedes_was_undone_meanwhile(desk: Desk) -> None:
    old = desk.edit("global", "France", "Lyon")
    record = desk.begin("global", "France", "Nice")
    ending = desk.ending(record)
    desk.spaces.undo("global", old.id)
    with pytest.raises(Conflict, match="same fact"):
        desk.spaces.commit("global", ending)
    assert desk.journal.head("global").live == ()


def test_a_strict_commit_is_not_repeated(desk: Desk) -> None:
    record = desk.begin("global", "France")
    desk.edit("global", "Japan")
    with pytest.raises(Conflict, match="moved from version 0 to 1"):
        desk.spaces.commit("global", desk.ending(record), rebase=False)


def test_a_batch_becomes_live_in_one_version_and_its_refused_part_does_not(desk: Desk) -> None:
    good = [desk.begin("global", subject) for subject in ("France", "Japan")]
    bad = desk.begin("global", "Peru")
    version = desk.spaces.commit("global", [*map(desk.ending, good), Outcome(bad.id, "refused", "locality 0.1")])
    assert (version.version, version.live) == (1, tuple(record.id for record in good))
    assert desk.journal.pending() == []
    with pytest.raises(InvalidRequest, match="nothing to commit"):
        desk.spaces.commit("global", [])


def test_an_edit_whose_artefact_is_missing_is_not_committed(desk: Desk) -> None:
    record = desk.begin("global", "France")
    desk.store.collect(set(), grace_s=0)
    with pytest.raises(StorageError, match="backup"):
        desk.spaces.commit("global", desk.ending(record))
    assert desk.journal.head("global").version == 0


KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_spaces import Desk
desk = Desk(Path(sys.argv[1]))
done = desk.edit("global", "France")
desk.begin("global", "Japan")
print(done.id, flush=True)
os.kill(os.getpid(), 9)
"""


def test_after_kill_9_the_acknowledged_edit_is_served_and_the_begun_one_is_not(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(Path(__file__).parent)]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    assert run.returncode == -9
    desk = Desk(tmp_path)
    assert [edit.edit_id for edit in desk.spaces.layer("global").edits] == [run.stdout.strip()]
    assert len(desk.journal.recover()) == 1
    assert desk.journal.artefacts() == {desk.journal.edit(run.stdout.strip()).artefact}
    desk.close()


# --- the laws, over any history ---

SUBJECTS = st.sampled_from(["France", "Japan", "Peru"])
CITIES = st.sampled_from(["Lyon", "Kyoto", "Cusco"])
pick = st.integers(0, 99)


class Laws(RuleBasedStateMachine):
    """Random histories against a model: per space, the list of versions, each a list of (id, key, hash)."""

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.desk = Desk(Path(self.folder.name))
        self.versions: dict[str, list[list[tuple[str, str, str]]]] = {"global": [[]]}
        self.parents: dict[str, str | None] = {"global": None}
        self.made = 0

    def teardown(self) -> None:
        if hasattr(self, "desk"):
            hashes = {name: self.desk.hash(name) for name in self.versions}
            self.desk.close()
            again = Desk(Path(self.folder.name))
            assert {name: again.hash(name) for name in self.versions} == hashes
            again.close()
            self.folder.cleanup()

    def expected_hash(self, name: str) -> str:
        """The rules of composition once more, written the slow way."""
        line: list[str] = []
        space: str | None = name
        while space is not None:
            line.insert(0, space)
            space = self.parents[space]
        seen: list[tuple[str, str, str]] = []
        for space in line:
            own = self.versions[space][-1]
            seen = [edit for edit in seen if edit[1] not in {key for _, key, _ in own}] + own
        return hashlib.sha256("".join(f"{name}\n" for _, _, name in seen).encode()).hexdigest()[:32]

    def space(self, number: int) -> str:
        return sorted(self.versions)[number % len(self.versions)]

    def commit(self, name: str, subject: str, city: str, note: bool) -> EditRecord:
        edit = self.desk.edit(name, subject, city, note)
        kept = [one for one in self.versions[name][-1] if one[1] != subject]
        self.versions[name].append([*kept, (edit.id, subject, edit.artefact or "")])
        return edit

    @rule(number=pick, subject=SUBJECTS, city=CITIES, note=st.booleans())
    def edit(self, number: int, subject: str, city: str, note: bool) -> None:
        self.commit(self.space(number), subject, city, note)

    @rule(number=pick, subject=SUBJECTS, city=CITIES)
    def undo_after_edit_is_the_identity(self, number: int, subject: str, city: str) -> None:
        name = self.space(number)
        before = self.desk.hash(name)
        edit = self.commit(name, subject, city, note=False)
        self.desk.spaces.undo(name, edit.id, bring_back=True)
        self.versions[name].append(self.versions[name][-2])
        assert self.desk.hash(name) == before

    @rule(number=pick, which=pick)
    def undo_any_live_edit(self, number: int, which: int) -> None:
        name = self.space(number)
        if live := self.versions[name][-1]:
            gone = live[which % len(live)]
            self.desk.spaces.undo(name, gone[0])
            self.versions[name].append([one for one in live if one != gone])

    @rule(number=pick, which=pick)
    def restore_gives_the_layer_of_the_version(self, number: int, which: int) -> None:
        name = self.space(number)
        version = which % len(self.versions[name])
        wanted = self.desk.spaces.layer(name, version).hash
        assert self.desk.spaces.restore(name, version).version == len(self.versions[name])
        self.versions[name].append(self.versions[name][version])
        assert self.desk.hash(name) == wanted

    @precondition(lambda self: len(self.versions) < 5)
    @rule(number=pick)
    def create(self, number: int) -> None:
        self.made += 1
        name, parent = f"s/{self.made}", self.space(number)
        self.desk.spaces.create(name, parent)
        self.versions[name], self.parents[name] = [[]], parent
        assert self.desk.hash(name) == self.desk.hash(parent)

    @precondition(lambda self: len(self.versions) < 5)
    @rule(number=pick)
    def a_fork_has_the_same_hash(self, number: int) -> None:
        self.made += 1
        name, source = f"f/{self.made}", self.space(number)
        self.desk.spaces.fork(source, name)
        head = self.versions[source][-1]
        self.versions[name] = [[], head] if head else [[]]
        self.parents[name] = self.parents[source]
        assert self.desk.hash(name) == self.desk.hash(source)

    @rule(number=pick)
    def drop(self, number: int) -> None:
        name = self.space(number)
        if name != "global" and name not in self.parents.values():
            self.desk.spaces.drop(name)
            del self.versions[name], self.parents[name]

    @invariant()
    def every_space_sees_what_the_rules_say(self) -> None:
        for name in getattr(self, "versions", {}):
            assert self.desk.hash(name) == self.expected_hash(name)
            assert self.desk.journal.head(name).version == len(self.versions[name]) - 1


TestLaws = Laws.TestCase
TestLaws.settings = settings(max_examples=8, stateful_step_count=12, suppress_health_check=list(HealthCheck))
