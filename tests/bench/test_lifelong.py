"""Edits of the bundled model one after another, with the undo of half of them and of all."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from ketools.bench.batch import bench_batch
from ketools.bench.lifelong import HELD_OUT, Life, Stream, bench_lifelong, holds, plot
from ketools.bench.methods import bench_methods
from ketools.core.errors import InvalidRequest, NotFound
from ketools.core.requests import EditRequest
from ketools.layers.composition import BASE
from ketools.service.runtime import open_engine
from ketools.service.settings import Settings


def test_a_longer_stream_begins_with_the_shorter_one_and_leaves_the_same_facts_alone() -> None:
    short, long = Stream.of(20), Stream.of(2000)
    assert long.requests[:20] == short.requests
    assert long.held_out == short.held_out
    touched = {(request.subject, request.relation) for request in long.requests}
    assert not touched & set(long.held_out)
    assert len(long.held_out) == HELD_OUT


def test_a_fact_that_is_edited_again_is_given_another_target() -> None:
    requests = Stream.of(2000).requests
    now: dict[str, str] = {}
    for request in requests:
        assert request.target_old != request.target_new
        assert now.get(request.key, request.target_old) == request.target_old
        now[request.key] = request.target_new
    assert len(now) < len(requests)


def test_each_checkpoint_tells_what_holds_and_undoing_everything_is_exact(tmp_path: Path) -> None:
    found = bench_lifelong(Settings(home=tmp_path), ("ft-m",), (1, 3))
    rows = found["methods"]["ft-m"]
    assert (rows["1"]["n"], rows["3"]["n"], rows["stopped_at"]) == (1, 3, None)
    assert rows["3"]["success"] == 1.0
    assert rows["undo_half"]["edits_undone"] == 1
    assert rows["undo_half"]["restored"] == 1.0
    assert rows["undo_all_exact"]
    assert ElementTree.fromstring(plot(found)).tag.endswith("svg")


def test_a_method_holds_up_to_the_checkpoint_before_it_first_loses() -> None:
    rows = {
        "1": {"success": 1.0, "locality": 1.0},
        "10": {"success": 0.97, "locality": 0.95},
        "30": {"success": 1.0, "locality": 0.9},
        "100": {"success": 1.0, "locality": 1.0},
    }
    assert holds(rows) == 10
    assert holds({"1": {"success": 0.9, "locality": 1.0}}) == 0


def test_what_a_method_holds_is_kept_in_the_profile_on_demand(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    bench_lifelong(settings, ("ft-m",), (1,), store=True)
    _, editor = open_engine(settings)
    assert editor.configurations.profile is not None
    assert editor.configurations.profile.methods["ft-m"].holds == 1


def test_a_method_whose_time_is_spent_is_asked_where_it_stands(tmp_path: Path) -> None:
    rows = bench_lifelong(Settings(home=tmp_path), ("ultraedit",), (50,), budget_s=0)["methods"]["ultraedit"]
    assert rows["stopped_at"] == 1
    assert set(rows) == {"1", "holds", "undo_half", "undo_all_exact", "stopped_at"}


def test_unknown_methods_and_checkpoints_below_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="rome"):
        bench_lifelong(Settings(home=tmp_path), ("romm",))
    with pytest.raises(InvalidRequest, match="at least 1"):
        bench_lifelong(Settings(home=tmp_path), ("rome",), (0,))


def test_a_fact_that_is_edited_again_takes_the_place_of_its_earlier_edit(tmp_path: Path) -> None:
    engine, editor = open_engine(Settings(home=tmp_path))
    stream = Stream.of(1)
    again = stream.requests[0].model_copy(update={"target_new": "Zorvel", "target_old": stream.requests[0].target_new})
    life = Life(engine, editor, "ice", Stream([*stream.requests, again], stream.held_out))
    life.go_on(0)
    life.go_on(1)
    assert [edit.edit_id for edit in life.layer.edits] == ["1"]
    assert life.asked(life.layer, life.sample())["success"] == 1.0


def test_what_follows_from_an_edit_is_not_counted_as_what_must_stay(tmp_path: Path) -> None:
    engine, editor = open_engine(Settings(home=tmp_path))
    stream = Stream.of(1)
    subject = next(subject for subject, name in stream.held_out if name == "country_of")
    request = EditRequest(subject="Mali", prompt="The capital of Mali is", target_new=subject, relation="capital")
    found = Life(engine, editor, "ice", stream).asked(BASE, [request])
    assert found["locality_n"] == len(stream.held_out) - 1
    assert found["locality"] == 1.0


def test_a_batch_is_asked_of_the_engine_that_serves(tmp_path: Path) -> None:
    found = bench_batch(Settings(home=tmp_path), ("memit",), 6)
    row = found["methods"]["memit"]
    assert (row["n"], row["locality_n"], found["engine"]) == (6, HELD_OUT, "local")
    assert row["success"] == 1.0 and row["locality"] > 0.9
    assert row["residual"] == 0.0 and row["bytes_per_edit"] > 0
    with pytest.raises(InvalidRequest, match="fewer than 2000"):
        bench_batch(Settings(home=tmp_path), ("memit",), 2000)


def test_batches_are_measured_each_in_its_process_and_long_ones_left_out(tmp_path: Path) -> None:
    found = bench_methods(Settings(home=tmp_path), ("ft-m",), (1, 2, 1000), budget_s=30)
    rows = found["methods"]["ft-m"]
    assert [rows[size]["n"] for size in ("1", "2")] == [1, 2]
    assert all(rows[size]["ms_per_edit"] > 0 and rows[size]["bytes_per_edit"] > 0 for size in ("1", "2"))
    assert list(found["left_out"]["ft-m"]) == ["1000"]
