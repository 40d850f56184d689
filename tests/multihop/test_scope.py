"""PokeMQA's scope detector: as packaged, and trained anew."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from ketools.core.errors import InvalidRequest, ModelError
from ketools.knowledge.relations import RELATIONS
from ketools.multihop import ScopeDetector
from ketools.multihop.scope import PACKAGED
from ketools.multihop.training import Pair, known_pairs, read_pairs, train_scope
from ketools.retrieval import MiniLMEncoder
from ketools.retrieval.encoders import Vectors

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


def test_the_packaged_detector_is_small_and_finds_most_facts_among_their_like(encoder: MiniLMEncoder) -> None:
    assert PACKAGED.stat().st_size < 2_000_000
    detector = ScopeDetector.load(encoder)
    chosen = known_pairs(seed=1)[:: len(known_pairs()) // 80]
    facts = [pair.fact for pair in chosen]
    found = [detector.pick(pair.question, facts) == i for i, pair in enumerate(chosen)]
    wrong = [detector.pick(pair.question, [f for f in facts if f != pair.fact]) is not None for pair in chosen]
    assert sum(found) >= 0.75 * len(found) and sum(wrong) <= 0.1 * len(wrong)
    assert detector.pick("What is the capital of France?", []) is None


def test_training_on_given_pairs_gives_a_detector_that_is_kept(encoder: MiniLMEncoder, tmp_path: Path) -> None:
    trained = train_scope(pairs(), encoder, steps=60)
    assert trained.quality.n > 0 and 0 <= trained.quality.false <= 1
    path = tmp_path / "own.safetensors"
    trained.detector.save(path)
    facts = [pair.fact for pair in pairs()]
    again = ScopeDetector.load(encoder, path)
    questions = [pair.question for pair in pairs()[:10]]
    assert [again.pick(q, facts) for q in questions] == [trained.detector.pick(q, facts) for q in questions]


class Rotated(MiniLMEncoder):
    """Another encoder of the same width."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        return super().encode(texts)[:, ::-1]


class Wider(MiniLMEncoder):
    """Another encoder of another width."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        wide = np.concatenate([super().encode(texts)] * 2, axis=1) / np.sqrt(2)
        scaled: Vectors = wide.astype(np.float32)
        return scaled


@pytest.mark.parametrize("kind", [Rotated, Wider])
def test_a_detector_refuses_an_encoder_that_it_was_not_trained_on(kind: type[MiniLMEncoder]) -> None:
    with pytest.raises(ModelError, match="train-scope"):
        ScopeDetector.load(kind()).pick("What is the capital of France?", ["The capital of France is Lyon."])


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
