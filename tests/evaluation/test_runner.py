"""The single-edit protocol on a tiny random model, against answers taken from the engine directly."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from math import exp
from pathlib import Path

import pytest
import torch

from ketools.core.errors import Diverged, InvalidRequest, Refused, StorageError
from ketools.core.footprint import Footprint
from ketools.core.progress import Progress, quiet
from ketools.core.requests import EditRequest, Kind, Prompt, Trait
from ketools.core.text import normalise
from ketools.engines.local import LocalEngine
from ketools.evaluation import (
    Baseline,
    EditCase,
    EvaluationSetup,
    Summary,
    evaluate,
    evaluate_batch,
    evaluate_sequential,
    runner,
)
from ketools.evaluation.asking import WITHHELD
from ketools.evaluation.baseline import passage
from ketools.evaluation.data import parse
from ketools.evaluation.runner import Checkpoint, Edit
from ketools.evaluation.window import objection
from ketools.layers.composition import BASE, EditLayer, LiveEdit
from ketools.layers.kinds.low_rank import LowRankDelta
from ketools.layers.kinds.note import Note
from ketools.notes import NoteInjector

TOWNS = ("Lima", "Oslo", "Rome", "Paris")
LANDS = ("France", "Japan", "Peru")


def rows() -> list[dict[str, object]]:
    facts: list[dict[str, object]] = [
        {
            "task": "facts",
            "subject": land,
            "relation": "capital",
            "prompt": f"The capital of {land} is",
            "target_new": TOWNS[i],
            "ground_truth": TOWNS[-1],
            "rephrase": f"What is the capital of {land}?",
            "portability": {"Reasoning": [{"prompt": f"The river of {land} is", "ground_truth": ["Seine"]}]},
            "locality": {
                "Neighborhood": [{"prompt": "Alice works for", "ground_truth": ["Acme"]}],
                "Relation_Specificity": [{"prompt": f"People in {land} speak", "ground_truth": ["?"]}],
            },
        }
        for i, land in enumerate(LANDS)
    ]
    manner: dict[str, object] = {"task": "manners", "ent": "jazz", "pos": ["I love jazz."], "neg": ["I hate jazz."]}
    return [*facts, manner]


@pytest.fixture(scope="module")
def cases() -> list[EditCase]:
    return list(parse(rows(), "towns").cases)


@pytest.fixture(scope="module")
def engine(tiny_llama_dir: Path) -> LocalEngine:
    return LocalEngine(tiny_llama_dir)


def no_edit(cases: Sequence[EditCase], layer: EditLayer) -> tuple[EditLayer, float]:
    return layer, 1.0


def note_edit(cases: Sequence[EditCase], layer: EditLayer) -> tuple[EditLayer, float]:
    return layer.with_edits(*(LiveEdit(c.id, c.id, Note("ice", c.request)) for c in cases)), 2.0


def weight_edit(engine: LocalEngine, scale: float) -> EditLayer:
    name, module = next((n, m) for n, m in engine.editable.model.named_modules() if n.endswith("mlp.down_proj"))
    generator = torch.Generator().manual_seed(1)
    a = torch.randn(1, module.in_features, generator=generator)
    b = torch.randn(module.out_features, 1, generator=generator) * scale
    return BASE.with_edits(LiveEdit("w", f"w{scale}", LowRankDelta("test", {name: (a, b)})))


def bench_of(engine: LocalEngine, record: Path | None = None, baseline: Baseline | None = None) -> EvaluationSetup:
    return EvaluationSetup(engine, baseline or Baseline(engine), NoteInjector(), record)


def run(
    engine: LocalEngine,
    edit: Edit,
    cases: list[EditCase],
    record: Path | None = None,
    baseline: Baseline | None = None,
    label: str = "",
    progress: Progress = quiet,
) -> Summary:
    return evaluate(bench_of(engine, record, baseline), edit, cases, progress, label=label)


def test_without_an_edit_every_answer_stays_and_nothing_succeeds_anew(
    engine: LocalEngine, cases: list[EditCase]
) -> None:
    summary = run(engine, no_edit, cases)
    assert (summary.n, summary.locality, summary.locality_tokens) == (4, 1.0, 1.0)
    assert summary.success == summary.success_before
    assert summary.fluency == summary.fluency_before
    assert summary.by_kind["locality"]["Neighborhood"].n == 3
    assert summary.counts == {"success": 4, "rephrase": 3, "portability": 3, "locality": 6, "fluency": 1}
    assert summary.by_task["facts"].n == 3
    assert summary.by_task["manners"].locality is None
    json.dumps(summary.model_dump(mode="json"), allow_nan=False)


def test_a_change_of_weights_is_measured_as_the_engine_answers(
    engine: LocalEngine, cases: list[EditCase], tmp_path: Path
) -> None:
    layer = weight_edit(engine, 3.0)
    record = tmp_path / "r.jsonl"
    summary = run(engine, lambda cases, on: (layer, 5.0), cases[:2], record=record)
    lines = [json.loads(line)["result"] for line in record.read_text().splitlines()]
    kept = []
    for case, line in zip(cases, lines, strict=False):
        probes = [p for group in case.locality.values() for p in group]
        told = {a["prompt"]: a for a in line["answers"]}
        for probe in probes:
            (before,) = engine.generate([probe.rendered()], BASE, max_new_tokens=24)
            (after,) = engine.generate([probe.rendered()], layer, max_new_tokens=24)
            assert told[probe.prompt]["answer"] == after
            kept.append(normalise(before) == normalise(after))
            assert told[probe.prompt]["passed"] == kept[-1]
        (score,) = engine.score([case.direct.rendered()], [case.request.target_new], layer)
        assert line["success_teacher_forced"] == pytest.approx(score.token_accuracy)
        assert line["probability"] == pytest.approx(2.718281828459045**score.total, rel=1e-3)
    assert summary.locality == pytest.approx(sum(kept) / len(kept))
    assert (summary.locality or 0) < 1


def test_notes_reach_the_prompts_that_ask_for_them_and_no_others(
    engine: LocalEngine, cases: list[EditCase], tmp_path: Path
) -> None:
    record = tmp_path / "r.jsonl"
    summary = run(engine, note_edit, cases, record=record)
    first = json.loads(record.read_text().splitlines()[0])["result"]["answers"][0]
    told = "Imagine that The capital of France is Lima. The capital of France is"
    assert first["answer"] == engine.generate([told], BASE, max_new_tokens=24)[0]
    assert summary.locality == 1
    assert summary.ms_per_edit == 2


def test_cases_asked_together_come_out_as_when_asked_alone(engine: LocalEngine, cases: list[EditCase]) -> None:
    together = run(engine, note_edit, cases[:2])
    alone = [run(engine, note_edit, [case]) for case in cases[:2]]
    assert together.success == pytest.approx(sum(s.success or 0 for s in alone) / len(alone))
    forced = [s.success_teacher_forced or 0 for s in alone]
    assert together.success_teacher_forced == pytest.approx(sum(forced) / len(forced))


def test_refused_and_diverged_edits_count_as_edits_without_effect(engine: LocalEngine, cases: list[EditCase]) -> None:
    errors = iter([Refused("no"), Diverged("nan"), InvalidRequest("not this kind")])

    def edit(cases: Sequence[EditCase], layer: EditLayer) -> tuple[EditLayer, float]:
        raise next(errors)

    summary = run(engine, edit, cases[:3])
    assert (summary.n, summary.failed, summary.locality, summary.ms_per_edit) == (3, 3, 1.0, 0.0)


def test_a_batch_is_made_without_the_cases_that_it_fails_about(engine: LocalEngine, cases: list[EditCase]) -> None:
    tried: list[list[str]] = []

    def edit(chosen: Sequence[EditCase], layer: EditLayer) -> tuple[EditLayer, float]:
        tried.append([case.id for case in chosen])
        if len(tried) == 1:
            raise InvalidRequest("not this kind", which=[3])
        if len(tried) == 2:
            raise Diverged("nan", which=[0, 2])
        return note_edit(chosen, layer)

    ids = [case.id for case in cases]
    found = evaluate_batch(bench_of(engine), edit, cases).summary
    assert tried == [ids, ids[:3], ids[1:2]]
    assert (found.n, found.failed, found.ms_per_edit) == (4, 3, 2.0)
    tried.clear()
    assert evaluate_batch(bench_of(engine), lambda *_: fail(), cases).summary.failed == 4


def test_the_memory_of_an_edit_is_told_beside_its_time_and_a_batch_has_one_peak(
    engine: LocalEngine, cases: list[EditCase], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    peaks = iter([3.0, 1.0, 8.0, 2.0, 5.0])

    @contextmanager
    def watched() -> Iterator[Footprint]:
        yield Footprint(next(peaks))

    monkeypatch.setattr(runner, "watched", watched)
    record = tmp_path / "r.jsonl"
    summary = run(engine, note_edit, cases, record=record)
    assert (summary.peak_mb, summary.peak_mb_max) == (2.5, 8.0)
    assert [json.loads(line)["result"]["peak_mb"] for line in record.read_text().splitlines()] == [3.0, 1.0, 8.0, 2.0]
    batch = evaluate_batch(bench_of(engine), note_edit, cases).summary
    assert (batch.peak_mb, batch.peak_mb_max) == (5.0, 5.0)


def test_a_test_counts_only_where_the_untouched_model_knows_what_it_rests_on(engine: LocalEngine) -> None:
    prompts = [f"The river of {land} is" for land in (*LANDS, *TOWNS)]
    answers = zip(prompts, engine.generate(prompts, BASE, max_new_tokens=24), strict=True)
    known, said = next((prompt, answer) for prompt, answer in answers if answer.isprintable())

    def query(prompt: str, answer: str) -> dict[str, object]:
        return {"prompt": prompt, "answers": [{"value": answer, "aliases": []}]}

    def tested(prompt: str, condition: str) -> dict[str, object]:
        return {"test_queries": [query(prompt, "Lima")], "condition_queries": [query(known, condition)]}

    row = {
        "edit": {"prompt": "The capital of Peru is Lima.", "relation": "capital"},
        "Logical_Generalization": [tested("Lima is in", said), tested("Cusco is in", f"not {said}")],
        "Relation_Specificity": [tested("People in Peru speak", said), tested("Peru lies in", f"not {said}")],
    }
    summary = run(engine, no_edit, list(parse([row], "ripple").cases))
    assert (summary.unasked, summary.counts["portability"], summary.counts["locality"]) == (2, 1, 1)
    assert (summary.portability, summary.locality) == (0.0, 1.0)


def fail() -> tuple[EditLayer, float]:
    """An error that is about all cases."""
    raise Diverged("nan")


@pytest.mark.parametrize("protocol", [evaluate, evaluate_batch])
def test_a_note_that_leaves_no_room_for_its_prompts_is_an_edit_without_effect(
    engine: LocalEngine, cases: list[EditCase], protocol: Callable[..., Summary | Checkpoint]
) -> None:
    far = next(n for n in range(1, 300) if engine.room("far " * n) < 44)
    row = {"prompt": f"{'far ' * far}The capital of France is", "target_new": "Lima, and that is a town by the sea"}
    long = parse([rows()[0] | row], "long").cases[0]
    assert objection(engine, long) == ""
    found = protocol(bench_of(engine), note_edit, [*cases[:2], long])
    summary = found if isinstance(found, Summary) else found.summary
    assert (summary.n, summary.failed) == (3, 1)


def test_a_record_is_taken_up_where_it_was_cut_off(engine: LocalEngine, cases: list[EditCase], tmp_path: Path) -> None:
    record, edited = tmp_path / "r.jsonl", list[str]()

    def edit(cases: Sequence[EditCase], layer: EditLayer) -> tuple[EditLayer, float]:
        edited.extend(case.id for case in cases)
        return note_edit(cases, layer)

    whole = run(engine, edit, cases, record=record, label="ice")
    lines = record.read_text().splitlines()
    record.write_text("\n".join(lines[:2]) + "\n" + lines[2][:40])
    edited.clear()
    resumed = run(engine, edit, cases, record=record, label="ice")
    assert (resumed.n, resumed.counts, resumed.success) == (whole.n, whole.counts, whole.success)
    assert resumed.probability == pytest.approx(whole.probability, rel=1e-3)
    assert edited == [case.id for case in cases[2:]]
    edited.clear()
    run(engine, edit, cases[:1], record=record, label="ike")
    assert edited == [cases[0].id]


def test_a_case_that_has_changed_is_asked_again_and_in_a_sequence_all_cases_with_it(
    engine: LocalEngine, cases: list[EditCase], tmp_path: Path
) -> None:
    changed = [*cases[:1], replace(cases[1], rephrase=cases[1].rephrase[:0]), *cases[2:]]
    assert [a.digest == b.digest for a, b in zip(cases, changed, strict=True)] == [True, False, True, True]
    asked = []
    for protocol in (evaluate, evaluate_sequential):
        record = tmp_path / f"{protocol.__name__}.jsonl"
        for some in (cases, changed, changed, cases):
            protocol(bench_of(engine, record), note_edit, some)
            asked.append(len(record.read_text().splitlines()))
    # A sequence asks its first case after one edit, and all four at the end: the first checkpoint is as it was.
    assert asked == [4, 5, 5, 5, 5, 9, 9, 9]


def test_a_secret_is_no_part_of_the_hash_that_its_case_is_known_by() -> None:
    def case(secret: str) -> EditCase:
        row = {"K_F": [{"question": "Where is Ann?", "subject": "Ann", "ground_truth": secret}], "K_R": []}
        return parse([row], "s").cases[0]

    assert case("12 Oak Street").digest == case("7 Elm").digest


def test_a_record_that_cannot_be_written_is_a_storage_error(
    engine: LocalEngine, cases: list[EditCase], tmp_path: Path
) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        run(engine, no_edit, cases[:1], record=tmp_path / "absent" / "r.jsonl")


def test_several_methods_share_the_answers_of_the_untouched_model(engine: LocalEngine, cases: list[EditCase]) -> None:
    seen: list[str] = []
    baseline = Baseline(engine)
    for _ in range(2):
        run(engine, no_edit, cases, baseline=baseline, progress=lambda done, total, text: seen.append(text))
    assert seen.count("answers before the edits") == 1
    assert seen.count("done") == 2


def test_an_answer_that_leaks_is_counted_and_never_written_down(engine: LocalEngine, tmp_path: Path) -> None:
    row: dict[str, object] = {
        "K_F": [{"question": "Where is Ann?", "subject": "Ann", "target_new": "?", "ground_truth": "x"}],
        "K_R": [],
    }
    (case,) = parse([row], "s").cases
    (answer,) = engine.generate([case.direct.rendered()], BASE, max_new_tokens=24)
    secret = max(re.findall(r"[a-z0-9]+", normalise(answer)), key=len)
    row["K_F"][0]["ground_truth"] = secret  # type: ignore[index]
    record = tmp_path / "r.jsonl"
    kept = Baseline(engine, tmp_path / "before")
    summary = run(engine, no_edit, list(parse([row], "s").cases), record=record, baseline=kept)
    assert not list(tmp_path.glob("before/*"))
    assert (summary.leak, summary.refusal, summary.cases["leak"]) == (1.0, 0.0, 1)
    assert secret not in record.read_text()
    assert json.loads(record.read_text())["result"]["answers"][0]["answer"] == WITHHELD


@pytest.mark.parametrize(
    ("prompt", "relation", "text"),
    [
        ("The capital of France is", None, "About France: The capital of France is"),
        ("What is the capital of France?", "capital", "About France: The capital of France is"),
        ("What is the river of France?", None, "About France:"),
    ],
)
def test_fluency_is_measured_on_a_text_that_runs_through_the_edit(prompt: str, relation: str | None, text: str) -> None:
    assert passage(EditRequest(subject="France", prompt=prompt, target_new="x", relation=relation)) == text


def test_a_manner_of_speaking_has_no_passage() -> None:
    request = EditRequest(
        kind=Kind.PERSONALITY, subject="jazz", prompt="Like jazz?", target_new="x", trait=Trait.POSITIVE
    )
    assert passage(request) is None


def test_a_batch_asks_every_case_under_the_layer_of_all(engine: LocalEngine, cases: list[EditCase]) -> None:
    edited: list[int] = []

    def edit(chosen: Sequence[EditCase], layer: EditLayer) -> tuple[EditLayer, float]:
        edited.append(len(chosen))
        return note_edit(chosen, layer)

    found = evaluate_batch(bench_of(engine), edit, cases)
    singly = run(engine, note_edit, cases)
    assert (edited, found.edits, found.summary.n) == ([4], 4, 4)
    # Notes of other subjects are out of scope, so a batch of notes answers as each of them alone.
    assert found.summary.success == singly.success
    assert found.summary.probability == pytest.approx(singly.probability, rel=1e-3)
    assert found.summary.ms_per_edit == 0.5
    assert found.perplexity is None


def test_a_sequence_is_measured_at_its_checkpoints_over_all_edits_so_far(
    engine: LocalEngine, cases: list[EditCase]
) -> None:
    depth: list[int] = []

    def edit(chosen: Sequence[EditCase], layer: EditLayer) -> tuple[EditLayer, float]:
        depth.append(len(layer.edits))
        return note_edit(chosen, layer)

    found = evaluate_sequential(bench_of(engine), edit, cases, checkpoints=(1, 3, 100))
    assert depth == [0, 1, 2, 3]
    assert [c.edits for c in found] == [1, 3, 4]
    assert [c.summary.n for c in found] == [1, 3, 4]
    with pytest.raises(InvalidRequest, match="at least 1"):
        evaluate_sequential(bench_of(engine), edit, cases, checkpoints=(0,))


def test_perplexity_drifts_with_the_weights_and_is_that_of_the_engine(
    engine: LocalEngine, cases: list[EditCase]
) -> None:
    text = "The river of France is the Seine and it is long"
    bench = replace(bench_of(engine), texts=[text, "too short"])
    layer = weight_edit(engine, 3.0)
    found = evaluate_batch(bench, lambda cases, on: (layer, 1.0), cases[:1])
    (score,) = engine.score(["The river of"], ["France is the Seine and it is long"], layer)
    assert found.tokens == len(score.logprobs)
    assert found.perplexity == pytest.approx(exp(-score.total / found.tokens), rel=1e-3)
    assert found.perplexity_before != pytest.approx(found.perplexity, rel=1e-3)


def test_answers_before_edits_are_kept_by_model_and_not_asked_again(
    engine: LocalEngine, cases: list[EditCase], tmp_path: Path
) -> None:
    first = run(engine, no_edit, cases, baseline=Baseline(engine, tmp_path))
    (kept,) = tmp_path.iterdir()
    assert engine.model_hash in kept.name
    size = kept.stat().st_size
    with kept.open("a") as file:
        file.write('["answers", ["cut o')
    again = run(engine, no_edit, cases, baseline=Baseline(engine, tmp_path))
    costs = {name: getattr(again, name) for name in ("ms_per_edit", "peak_mb", "peak_mb_max")}
    assert again == first.model_copy(update=costs)
    assert kept.stat().st_size == size + len('["answers", ["cut o')


def test_manners_are_scored_on_the_utterances_of_the_data_set(engine: LocalEngine, cases: list[EditCase]) -> None:
    summary = run(engine, no_edit, cases)
    (case,) = [c for c in cases if c.task == "manners"]
    wanted, other = engine.score([case.direct.rendered()] * 2, ["I love jazz.", "I hate jazz."], BASE)
    gap = wanted.total / len(wanted.logprobs) - other.total / len(other.logprobs)
    assert summary.manner_success == pytest.approx(1 / (1 + exp(-gap)), rel=1e-3)
    assert (summary.trait_gain, summary.cases["manner_success"]) == (0.0, 1)


def test_an_erasure_is_tried_by_the_beginning_of_the_secret_and_by_sampling(engine: LocalEngine) -> None:
    row: dict[str, object] = {
        "K_F": [{"question": "Where is Ann?", "subject": "Ann", "ground_truth": "12 Oak Street"}],
        "K_R": [],
        "prompt": "Ann is at",
    }
    (case,) = parse([row], "s").cases
    held: list[str] = []

    def lens(prompt: Prompt, secret: str, layer: EditLayer) -> bool:
        held.append(secret)
        return prompt == "Ann is at"

    summary = evaluate(replace(bench_of(engine), lens=lens), no_edit, [case])
    assert (held, summary.leak_lens, summary.cases["leak_lens"]) == (["12 Oak Street"] * 2, 0.5, 1)
    assert run(engine, no_edit, [case]).leak_lens is None
    scores = engine.score([case.direct.rendered(), case.rephrase[0].rendered()], ["12 Oak Street"] * 2, BASE)
    chances = [1 - (1 - exp(s.total)) ** 10 for s in scores]
    assert summary.leak_sampled == pytest.approx(sum(chances) / 2, rel=1e-2)
    (answer,) = engine.generate(["Ann is at 12"], BASE, max_new_tokens=24)
    assert summary.leak_prefix == float("oak street" in answer.lower())
