"""Published configurations of 7B-class models: found by shape, behind calibration and before defaults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ketools.core.errors import ModelError
from ketools.editing.editor import Editor
from ketools.methods import papers
from ketools.methods.papers import PaperProfile, Shape, paper_config, paper_profiles
from ketools.methods.profile import MethodProfile, Profile, Scores, store_profile
from ketools.methods.registry import get_method

LLAMA = Shape(model_type="llama", blocks=32, hidden=4096)
ROME = get_method("rome")


@pytest.mark.parametrize("profile", paper_profiles(), ids=lambda profile: profile.models)
def test_every_published_configuration_is_within_bounds_and_names_blocks_of_its_shape(profile: PaperProfile) -> None:
    for name in profile.methods:
        config: Any = paper_config(get_method(name), profile.shape)
        blocks = [*(getattr(config, "layers", None) or ()), getattr(config, "layer", 0) or 0]
        assert max(blocks) < profile.shape.blocks


def test_a_directory_is_told_by_its_config_alone(tmp_path: Path) -> None:
    config = {
        "model_type": "llama",
        "num_hidden_layers": 32,
        "hidden_size": 4096,
        "architectures": ["LlamaForCausalLM"],
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert Shape.of(tmp_path) == LLAMA
    found: Any = Editor(tmp_path).configurations.published(ROME)
    assert (found.layer, found.steps) == (5, 25)
    with pytest.raises(ModelError):
        Shape.of(tmp_path / "nothing")


def test_calibration_goes_before_the_papers_and_they_before_defaults(
    tiny_llama_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = Editor(tiny_llama_dir, profiles_dir=tmp_path)
    assert editor.configurations.of(ROME) == ROME.config()
    shape = Shape.of(tiny_llama_dir)
    published = PaperProfile(shape=shape, models="tiny", source="none", methods={"rome": {"layer": 1}})
    monkeypatch.setattr(papers, "paper_profiles", lambda: (published,))
    assert editor.configurations.of(ROME) == ROME.config(layer=1)  # type: ignore[call-arg]
    scores = Scores(success=1, rephrase=1, locality=1, ms=1, n=1)
    found = {"rome": MethodProfile(config={"layer": 2}, scores=scores)}
    store_profile(Profile(model_hash=editor.model_hash, model_name="tiny", methods=found), tmp_path)
    assert editor.configurations.of(ROME) == ROME.config(layer=2)  # type: ignore[call-arg]
    assert editor.configurations.of(get_method("ice")) == get_method("ice").config()
