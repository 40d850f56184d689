"""An erasure stays until somebody who may erase takes it off, and nothing that is kept tells what it erased."""

from __future__ import annotations

import io
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from ketools.atlas.world import Fact as WorldFact
from ketools.atlas.world import world
from ketools.core.errors import Forbidden, InvalidRequest
from ketools.core.principals import OPERATOR, Principal, principal
from ketools.core.requests import REFUSAL, EditRequest, Kind
from ketools.core.results import EditResult
from ketools.journal import Outcome
from ketools.layers.kinds.note import Note
from ketools.models.editable import EditableModel
from ketools.service.opening import open_service
from ketools.service.service import EditService
from ketools.service.settings import Settings
from ketools.tools.toolbox import FactInput, Toolbox

SPACES = ["user/alice", "user/trial", "session/alice/*"]
METHOD = "ft-m"


def number() -> WorldFact:
    """A private fact of the bundled world."""
    return next(f for f in world().all_facts() if f.relation == "telephone")


PROMPT = f"The telephone number of {number().subject} is"
QUESTION = f"What is the telephone number of {number().subject}?"
EDIT = (number().subject, PROMPT, "555-0199")


@pytest.fixture
def alice(service: EditService) -> Toolbox:
    """Who may edit, and not erase."""
    return Toolbox(service, principal("alice", ["read", "edit"], SPACES))


@pytest.fixture
def eraser(service: EditService) -> Principal:
    """Who may erase too, and is no admin."""
    return principal("officer", ["read", "edit", "erase"], SPACES)


@dataclass(frozen=True)
class Erased:
    """A home after an erasure, its id, and what the process that erased held in its caches and wrote to its log."""

    home: Path
    edit_id: str
    caches: str
    log: str


def cached(service: EditService) -> str:
    return repr([*service.runtime.verifier._answers.items(), *service.runtime.verifier._totals.items()])


@pytest.fixture(scope="module")
def made(atlas: EditableModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Erased]:
    """Alice's space with a note and then the erasure. Made once, since it trains."""
    home, log = tmp_path_factory.mktemp("erased"), io.StringIO()
    handler, root = logging.StreamHandler(log), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    opened = open_service(Settings(home=home), atlas)
    box = Toolbox(opened, OPERATOR)
    box.edit_fact("France", "The capital of France is", "Lyon", space="user/alice", method="ice")
    result = box.erase_fact(number().subject, PROMPT, space="user/alice", rephrases=(QUESTION,))
    assert result.status == "committed", result.line()
    box.evaluate_edit(str(result.edit_id))
    box.evaluate_space("user/alice", wait=True)
    found = Erased(home, str(result.edit_id), cached(opened), log.getvalue())
    opened.close()
    root.removeHandler(handler)
    root.setLevel(level)
    yield found
    assert held(home) == []


@pytest.fixture
def erased(made: Erased) -> str:
    """The erasure's id."""
    return made.edit_id


@pytest.fixture
def service(atlas: EditableModel, made: Erased, tmp_path: Path) -> Iterator[EditService]:
    """A service on a copy of the home with the erasure."""
    shutil.copytree(made.home, tmp_path / "home")
    opened = open_service(Settings(home=tmp_path / "home"), atlas)
    yield opened
    opened.close()


@pytest.fixture
def fresh(atlas: EditableModel, tmp_path: Path) -> Iterator[Toolbox]:
    """The operator's tools on an empty journal."""
    opened = open_service(Settings(home=tmp_path / "fresh"), atlas)
    yield Toolbox(opened, OPERATOR)
    opened.close()


WAYS: dict[str, Callable[[Toolbox], object]] = {
    "restoring a version of before": lambda box: box.restore_space("user/alice", 1),
    "restoring the empty version": lambda box: box.restore_space("user/alice", 0),
    "an edit of the same fact": lambda box: box.edit_fact(*EDIT, space="user/alice", method="ice"),
    "an edit of the same fact in the weights": lambda box: box.edit_fact(*EDIT, space="user/alice", method=METHOD),
    "the same as auto": lambda box: box.edit_fact(*EDIT, space="user/alice"),
    "an edit that hides it from below": lambda box: box.edit_fact(*EDIT, space="session/alice/1", method="ice"),
    "a dry run": lambda box: box.edit_fact(*EDIT, space="user/alice", method="ice", dry_run=True),
    "a batch": lambda box: box.edit_facts(
        [FactInput(subject=EDIT[0], prompt=EDIT[1], target_new=EDIT[2])], space="user/alice", method="ice"
    ),
}


@pytest.mark.parametrize("how", WAYS)
def test_without_the_scope_nothing_brings_back_what_was_erased(erased: str, alice: Toolbox, how: str) -> None:
    before = alice.list_spaces().spaces
    with pytest.raises(Forbidden, match=r"erased a fact.*scope 'erase'") as told:
        WAYS[how](alice)
    assert erased in str(told.value) and number().target not in str(told.value)
    assert alice.ask(QUESTION, "user/alice").answer == REFUSAL
    kept = {view.name: (view.version, view.layer_hash) for view in alice.list_spaces().spaces}
    assert all(kept[view.name] == (view.version, view.layer_hash) for view in before)


def test_neither_its_undo_nor_a_fork_brings_it_back(erased: str, alice: Toolbox) -> None:
    with pytest.raises(Forbidden, match="erase"):
        alice.undo_edit(erased)
    assert alice.fork_space("user/alice", "user/trial").live == 2
    assert alice.ask(QUESTION, "user/trial").answer == REFUSAL
    with pytest.raises(Forbidden, match="erase"):
        alice.restore_space("user/trial", 0)
    with pytest.raises(Forbidden, match="erase"):
        alice.edit_fact(*EDIT, space="user/trial", method="ice")


