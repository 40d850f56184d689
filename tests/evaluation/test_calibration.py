"""Calibration: searches configurations, scores what the engine answers, stores a profile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ketools.core.errors import Cancelled, InvalidRequest, StorageError
from ketools.core.requests import EditRequest, Probe
from ketools.editing.editor import Editor
from ketools.engines.local import LocalEngine
from ketools.evaluation.calibration import CalibrationCase, Trial, calibrate, known_cases
from ketools.layers.artefacts import Artefact
from ketools.layers.composition import BASE
from ketools.methods.ft_m.config import FTMConfig
from ketools.methods.memit.config import MEMITConfig
from ketools.methods.profile import MethodProfile, Profile, Scores, load_profile, shipped_profiles, store_profile
from ketools.methods.registry import get_method
from ketools.models.background import Background
from ketools.models.editable import EditableModel

FRANCE = EditRequest(subject="France", prompt="The capital of France is", target_new="Lima")
CASE = CalibrationCase(
    request=FRANCE,
    direct=(Probe(prompt=FRANCE.prompt),),
    rephrases=(Probe(prompt="What is the capital of France?", chat=True),),
    locality=(Probe(prompt="Alice works for", kind="neighbour"),),
)


@pytest.fixture
def em(tiny_editable: Callable[[str], EditableModel]) -> EditableModel:
    return tiny_editable("llama")


@pytest.fixture
def editor(em: EditableModel, tmp_path: Path) -> Editor:
    background = Background("test", lambda: ("The capital of Peru is Lima.",))
    return Editor(em, background=background, profiles_dir=tmp_path)


def test_a_strong_edit_is_scored_by_what_the_engine_then_answers(editor: Editor, em: EditableModel) -> None:
    engine = LocalEngine(em)
    config = FTMConfig(layer=1, steps=60, lr=2e-2, preservation=0.0, templates=0, conversations=False, prefixes=0)
    target = engine.generate(["Bob was born in"], BASE, max_new_tokens=2)[0]
    # A target of the model's own words survives detokenisation.
    request = FRANCE.model_copy(update={"target_new": target})
    scores = Trial(editor, engine).scores("ft-m", config, [CalibrationCase(request, CASE.direct, (), CASE.locality)])
    assert scores.n == 1
    assert scores.ms > 0
    assert scores.rephrase == 1.0
    assert 0.0 <= scores.locality <= 1.0


def test_an_edit_that_diverges_counts_as_a_failure(editor: Editor, em: EditableModel) -> None:
    hopeless = FTMConfig(layer=1, steps=1, lr=1e-12, templates=0, conversations=False, prefixes=0)
    scores = Trial(editor, LocalEngine(em)).scores("ft-m", hopeless, [CASE])
    assert scores.success == 0.0
    assert scores.locality == 1.0
    assert scores.overall == 0.0


def test_calibration_stores_the_best_configuration_for_the_editor_to_use(editor: Editor, em: EditableModel) -> None:
    profile = calibrate(editor, LocalEngine(em), [CASE], ["ft-m"], budget_s=1.0)
    method = get_method("ft-m")
    assert profile.model_hash == em.model_hash
    assert editor.configurations.profile == profile
    assert editor.configurations.of(method) == profile.config_for(method)


def test_calibration_is_cancelled_between_configurations(editor: Editor, em: EditableModel) -> None:
    def cancel(done: int, total: int, message: str) -> None:
        raise Cancelled("stopped by the caller")

    with pytest.raises(Cancelled):
        calibrate(editor, LocalEngine(em), [CASE], ["ft-m"], progress=cancel)
    assert editor.configurations.profile is None


def test_calibration_refuses_what_it_cannot_search(editor: Editor, em: EditableModel) -> None:
    with pytest.raises(InvalidRequest, match="needs cases"):
        calibrate(editor, LocalEngine(em), [])
    with pytest.raises(InvalidRequest, match="ice has nothing to calibrate"):
        calibrate(editor, LocalEngine(em), [CASE], ["ice"])


def test_the_bundled_worlds_cases_withhold_their_rephrases_from_the_computation() -> None:
    cases = known_cases(20)
    assert cases == known_cases(20)
    for case in cases:
        request = case.request
        assert request.target_new != request.target_old
        assert {probe.prompt for probe in case.direct}.isdisjoint(probe.prompt for probe in case.rephrases)
        assert all(request.subject in probe.prompt for probe in (*case.direct, *case.rephrases))
        assert {probe.kind for probe in case.locality} >= {"neighbour", "unrelated"}


def scores(**values: float) -> Scores:
    return Scores(**{"success": 1.0, "rephrase": 1.0, "locality": 1.0, "ms": 1.0, "n": 1, **values})


def profile(name: str, lr: float) -> Profile:
    chosen = MethodProfile(config={"lr": lr}, scores=scores())
    return Profile(model_hash="abc", model_name="tiny", methods={name: chosen})


def test_the_overall_score_is_a_harmonic_mean() -> None:
    assert scores(success=0.5).overall == pytest.approx(3 / (2 + 1 + 1))
    assert scores(locality=0.0).overall == 0.0


def test_storing_one_methods_profile_keeps_the_others(tmp_path: Path) -> None:
    store_profile(profile("ft-m", 0.1), tmp_path)
    store_profile(profile("rome", 0.2), tmp_path)
    store_profile(profile("ft-m", 0.3), tmp_path)
    found = load_profile("abc", tmp_path)
    assert found is not None
    assert {name: chosen.config for name, chosen in found.methods.items()} == {
        "ft-m": {"lr": 0.3},
        "rome": {"lr": 0.2},
    }


def test_a_method_calibrated_anew_leaves_the_shipped_ones_as_they_are(tmp_path: Path) -> None:
    shipped = next(iter(shipped_profiles()))
    mine = MethodProfile(config={"steps": 3}, scores=Scores(success=1, rephrase=1, locality=1, ms=1, n=1))
    store_profile(shipped.model_copy(update={"methods": {"ft-m": mine}}), tmp_path)
    found = load_profile(shipped.model_hash, tmp_path)
    assert found is not None
    assert found.methods["ft-m"] == mine
    assert found.methods.keys() == shipped.methods.keys()


def test_auto_takes_the_calibrated_method_that_holds_most_edits() -> None:
    def profile(holds: int | None, success: float, ms: float = 1) -> MethodProfile:
        return MethodProfile(config={}, scores=Scores(success=success, rephrase=1, locality=1, ms=ms, n=1), holds=holds)

    made = {"rome": profile(None, 1.0), "memit": profile(100, 0.9), "ft-m": profile(100, 0.8)}
    found = Profile(model_hash="abc", model_name="x", methods=made)
    able = [get_method(name) for name in ("ft-m", "rome", "memit", "kn")]
    assert found.steadiest(able) == "memit"
    assert found.steadiest(able[:2]) == "ft-m"
    assert found.steadiest(able[3:]) is None
    # Of two that are as good as each other, the faster.
    made = {"rome": profile(30, 0.998, ms=9), "memit": profile(30, 0.997, ms=5), "ft-m": profile(30, 0.9, ms=1)}
    assert found.model_copy(update={"methods": made}).steadiest(able) == "memit"


def test_a_joint_method_is_also_tried_on_all_cases_at_once(
    editor: Editor, em: EditableModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    together: list[int] = []
    compute = editor.compute

    def counted(name: str, requests: Sequence[EditRequest], *given: Any) -> list[Artefact]:
        together.append(len(requests))
        return compute(name, requests, *given)

    monkeypatch.setattr(editor, "compute", counted)
    japan = FRANCE.model_copy(update={"subject": "Japan", "prompt": "The capital of Japan is"})
    config = MEMITConfig(layers=(1,), steps=2, templates=1, conversations=False, prefixes=0, relations=1, neighbours=0)
    scores = Trial(editor, LocalEngine(em)).scores("memit", config, [CASE, replace(CASE, request=japan)])
    assert together == [1, 1, 2]
    assert scores.n == 2


def test_a_damaged_profile_is_named(tmp_path: Path) -> None:
    (tmp_path / "abc.json").write_text("{")
    with pytest.raises(StorageError, match=r"abc\.json"):
        load_profile("abc", tmp_path)


def test_shipped_profiles_fit_the_methods_of_this_version() -> None:
    for shipped in shipped_profiles():
        for name in shipped.methods:
            assert shipped.config_for(get_method(name)) is not None
