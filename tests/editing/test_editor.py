"""The editor: loads late, releases early, picks configurations, one computation at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from ketools.core.errors import Cancelled, InvalidRequest, ModelError, NotFound
from ketools.core.requests import EditRequest, Kind
from ketools.editing.editor import Editor
from ketools.layers.composition import BASE
from ketools.layers.kinds.dense import DenseDelta
from ketools.methods.ft_m.config import FTMConfig
from ketools.methods.profile import MethodProfile, Profile, Scores, store_profile
from ketools.methods.registry import get_method
from ketools.methods.rome.config import ROMEConfig
from ketools.models.background import Background
from ketools.models.editable import EditableModel

FRANCE = EditRequest(subject="France", prompt="The capital of France is", target_new="Lima")
BACKGROUND = Background("test", lambda: ("The capital of Peru is Lima.",))
QUICK = {"layer": 1, "steps": 2, "lr": 2e-3, "templates": 1, "relations": 1, "conversations": False}


def editor_of(model: Path | EditableModel, tmp_path: Path, idle_s: float = 300.0) -> Editor:
    return Editor(model, idle_s=idle_s, background=BACKGROUND, profiles_dir=tmp_path)


def test_the_model_is_loaded_on_first_use_and_released_when_idle(tiny_llama_dir: Path, tmp_path: Path) -> None:
    editor = editor_of(tiny_llama_dir, tmp_path, idle_s=0.05)
    seen = [editor.loaded]
    editor.compute("ft-m", [FRANCE], BASE, QUICK)
    deadline = time.monotonic() + 30
    while editor.loaded and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [*seen, editor.loaded] == [False, False]
    (artefact,) = editor.compute("ft-m", [FRANCE], BASE, QUICK)
    assert isinstance(artefact, DenseDelta)
    editor.close()


def test_a_note_is_computed_without_loading_the_model(tmp_path: Path) -> None:
    editor = editor_of(tmp_path / "nowhere", tmp_path)
    assert len(editor.compute("ice", [FRANCE], BASE)) == 1
    assert not editor.loaded


def test_a_missing_model_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere"):
        editor_of(tmp_path / "nowhere", tmp_path).compute("ft-m", [FRANCE], BASE, QUICK)


def test_a_shared_model_is_never_released(tiny_editable: Callable[[str], EditableModel], tmp_path: Path) -> None:
    editor = editor_of(tiny_editable("llama"), tmp_path, idle_s=0.0)
    editor.compute("ft-m", [FRANCE], BASE, QUICK)
    editor.release()
    assert editor.loaded


def test_computations_of_two_threads_do_not_overlap(
    tiny_editable: Callable[[str], EditableModel], tmp_path: Path
) -> None:
    editor = editor_of(tiny_editable("llama"), tmp_path)
    order: list[int] = []

    def work() -> None:
        name = threading.get_ident()
        editor.compute("ft-m", [FRANCE], BASE, QUICK, lambda done, total, message: order.append(name))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    switches = sum(one != other for one, other in pairwise(order))
    assert len(set(order)) == 2
    assert switches == 1


def test_a_cancelled_computation_leaves_the_editor_usable(
    tiny_editable: Callable[[str], EditableModel], tmp_path: Path
) -> None:
    editor = editor_of(tiny_editable("llama"), tmp_path)

    def cancel(done: int, total: int, message: str) -> None:
        raise Cancelled("stopped by the caller")

    with pytest.raises(Cancelled):
        editor.compute("ft-m", [FRANCE], BASE, QUICK, cancel)
    assert editor.compute("ft-m", [FRANCE], BASE, QUICK)


def test_a_shared_model_serves_unedited_logits_while_an_edit_is_computed(
    tiny_editable: Callable[[str], EditableModel], tmp_path: Path
) -> None:
    em = tiny_editable("llama")
    ids = torch.tensor([em.tokenizer("The capital of France is")["input_ids"]])
    with torch.no_grad():
        before = em.model(input_ids=ids).logits
    seen: list[torch.Tensor] = []

    def serve(done: int, total: int, message: str) -> None:
        def ask() -> None:
            with torch.no_grad():
                seen.append(em.model(input_ids=ids).logits)

        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()

    editor_of(em, tmp_path).compute("ft-m", [FRANCE], BASE, QUICK, serve)
    assert len(seen) >= 2
    assert all(torch.equal(logits, before) for logits in seen)


def profile_for(editor: Editor, layer: int) -> Profile:
    scores = Scores(success=1, rephrase=1, locality=1, ms=1, n=1)
    chosen = MethodProfile(config={"layer": layer, "steps": 7}, scores=scores)
    return Profile(model_hash=editor.model_hash, model_name="tiny", methods={"ft-m": chosen})


def test_an_explicit_configuration_wins_over_a_stored_profile_and_that_over_defaults(
    tiny_llama_dir: Path, tmp_path: Path
) -> None:
    editor = editor_of(tiny_llama_dir, tmp_path)
    method = get_method("ft-m")
    assert editor.configurations.of(method) == FTMConfig()
    store_profile(profile_for(editor, layer=2), tmp_path)
    assert editor.configurations.of(method) == FTMConfig(layer=2, steps=7)
    assert editor.configurations.of(method, {"layer": 0}) == FTMConfig(layer=0)
    assert editor.configurations.of(get_method("rome")) == ROMEConfig()


def test_configurations_that_do_not_fit_are_refused_by_name(tiny_llama_dir: Path, tmp_path: Path) -> None:
    editor = editor_of(tiny_llama_dir, tmp_path)
    with pytest.raises(InvalidRequest, match="steps: Input should be greater than or equal to 1"):
        editor.compute("ft-m", [FRANCE], BASE, {"steps": 0})
    with pytest.raises(InvalidRequest, match="takes a FTMConfig"):
        editor.compute("ft-m", [FRANCE], BASE, ROMEConfig())
    with pytest.raises(InvalidRequest, match="blocks 0 to 2"):
        editor.compute("ft-m", [FRANCE], BASE, {"layer": 9})


def test_an_unknown_method_is_answered_with_near_names(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="ft-m"):
        editor_of(tmp_path, tmp_path).compute("ft-n", [FRANCE], BASE)


def test_a_kind_that_a_method_cannot_do_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    facts_only = replace(get_method("ice"), kinds=frozenset({Kind.INSERT}))
    monkeypatch.setattr("ketools.editing.editor.get_method", lambda name: facts_only)
    with pytest.raises(InvalidRequest, match="cannot do") as told:
        editor_of(tmp_path, tmp_path).compute("ice", [FRANCE], BASE)
    assert told.value.which == (0,)
