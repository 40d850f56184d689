"""What an evaluation measures on vLLM is what it measures on the local engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from ketools.atlas import weights_path
from ketools.editing.editor import Editor
from ketools.engines.base import Engine
from ketools.engines.local import LocalEngine
from ketools.engines.vllm.engine import VLLMEngine
from ketools.evaluation import Baseline, CaseResult, EditCase, EvaluationSetup, evaluate, load
from ketools.evaluation.results import MEASURES, Record, record_key
from ketools.layers.composition import BASE, EditLayer, LiveEdit
from ketools.layers.store import content_hash
from ketools.notes import NoteInjector

N = 3


@pytest.fixture(scope="module")
def edited() -> dict[str, tuple[EditCase, EditLayer]]:
    """Cases of the bundled benchmark and a real edit of each, by its id."""
    editor = Editor(weights_path())
    cases = [case for case in load("atlas-knowedit").cases if case.request.kind in ("insert", "modify")][:N]
    made = [editor.compute("rome", [case.request], BASE)[0] for case in cases]
    layers = [BASE.with_edits(LiveEdit(c.id, content_hash(a), a)) for c, a in zip(cases, made, strict=True)]
    return {case.id: (case, layer) for case, layer in zip(cases, layers, strict=True)}


def measured(engine: Engine, edited: dict[str, tuple[EditCase, EditLayer]], path: Path) -> list[CaseResult]:
    """The cases, each asked under its edit."""
    bench = EvaluationSetup(engine, Baseline(engine), NoteInjector(), path)
    evaluate(bench, lambda cases, base: (edited[cases[0].id][1], 1.0), [case for case, _ in edited.values()])
    return list(Record(path, record_key(engine.model_hash, "local", "", "single"), CaseResult).read())


def test_every_number_is_the_one_of_the_local_engine(
    engine: VLLMEngine, local: LocalEngine, edited: dict[str, tuple[EditCase, EditLayer]], tmp_path: Path
) -> None:
    served = measured(engine, edited, tmp_path / "served.jsonl")
    here = measured(local, edited, tmp_path / "here.jsonl")
    assert len(served) == len(here) == N
    for one, other in zip(served, here, strict=True):
        assert [a.answer for a in one.answers] == [a.answer for a in other.answers]
        for name in MEASURES:
            assert getattr(one, name) == pytest.approx(getattr(other, name), abs=1e-4), name
        assert one.success_teacher_forced == other.success_teacher_forced
        assert one.locality_tokens == other.locality_tokens
    assert any(result.success for result in here)


def test_there_is_as_much_room_after_a_prompt_as_on_the_local_engine(engine: VLLMEngine, local: LocalEngine) -> None:
    chat = [{"role": "user", "content": "Where is Lima?"}]
    for prompt, text in (("The capital of France is", ""), (chat, ""), ("The capital of France is", "Lima, far away")):
        assert engine.room(prompt, text) == local.room(prompt, text)  # type: ignore[arg-type]
