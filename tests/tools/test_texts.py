"""What a model reads of each result: numbers included, within 120 tokens unless it asks for more."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketools.core.brief import clip, few, token_estimate
from ketools.core.evidence import Evidence, ProbeResult, Share
from ketools.core.results import (
    Answer,
    BatchResult,
    EditPage,
    EditResult,
    EditView,
    JobView,
    MethodList,
    MethodView,
    Result,
    SpaceDiff,
    SpaceList,
    SpaceView,
    UndoResult,
)
from ketools.service.summaries import summary_of

LONG = "the capital of the united kingdom of great britain and northern ireland " * 12
MISSED = ProbeResult(prompt="What?", kind="rephrase", chat=True, expected="Lyon", answer="Paris", passed=False)
EVIDENCE = Evidence(success=0.875, success_n=8, locality=0.96, locality_n=25, leak=0.125, failures=(MISSED,))
MEASURE = {"value": 0.9375, "n": 12, "probes": 96, "ci": [0.85, 1.0]}
STANDING = {"version": 7, "n": 12, "erased": 2, "success": MEASURE, "locality": MEASURE, "accepted": MEASURE}


def edit(text: str = "Paris", **more: Any) -> EditResult:
    """A committed edit."""
    values: dict[str, Any] = {
        "edit_id": "e_01kbn4m7z0q9x2f",
        "status": "committed",
        "verified": True,
        "space": "user/local",
        "version": 3,
        "method": "ice",
        "before": text,
        "after": "Lyon.",
        "evidence": EVIDENCE,
        "next": "undo_edit takes it back; job_status j_01kbn4m7z0q9x2f tells when it is in the weights.",
    }
    return EditResult(**{**values, **more})


def view(text: str = "The capital of France is Lyon", number: int = 0) -> EditView:
    """A live edit in a list."""
    return EditView(
        edit_id=f"e_01kbn4m7z0q9{number:03}",
        space="user/local",
        kind="modify",
        method="ice",
        outcome="committed",
        live=True,
        created_at="2026-11-02T10:00:00.000+00:00",
        principal="operator",
        fact=text,
        evidence=EVIDENCE,
    )


def job(kind: str, result: dict[str, Any]) -> JobView:
    """A finished job."""
    return JobView(
        job_id="j_01kbn4m7z0q9x2f",
        kind=kind,
        space="user/local",
        state="done",
        progress=1.0,
        summary=summary_of(kind, result),
        result=result,
    )


def space(number: int) -> SpaceView:
    return SpaceView(
        name=f"session/alice/{number}", parent="user/alice", owner="alice", version=3, live=2, layer_hash="x"
    )


FAILING = {f"e_01kbn4m7z0q9{i:03}": "Its success is 0.50, below 0.75." for i in range(50)}
METHODS = {"recommended": "ft-m", "reasons": ["ft-m: 3 of 3 edits accepted, success 1.000, locality 0.98, 12 ms."] * 18}
RESULTS: dict[str, tuple[Result, tuple[str, ...]]] = {
    "edit": (edit(LONG), ("0.88", "8 phrasings", "0.96", "25 probes", "leak 0.12", "e_01kbn4m7z0q9x2f", "user/local")),
    "refused": (
        edit(LONG, status="refused", edit_id=None, reason=LONG), ("refused", "0.88", "the capital of the united")
    ),
    "batch": (
        BatchResult(
            space="user/local", results=(edit(LONG, status="refused", reason=LONG),) * 40, committed=0, refused=40,
            failed=0, version=None, next="Pass apply_valid=true to commit the good ones.",
        ),
        ("0 of 40", "40 refused", "Fact 0", "more that failed"),
    ),
    "show": (view(LONG), ("0.88", "25 probes")),
    "page": (
        EditPage(space="user/local", edits=tuple(view(LONG, i) for i in range(20)), next_cursor="e_01kbn4m7z0q9x2f"),
        ("20 edits", "e_01kbn4m7z0q9000", "detailed", "cursor=e_01"),
    ),
    "undo": (
        UndoResult(
            edit_id="e_01kbn4m7z0q9x2f", space="user/local", version=4, layer_hash="x",
            brought_back=("e_01kbn4m7z0q9x2f",) * 9,
        ),
        ("version 4",),
    ),
    "spaces": (SpaceList(spaces=tuple(map(space, range(60)))), ("60 spaces", "2 live", "more")),
    "diff": (
        SpaceDiff(
            a="user/alice", b="user/bob", only_a=(view(LONG),) * 7, only_b=(view(LONG),) * 9,
            answers=({"prompt": LONG, "a": LONG, "b": "Lyon"},) * 5,
        ),
        ("7 edits only in user/alice", "9 only in user/bob", "5 of 5 answers differ", "Only in user/alice"),
    ),
    "evaluated": (
        job("evaluate_space", {**STANDING, "failing": FAILING}),
        ("0.94", "[0.85, 1.00]", "12 edits", "96 prompts", "e_01kbn4m7z0q9000", "2 erasures"),
    ),
    "compared": (job("compare_methods", METHODS), ("Recommended: ft-m", "3 of 3", "12 ms")),
    "consolidated": (
        job("consolidate", {"consolidated": 2, "edits": {}, "kept": FAILING, "method": "ft-m"}),
        ("2 of 52 notes", "ft-m", "stays a note", "0.50"),
    ),
    "methods": (
        MethodList(
            methods=tuple(
                MethodView(name=f"m{i}", summary=LONG, phase="mastery", kinds=(), source="x", configuration="default")
                for i in range(20)
            )
        ),
        ("m0", "m19"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RESULTS)
def test_the_text_holds_the_numbers_within_a_budget(name: str) -> None:
    result, told = RESULTS[name]
    line = result.named("atlas").line()
    assert all(part in line for part in told), line
    assert token_estimate(line) <= 130, line  # the estimate is from above


@pytest.mark.parametrize("name", ["edit", "batch", "show", "page", "spaces", "diff", "evaluated", "methods"])
def test_the_detailed_text_leaves_nothing_out(name: str) -> None:
    result = RESULTS[name][0]
    assert len(result.detail()) > len(result.line())
    assert "…" not in result.detail() or name in ("edit", "batch", "page", "diff")


def test_an_answer_is_the_answer_and_every_result_of_a_space_tells_the_gateways_name() -> None:
    answer = Answer(answer="Lyon", space="user/local", version=1).named("atlas")
    assert answer.line() == "Lyon" and answer.gateway_model == "atlas@user/local"
    assert "atlas@user/local" in edit().named("atlas").line()
    assert SpaceList(spaces=(space(1),)).named("atlas").spaces[0].gateway_model == "atlas@session/alice/1"


def test_own_rephrases_are_told_as_the_stronger_verdict() -> None:
    own = Share(kind="rephrase", source="caller", passed=2, n=3)
    assert "8 phrasings, 3 of them yours" in edit(evidence=EVIDENCE.model_copy(update={"shares": (own,)})).line()
    assert "yours" not in edit().line()


@given(st.text(max_size=300), st.integers(4, 60))
def test_a_clipped_text_is_short_and_begins_the_same(text: str, tokens: int) -> None:
    cut, whole = clip(text, tokens), " ".join(text.split())
    assert token_estimate(cut) <= max(tokens, 3) + 2
    assert whole.startswith(cut.removesuffix("…"))
    assert cut == whole or cut.endswith("…")


def test_left_out_rows_are_counted() -> None:
    assert few(["one", "two", "three"], 2, "more") == ["one", "two", "(1 more)"]
    assert few(["one"], 2, "more") == ["one"]