def test_other_facts_are_edited_undone_and_restored_beside_it(erased: str, alice: Toolbox) -> None:
    made = alice.edit_fact("Japan", "The capital of Japan is", "Oslo", space="user/alice", method="ice")
    assert made.status == "committed"
    alice.undo_edit(str(made.edit_id))
    assert alice.restore_space("user/alice", 3).live == 3
    mixed = [FactInput(subject=EDIT[0], prompt=EDIT[1], target_new=EDIT[2])]
    mixed += [FactInput(subject="Peru", prompt="The capital of Peru is", target_new="Rome")]
    batch = alice.edit_facts(mixed, space="user/alice", method="ice", apply_valid=True)
    assert (batch.committed, batch.failed) == (1, 1) and "scope 'erase'" in batch.results[0].reason
    assert alice.ask(QUESTION, "user/alice").answer == REFUSAL


def test_with_the_scope_each_of_these_works(erased: str, service: EditService, eraser: Principal) -> None:
    officer = Toolbox(service, eraser)
    assert officer.restore_space("user/alice", 1).live == 1
    assert officer.restore_space("user/alice", 2).live == 2
    assert officer.edit_fact(*EDIT, space="user/alice", method="ice").supersedes == (erased,)
    officer.restore_space("user/alice", 2)
    officer.undo_edit(erased)
    assert officer.ask(QUESTION, "user/alice").answer != REFUSAL


@pytest.mark.parametrize("method", ["ice", "ike", "memprompt"])
@pytest.mark.parametrize("dry_run", [False, True])
def test_a_note_is_refused_as_an_erasure_before_anything_is_stored(fresh: Toolbox, method: str, dry_run: bool) -> None:
    with pytest.raises(InvalidRequest, match="cannot"):
        fresh.erase_fact(number().subject, PROMPT, space="user/new", method=method, dry_run=dry_run)
    assert fresh.service.journal.edits().edits == ()
    assert "user/new" not in [space.name for space in fresh.list_spaces().spaces]
    assert list(fresh.service.backend.spaces.store.hashes()) == []


def test_what_cannot_be_consolidated_stays_and_does_not_stop_its_neighbours(
    fresh: Toolbox,
) -> None:
    """An erasure by a note, as an older ketools made it, among ordinary notes."""
    box, service = fresh, fresh.service
    box.edit_fact("France", "The capital of France is", "Lyon", space="user/alice", method="ice")
    old = left_by_an_older_ketools(service)
    box.edit_fact("Japan", "The capital of Japan is", "Oslo", space="user/alice", method="ice")
    job = box.consolidate("user/alice", method="ft-m", wait=True)
    assert job.state == "done", job
    assert job.result["consolidated"] == 2 and list(job.result["kept"]) == [old]
    assert "erase" in job.result["kept"][old].lower()
    assert old in service.journal.head("user/alice").live
    assert box.ask("What is the capital of Japan?", "user/alice").answer == "Oslo"


def left_by_an_older_ketools(service: EditService) -> str:
    request = EditRequest(kind=Kind.ERASE, subject=number().subject, prompt=PROMPT, target_new=REFUSAL)
    name = service.runtime.pipeline.store.put(Note("ice", request))
    head = service.journal.head("user/alice")
    record = service.journal.new_record(
        "user/alice", request, principal="a", method="ice", artefact=name, base_version=head.version
    )
    service.journal.begin_edit(record)
    live = (*head.live, record.id)
    service.journal.commit("user/alice", head.version, live, "edit", record.id, [Outcome(record.id, "committed")])
    return record.id


def held(home: Path, texts: Sequence[str] = (number().subject, number().target)) -> list[str]:
    """Which files of a home hold one of the texts, in any case: by default of the secret."""
    files = [path for path in home.rglob("*") if path.is_file()]
    wanted = [text.lower().encode() for text in texts]
    return [str(path.relative_to(home)) for path in files if any(one in path.read_bytes().lower() for one in wanted)]


def test_nothing_that_a_committed_erasure_leaves_tells_what_was_erased(made: Erased, alice: Toolbox) -> None:
    assert held(made.home) == []  # journal, write-ahead log, artefacts, index
    assert held(made.home, ["Lyon"]) != [] and "Lyon" in made.caches
    for secret in (number().subject, number().target):
        assert secret not in made.caches and secret not in made.log
        assert secret not in alice.list_edits("user/alice", live_only=False).model_dump_json()


@pytest.mark.parametrize("ends", ["refused", "refused in a dry run", "by a note"])
def test_nothing_that_an_erasure_leaves_that_failed_tells_what_was_to_be_erased(
    fresh: Toolbox, tmp_path: Path, caplog: pytest.LogCaptureFixture, ends: str
) -> None:
    caplog.set_level(logging.DEBUG)
    fresh.edit_fact("France", "The capital of France is", "Lyon", space="user/alice", method="ice")
    assert fresh.ask(QUESTION, "user/alice").answer != REFUSAL
    call: Callable[..., EditResult] = partial(
        fresh.erase_fact, number().subject, PROMPT, space="user/alice", rephrases=(QUESTION,)
    )
    if ends == "by a note":
        with pytest.raises(InvalidRequest):
            call(method="ice")
    else:
        assert call(method="kn", dry_run="dry" in ends).status == "refused"
    for secret in (number().subject, number().target):
        assert secret not in cached(fresh.service) and secret not in caplog.text
    for _ in ("open", "closed"):
        assert held(tmp_path) == [] and held(tmp_path, ["Lyon"]) != []
        fresh.service.close()
