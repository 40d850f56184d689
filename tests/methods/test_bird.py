"""BIRD: ROME when its term has no weight, and what the term measures."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest
import torch

from ketools.core.requests import EditRequest
from ketools.layers.composition import BASE
from ketools.layers.kinds.low_rank import LowRankDelta
from ketools.methods.base import EditContext, MethodConfig
from ketools.methods.bird.compute import bidirectional, mean_state, relation_words
from ketools.methods.bird.config import BIRDConfig
from ketools.methods.r_rome.config import RROMEConfig
from ketools.methods.registry import get_method
from ketools.models.background import Background
from ketools.models.covariance import CovarianceStore
from ketools.models.editable import EditableModel

FRANCE = EditRequest(subject="France", prompt="The capital of France is", target_new="Lima", target_old="Paris")
NARROW = {"templates": 1, "conversations": False, "prefixes": 0, "relations": 1, "neighbours": 0, "steps": 4}
BACKGROUND = Background("test", lambda: ("The capital of Peru is Lima.",) * 4)


@pytest.fixture
def em(tiny_editable: Callable[[str], EditableModel]) -> EditableModel:
    return tiny_editable("llama")


def edited(em: EditableModel, name: str, config: MethodConfig) -> LowRankDelta:
    context = EditContext(em, BASE, config, covariances=CovarianceStore(BACKGROUND))
    (artefact,) = get_method(name).compute([FRANCE], context)
    return cast(LowRankDelta, artefact)


def test_bird_without_weight_is_r_rome(em: EditableModel) -> None:
    bird = edited(em, "bird", BIRDConfig(layer=1, relation_weight=0.0, **NARROW))
    rome = edited(em, "r-rome", RROMEConfig(layer=1, **NARROW))
    for name, factors in rome.factors.items():
        for one, other in zip(bird.factors[name], factors, strict=True):
            assert torch.equal(one, other)


def test_the_term_measures_both_directions(em: EditableModel) -> None:
    config = BIRDConfig(relation_weight=2.0, old=0.25)
    term = bidirectional(FRANCE, EditContext(em, BASE, config), 1)
    words = ("France", "the capital of", relation_words(FRANCE)[1] or "", "Lima", "Paris")
    with torch.no_grad():
        s, r, inverse, new, old = (mean_state(em, word) for word in words)
        found = float(term(torch.zeros(1, 32)))
    near, far = ((s + r - o).norm() + (o + inverse - s).norm() for o in (new, old))
    assert found == pytest.approx(float(2.0 * (near - 0.25 * far) / s.norm()), rel=1e-4)


def test_a_heavier_term_brings_the_two_closer(em: EditableModel) -> None:
    values = {}
    for weight in (0.0, 5.0):
        config = BIRDConfig(layer=1, relation_weight=weight, **{**NARROW, "steps": 12})
        ((_, b),) = edited(em, "bird", config).factors.values()
        term = bidirectional(FRANCE, EditContext(em, BASE, config.model_copy(update={"relation_weight": 1.0})), 1)
        with torch.no_grad():
            values[weight] = float(term(b.T))
    assert values[5.0] < values[0.0]


def test_an_unknown_relation_is_read_from_its_prompt() -> None:
    unknown = EditRequest(subject="France", prompt="The tallest tree of France is", target_new="Lima")
    assert relation_words(unknown) == ("The tallest tree of is", None)
    assert relation_words(FRANCE)[0] == "the capital of"
