"""The benchmark runner, on a reader that knows the sample's data."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from ketools.core.errors import EngineUnavailable, InvalidRequest
from ketools.evaluation.mquake import MultihopData
from ketools.multihop import MultihopResources
from ketools.multihop.metrics import Knowledge, leniently, overridden, strictly
from ketools.multihop.oracle import OracleReader
from ketools.multihop.runner import MultihopSetup


def bench(data: MultihopData, resources: MultihopResources, record: Path | None = None) -> MultihopSetup:
    return MultihopSetup(data, OracleReader(data.cases), resources.memory, "oracle", record)


def test_agents_are_measured_at_every_size_and_overridden_cases_apart(
    sample: MultihopData, plain_kit: MultihopResources
) -> None:
    agents = {name: partial(plain_kit.program, name) for name in ("auto", "mello")}
    found = bench(sample, plain_kit).run(agents, ["1", "2", "all"], None)
    assert set(found) == {"auto", "mello"} and list(found["auto"]) == ["1", "2", "all"]
    alone, shared = found["auto"]["1"], found["auto"]["all"]
    assert (alone.n, alone.questions, alone.overridden.n) == (3, 9, 0)
    assert alone.accuracy == alone.hopwise == alone.accuracy_per_question == 1.0
    assert alone.retrieval.found == 1.0 and alone.retrieval.false_injections == 0.0
    # The third case changes Tom Abel's country, which the first one's chain runs through, and the other way round.
    assert shared.overridden.n == 3 and shared.n == 0 and shared.accuracy is None
    assert shared.accuracy_as_edited == 1.0


def test_a_run_is_taken_up_where_it_stopped(sample: MultihopData, plain_kit: MultihopResources, tmp_path: Path) -> None:
    record = tmp_path / "record.jsonl"
    agents = {"auto": partial(plain_kit.program, "auto")}
    first = bench(sample, plain_kit, record).run(agents, ["1"], 2)
    lines = record.read_text().splitlines()
    record.write_text("\n".join([*lines[:-1], lines[-1][: len(lines[-1]) // 2]]))
    asked: list[tuple[int, int, str]] = []
    again = bench(sample, plain_kit, record).run(agents, ["1"], 2, lambda *told: asked.append(told))
    assert {total for _, total, _ in asked} == {1}
    assert first["auto"]["1"].model_dump(exclude={"seconds"}) == again["auto"]["1"].model_dump(exclude={"seconds"})


def test_a_record_of_fewer_cases_does_not_answer_for_a_shared_memory_of_more(
    sample: MultihopData, plain_kit: MultihopResources, tmp_path: Path
) -> None:
    agents = {"auto": partial(plain_kit.program, "auto")}
    record = tmp_path / "record.jsonl"
    bench(sample, plain_kit, record).run(agents, ["2"], 1)
    again = bench(sample, plain_kit, record).run(agents, ["2"], None)["auto"]["2"]
    fresh = bench(sample, plain_kit).run(agents, ["2"], None)["auto"]["2"]
    assert again.model_dump(exclude={"seconds"}) == fresh.model_dump(exclude={"seconds"})


class Away(OracleReader):
    """A model that cannot be reached."""

    def complete(self, texts: Sequence[str], stops: Sequence[str], tokens: int) -> list[str]:
        raise EngineUnavailable("vLLM is down")


def test_an_outage_is_raised_and_not_recorded_as_a_wrong_answer(
    sample: MultihopData, plain_kit: MultihopResources, tmp_path: Path
) -> None:
    record = tmp_path / "record.jsonl"
    away = MultihopSetup(sample, Away(sample.cases), plain_kit.memory, "oracle", record)
    with pytest.raises(EngineUnavailable):
        away.run({"mello": partial(plain_kit.program, "mello")}, ["1"], None)
    assert not record.exists()


class Dotted(OracleReader):
    """Ends its answers with a full stop."""

    def answer(self, questions: Sequence[str], tokens: int) -> list[str]:
        return [f"{text}." for text in super().answer(questions, tokens)]


def test_a_full_stop_counts_against_an_answer_only_strictly(sample: MultihopData, plain_kit: MultihopResources) -> None:
    dotted = MultihopSetup(sample, Dotted(sample.cases), plain_kit.memory, "oracle")
    found = dotted.run({"auto": partial(plain_kit.program, "auto")}, ["1"], None)["auto"]["1"]
    assert found.accuracy == 1.0 and found.accuracy_strict is not None and found.accuracy_strict < 1.0


def test_a_size_must_be_a_number_or_all(sample: MultihopData, plain_kit: MultihopResources) -> None:
    for size in ("0", "-1", "many"):
        with pytest.raises(InvalidRequest, match="no size of a memory"):
            bench(sample, plain_kit).run({"auto": partial(plain_kit.program, "auto")}, [size], 1)


def test_a_later_edit_of_another_case_overrides(sample: MultihopData) -> None:
    first, second, _ = sample.cases
    assert not overridden(first, {edit.key: edit.target for edit in first.edits})
    assert overridden(first, {("Q5", "P27"): "Q8"}) and not overridden(second, {("Q1", "P50"): "Q5"})
    knowledge = Knowledge(sample.cases)
    path = knowledge.path(first, {("Q1", "P50"): "Q5", ("Q5", "P27"): "Q8"})
    assert path is not None and knowledge.names(path[-1][1]) == ("Kenya",)
    assert knowledge.path(first, {("Q1", "P50"): "Q99"}) is None


def test_strict_matching_counts_what_lenient_matching_forgives() -> None:
    assert leniently("niger.", ["Niger"]) and not strictly("niger.", ["Niger"])
    assert strictly("Niger", ["Mali", "Niger"]) and not leniently(None, ["Niger"])
    assert not leniently("Nigeria", ["Niger"])
