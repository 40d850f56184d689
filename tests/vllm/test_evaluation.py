"""What an evaluation measures on vLLM is what it measures on the local engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ketools.engines.base import Engine
from ketools.engines.local import LocalEngine
from ketools.engines.vllm.engine import VLLMEngine
from ketools.evaluation import Baseline, Bench, CaseResult, EditCase, evaluate, load
from ketools.evaluation.results import MEASURES, Record
from ketools.layer import EditLayer
from ketools.notes import NoteInjector

MakeLayer = Callable[..., EditLayer]


def measured(engine: Engine, layer: EditLayer, cases: Sequence[EditCase], path: Path) -> list[CaseResult]:
    """The cases, each asked under the layer."""
    bench = Bench(engine, Baseline(engine), NoteInjector(), path)
    evaluate(bench, lambda chosen, base: (layer, 1.0), cases)
    return list(Record(path, f"{engine.model_hash}//single", CaseResult).read())


def test_every_number_is_the_one_of_the_local_engine(
    engine: VLLMEngine, local: LocalEngine, low_rank: MakeLayer, tmp_path: Path
) -> None:
    cases, layer = load("atlas-knowedit").first(6), low_rank(7, rank=2, scale=0.15)
    served = measured(engine, layer, cases, tmp_path / "served.jsonl")
    here = measured(local, layer, cases, tmp_path / "here.jsonl")
    assert len(served) == len(here) == len(cases)
    for one, other in zip(served, here, strict=True):
        assert [a.answer for a in one.answers] == [a.answer for a in other.answers]
        for name in MEASURES:
            assert getattr(one, name) == pytest.approx(getattr(other, name), abs=1e-4), name
        assert one.success_teacher_forced == other.success_teacher_forced
        assert one.locality_tokens == other.locality_tokens
    assert max(r.kl or 0 for r in here) > 1e-3  # the layer does something
