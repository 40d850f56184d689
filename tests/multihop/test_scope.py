"""PokeMQA's scope detector: as packaged, and trained anew."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ketools.edits import EditRequest
from ketools.errors import InvalidRequest, ModelError
from ketools.multihop import EditMemory, Kit, ScopeDetector
from ketools.multihop.scope import PACKAGED
from ketools.multihop.training import Pair, read_pairs, train_scope
from ketools.relations import RELATIONS
from ketools.retrieval import MiniLMEncoder

NAMES = [
    f"{first} {last}" for first in ("Ann", "Bert", "Cleo", "Dan", "Eve") for last in ("Lee", "Moss", "Oak", "Pike")
]


def pairs() -> list[Pair]:
    found = []
    for i, name in enumerate(NAMES):
        for relation, target in (("capital", "Lima"), ("currency", "lira"), ("continent", "Asia")):
            fact = f"{RELATIONS[relation].statement(name, target)}."
            found += [Pair(fact=fact, question=q.format(s=name)) for q in RELATIONS[relation].questions[: 1 + i % 2]]
    return found


def test_the_packaged_detector_is_small_and_chooses_the_fact_that_is_asked_for(
    encoder: MiniLMEncoder,
    plain_kit: Kit,
    edit: Callable[[str, str, str], EditRequest],
    remembered: Callable[..., EditMemory],
) -> None:
    assert PACKAGED.stat().st_size < 2_000_000
    detector = ScopeDetector.load(encoder)
    memory = remembered(
        plain_kit, edit("France", "capital", "Lyon"), edit("France", "currency", "yen"), edit("Peru", "capital", "Oslo")
    )
    chosen = detector.choose("What is the capital of France?", memory.facts)
    assert chosen is not None and chosen.edit_id == "e0"
    assert detector.choose("Who is the author of Silver Harbour?", memory.facts) is None
    assert detector.choose("What is the capital of France?", []) is None


def test_training_on_given_pairs_gives_a_detector_that_is_kept(encoder: MiniLMEncoder, tmp_path: Path) -> None:
    trained = train_scope(pairs(), encoder, steps=60)
    assert trained.quality.n > 0 and 0 <= trained.quality.false <= 1
    path = tmp_path / "own.safetensors"
    trained.detector.save(path)
    facts = [pair.fact for pair in pairs()]
    again = ScopeDetector.load(encoder, path)
    questions = [pair.question for pair in pairs()[:10]]
    assert [again.pick(q, facts) for q in questions] == [trained.detector.pick(q, facts) for q in questions]


def test_bad_pairs_and_broken_files_are_told(encoder: MiniLMEncoder, tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text(json.dumps({"fact": "a", "question": "b"}) + "\n" + json.dumps({"fact": "a"}) + "\n")
    with pytest.raises(InvalidRequest, match="line 2"):
        read_pairs(file)
    with pytest.raises(InvalidRequest, match="at least 40"):
        train_scope(pairs()[:10], encoder)
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="train-scope"):
        ScopeDetector.load(encoder, tmp_path / "broken.safetensors")
