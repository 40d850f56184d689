"""What a space's memory sees: its chain, the newest of a fact, nothing of others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ketools.core.errors import NotFound
from ketools.core.requests import EditRequest, Kind
from ketools.journal import Journal, Outcome
from ketools.layers.kinds.note import Note
from ketools.layers.store import ArtefactStore
from ketools.notes.memory import Memory, fact_of, remember
from ketools.retrieval import MiniLMEncoder
from ketools.spaces.layers import LayeredSpaces


def fact(subject: str, prompt: str, target: str, kind: Kind = Kind.MODIFY) -> EditRequest:
    return EditRequest(kind=kind, subject=subject, prompt=prompt.format(s=subject), target_new=target)


LIMA = fact("France", "The capital of {s} is", "Lima")
ROME = fact("France", "The capital of {s} is", "Rome")
OSLO = fact("Japan", "What is the capital of {s}?", "Oslo")


@pytest.fixture(scope="module")
def encoder() -> MiniLMEncoder:
    return MiniLMEncoder()


@pytest.fixture
def spaces(tmp_path: Path) -> Iterator[LayeredSpaces]:
    journal = Journal(tmp_path / "journal.db")
    yield LayeredSpaces(journal, ArtefactStore(tmp_path / "artefacts"))
    journal.close()


def commit(spaces: LayeredSpaces, space: str, request: EditRequest) -> str:
    """A committed note, as the pipeline leaves it; returns its id."""
    artefact = spaces.store.put(Note("ice", request))
    head = spaces.journal.head(space).version
    record = spaces.journal.new_record(
        space, request, principal="me", method="ice", artefact=artefact, base_version=head
    )
    spaces.journal.begin_edit(record)
    old = tuple(r.id for r in spaces.same_key(space, record.key_hash))
    spaces.commit(space, Outcome(record.id, "committed", supersedes=old))
    return record.id


def known(memory: Memory, space: str) -> set[str]:
    return {fact.target for fact in memory.view(space).newest(9)}


def test_a_space_knows_its_chain_and_its_own_fact_in_place_of_an_inherited_one(
    spaces: LayeredSpaces, encoder: MiniLMEncoder, tmp_path: Path
) -> None:
    memory = Memory(spaces, encoder, tmp_path / "memory.db")
    spaces.create("user/ann")
    commit(spaces, "global", LIMA)
    commit(spaces, "user/ann", ROME)
    commit(spaces, "global", OSLO)
    assert known(memory, "global") == {"Lima", "Oslo"}
    assert known(memory, "user/ann") == {"Rome", "Oslo"}
    assert memory.view("user/ann").search(["Which city is France's capital?"], k=1)[0][0].fact.target == "Rome"
    memory.close()


def test_undoing_an_edit_takes_it_out_of_memory(spaces: LayeredSpaces, encoder: MiniLMEncoder, tmp_path: Path) -> None:
    memory = Memory(spaces, encoder, tmp_path / "memory.db")
    commit(spaces, "global", LIMA)
    edit_id = commit(spaces, "global", OSLO)
    assert known(memory, "global") == {"Lima", "Oslo"}
    spaces.undo("global", edit_id)
    assert known(memory, "global") == {"Lima"}
    memory.close()


def test_an_erased_fact_hides_an_inherited_one_and_leaves_no_text(
    spaces: LayeredSpaces, encoder: MiniLMEncoder, tmp_path: Path
) -> None:
    memory = Memory(spaces, encoder, tmp_path / "memory.db")
    spaces.create("user/ann")
    commit(spaces, "global", LIMA)
    commit(spaces, "user/ann", fact("France", "The capital of {s} is", "I don't know.", Kind.ERASE))
    assert known(memory, "user/ann") == set()
    assert known(memory, "global") == {"Lima"}
    memory.close()


@pytest.mark.parametrize("loss", ["deleted", "damaged"])
def test_a_lost_index_is_made_again_from_the_journal(
    spaces: LayeredSpaces, encoder: MiniLMEncoder, tmp_path: Path, loss: str
) -> None:
    path = tmp_path / "memory.db"
    commit(spaces, "global", LIMA)
    first = Memory(spaces, encoder, path)
    assert known(first, "global") == {"Lima"}
    first.close()
    path.unlink() if loss == "deleted" else path.write_bytes(b"rubbish" * 1000)
    again = Memory(spaces, encoder, path)
    assert again.view("global").search(["capital of France"])[0][0].fact.text == "The capital of France is Lima"
    again.close()


def test_an_unknown_space_is_an_error(spaces: LayeredSpaces, encoder: MiniLMEncoder, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        Memory(spaces, encoder, tmp_path / "memory.db").view("user/nobody")


def test_a_memory_of_its_own_keeps_the_newer_of_two_facts(encoder: MiniLMEncoder) -> None:
    view = remember([("a", LIMA), ("b", OSLO), ("c", ROME)], encoder)
    assert [f.id for f in view.about("france")] == ["c"]


def test_a_fact_is_told_as_a_statement_under_its_relation() -> None:
    told = fact_of("e", OSLO)
    assert (told.key, told.relation, told.text) == ("japan|capital", "capital", "The capital of Japan is Oslo")
