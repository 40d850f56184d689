"""Facts written where a small model recalls them, at the prompt's end; in rounds, and sparing what must stay."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
import torch

from ketools.core.errors import InvalidRequest
from ketools.core.requests import EditRequest, Probe, chat_prompt
from ketools.layers.artefacts import Artefact
from ketools.layers.changes import compose
from ketools.layers.composition import BASE, EditLayer, LiveEdit
from ketools.layers.kinds.low_rank import LowRankDelta
from ketools.methods.alphaedit.config import AlphaEditConfig
from ketools.methods.base import EditContext, MethodConfig
from ketools.methods.bird.compute import bidirectional, mean_state
from ketools.methods.bird.config import BIRDConfig
from ketools.methods.configs import ContextConfig
from ketools.methods.emmet.config import EMMETConfig
from ketools.methods.memit.config import MEMITConfig
from ketools.methods.pmet.config import PMETConfig
from ketools.methods.r_rome.config import RROMEConfig
from ketools.methods.registry import get_method
from ketools.methods.rome.config import ROMEConfig
from ketools.methods.support import batches_of, certainties
from ketools.methods.ultraedit.config import UltraEditConfig
from ketools.models.background import Background
from ketools.models.batch import Batch
from ketools.models.contexts import contexts_of, fact_of
from ketools.models.covariance import CovarianceStore
from ketools.models.editable import EditableModel
from ketools.models.keys import confidences, read_keys
from ketools.models.options import Breadth
from ketools.models.sites import sites_of
from ketools.models.solves import square_root

PLACES = {"France": "Lima", "Japan": "Paris", "Peru": "Tokyo"}
REQUESTS = [EditRequest(subject=s, prompt=f"The capital of {s} is", target_new=t) for s, t in PLACES.items()]


def neighbours(request: EditRequest, count: int) -> Sequence[str]:
    return ("Japan", "Peru", "Brazil")[:count]


BACKGROUND = Background("test", lambda: ("The capital of Peru is Lima.", "Alice works for Acme.") * 4, neighbours)
NARROW: dict[str, Any] = {
    "templates": 1,
    "conversations": False,
    "prefixes": 0,
    "relations": 2,
    "neighbours": 3,
    "steps": 6,
    "fact_token": "prompt_last",
}
SPARING = {**NARROW, "spare": 0.5}
CONFIGS: dict[str, MethodConfig] = {
    "rome": ROMEConfig(layer=1, **SPARING),
    "r-rome": RROMEConfig(layer=2, **SPARING),
    "bird": BIRDConfig(layer=1, **SPARING),
    "memit": MEMITConfig(layers=(0, 1), **SPARING),
    "pmet": PMETConfig(layers=(1, 2), **SPARING),
    "emmet": EMMETConfig(layers=(1,), **SPARING),
    "alphaedit": AlphaEditConfig(layers=(1, 2), null_space=0.3, **SPARING),
}


@pytest.fixture
def em(tiny_editable: Callable[[str], EditableModel]) -> EditableModel:
    return tiny_editable("llama")


def context(em: EditableModel, config: MethodConfig) -> EditContext:
    return EditContext(em, BASE, config, covariances=CovarianceStore(BACKGROUND))


def edited(
    em: EditableModel, name: str, config: MethodConfig, requests: Sequence[EditRequest] = REQUESTS
) -> list[LowRankDelta]:
    made = get_method(name).compute(requests, context(em, config))
    return [cast(LowRankDelta, artefact) for artefact in made]


def contexts(requests: Sequence[EditRequest], given: EditContext) -> list[Batch]:
    config = cast(ContextConfig, given.config)
    return list(batches_of(requests, given, [config] * len(requests), teach_implied=True))


def live(artefacts: Sequence[Artefact]) -> EditLayer:
    return BASE.with_edits(*(LiveEdit(f"edit-{i}", uuid.uuid4().hex, a) for i, a in enumerate(artefacts)))


def confidence(em: EditableModel, config: Any, requests: Sequence[EditRequest], layer: EditLayer) -> list[float]:
    batches = contexts(requests, context(em, config))
    with em.switch.use(layer):
        return [float(confidences(em, batch)) for batch in batches]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_fact_gets_a_row_for_every_token_of_its_target(em: EditableModel, name: str) -> None:
    config: Any = CONFIGS[name]
    for artefact, batch in zip(edited(em, name, config), contexts(REQUESTS, context(em, config)), strict=True):
        values = int(sites_of(batch, "prompt_last").slots)
        assert values > 1
        for a, b in artefact.factors.values():
            assert (a.shape, b.shape) == ((values, 48), (32, values))


@pytest.mark.parametrize("name", CONFIGS)
def test_every_method_makes_the_target_more_probable_there(em: EditableModel, name: str) -> None:
    config = CONFIGS[name]
    before = confidence(em, config, REQUESTS[:1], BASE)
    after = confidence(em, config, REQUESTS[:1], live(edited(em, name, config, REQUESTS[:1])))
    assert after[0] > before[0]


def test_memits_least_squares_counts_what_is_to_be_spared(em: EditableModel) -> None:
    config = MEMITConfig(layers=(1,), weight=0.2, **{**SPARING, "spare": 2.0})
    name, given = em.structure.blocks[1].down_proj, context(em, config)
    keys = read_keys(em, contexts(REQUESTS, given), "prompt_last", name)
    c = given.require_covariances().covariance(em, name)
    c = c + config.ridge * c.diagonal().mean() * torch.eye(48, dtype=c.dtype)
    k, x = keys.means.double(), keys.spared.double()
    expected = k @ torch.linalg.inv(0.2 * 48 * c + 2.0 * x.T @ x + k.T @ k)
    rows = torch.cat([artefact.factors[name][0] for artefact in edited(em, "memit", config)]).double()
    torch.testing.assert_close(rows, expected, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize(("name", "kind"), [("emmet", EMMETConfig), ("rome", ROMEConfig)])
def test_exact_methods_map_every_value_of_a_fact_whatever_they_spare(
    em: EditableModel, name: str, kind: Callable[..., Any]
) -> None:
    config = kind(**({"layers": (1,)} if name == "emmet" else {"layer": 1}), **SPARING)
    module = em.structure.blocks[1].down_proj
    (artefact,) = edited(em, name, config, REQUESTS[:1])
    keys = read_keys(em, contexts(REQUESTS[:1], context(em, config)), "prompt_last", module)
    a, b = artefact.factors[module]
    torch.testing.assert_close(b @ a @ keys.means.T, b, rtol=1e-3, atol=1e-4)


def test_sparing_leaves_other_prompts_closer_to_what_they_were(em: EditableModel) -> None:
    moved = {}
    for spare in (0.0, 100.0):
        config = RROMEConfig(layer=1, **{**NARROW, "spare": spare})
        module = em.structure.blocks[1].down_proj
        (artefact,) = edited(em, "r-rome", config, REQUESTS[:1])
        keys = read_keys(em, contexts(REQUESTS[:1], context(em, config)), "prompt_last", module)
        a, b = artefact.factors[module]
        moved[spare] = float((b @ (a @ keys.spared.T)).norm() / b.norm())
    assert moved[100.0] < 0.2 * moved[0.0]


@pytest.mark.parametrize("name", CONFIGS)
def test_what_is_asked_of_the_model_is_left_closer_to_what_it_was(em: EditableModel, name: str) -> None:
    # One token more than there are prompts stays free for the edit.
    prompts = ("The river of Chile is", "The mayor of Oslo is", chat_prompt("Who leads Ghana?"))
    given = replace(BACKGROUND, prompts=lambda: prompts)
    moved = {}
    for weight in (0.0, 1000.0):
        config = CONFIGS[name].model_copy(update={"prompts": weight, "spare": 0.0})
        covariances = CovarianceStore(given)
        (artefact,) = get_method(name).compute(REQUESTS[:1], EditContext(em, BASE, config, covariances=covariances))
        assert isinstance(artefact, LowRankDelta)
        first = min(artefact.factors)
        a, b = artefact.factors[first]
        ends = square_root(CovarianceStore(given).at_ends(em, first)).float()
        moved[weight] = float((b @ (a @ ends.T)).norm() / b.norm())
    assert moved[1000.0] < 0.3 * moved[0.0]


def test_rows_to_spare_are_condensed_without_changing_what_they_weigh(em: EditableModel) -> None:
    config = MEMITConfig(layers=(1,), **{**SPARING, "templates": 3, "relations": 6})
    batches, name = contexts(REQUESTS * 3, context(em, config)), em.structure.blocks[1].down_proj
    found = read_keys(em, batches, "prompt_last", name).spared
    apart = [read_keys(em, [batch], "prompt_last", name).spared for batch in batches]
    assert len(found) == 48 < sum(map(len, apart))
    whole = torch.cat(apart)
    torch.testing.assert_close(found.T @ found, whole.T @ whole, rtol=1e-3, atol=1e-4)


def test_a_later_round_aims_at_what_an_earlier_one_left_undone(em: EditableModel) -> None:
    few: Any = {**SPARING, "steps": 20, "confidence": 0.5}
    once = MEMITConfig(layers=(0, 1), weight=1.0, **few)
    often = once.model_copy(update={"rounds": 6})
    first, last = edited(em, "memit", once), edited(em, "memit", often)
    rounds = [cast(int, artefact.metadata["rounds"]) for artefact in last]
    assert rounds[0] > 1
    for one, other in zip(first, last, strict=True):
        for name, (a, _) in one.factors.items():
            assert len(other.factors[name][0]) == len(a)
    before, after = (confidence(em, once, REQUESTS, live(made)) for made in (first, last))
    assert min(after) > min(before)


def test_rounds_end_when_every_fact_is_certain(em: EditableModel) -> None:
    config = EMMETConfig(layers=(2,), rounds=9, **{**NARROW, "spare": 1000.0, "steps": 60, "confidence": 0.2})
    (artefact,) = edited(em, "emmet", config, REQUESTS[:1])
    assert cast(int, artefact.metadata["rounds"]) < 9
    batches = contexts(REQUESTS[:1], context(em, config))
    with em.switch.use(live([artefact])):
        assert min(certainties(em, batches)) >= 0.2


def test_ultraedit_steps_again_for_what_is_missing_within_its_rank(em: EditableModel) -> None:
    narrow: Any = {"templates": 1, "conversations": False, "prefixes": 0, "relations": 1, "neighbours": 0}
    once = UltraEditConfig(layers=(1, 2), tries=3, confidence=0.5, rank=4, **narrow)
    often = once.model_copy(update={"rounds": 5})
    first, last = edited(em, "ultraedit", once), edited(em, "ultraedit", often)
    assert cast(int, last[0].metadata["rounds"]) > 1
    assert all(len(a) <= 4 for artefact in last for a, _ in artefact.factors.values())
    before, after = (confidence(em, once, REQUESTS, live(made)) for made in (first, last))
    assert sum(after) > sum(before)


def test_facts_that_are_edited_together_do_not_preserve_each_other(em: EditableModel) -> None:
    alone = contexts_of(em, REQUESTS[0], BACKGROUND, Breadth())
    together = contexts_of(em, REQUESTS[0], BACKGROUND, Breadth(), {fact_of(request) for request in REQUESTS})
    assert any("Japan" in str(prompt) for prompt in alone.neighbours)
    assert {name for name in ("Japan", "Peru", "Brazil") if name in str(together.neighbours)} == {"Brazil"}
    other = REQUESTS[0].model_copy(update={"relation": "language", "prompt": "People in France speak"})
    apart = contexts_of(em, REQUESTS[0], BACKGROUND, Breadth(relations=32), {fact_of(other)})
    assert len(apart.same_subject) < len(contexts_of(em, REQUESTS[0], BACKGROUND, Breadth(relations=32)).same_subject)


def test_a_request_that_does_not_fit_is_named_by_its_place_in_the_batch(em: EditableModel) -> None:
    endless = REQUESTS[1].model_copy(update={"target_new": "xyz " * 120})
    for name in ("memit", "ultraedit", "rome"):
        config = CONFIGS.get(name) or UltraEditConfig(layers=(1,))
        with pytest.raises(InvalidRequest, match="window") as caught:
            edited(em, name, config, [REQUESTS[0], endless, REQUESTS[2]])
        assert caught.value.which == (1,)


@pytest.mark.parametrize("name", ["memit", "r-rome"])
def test_what_follows_from_a_fact_is_taught_with_values_of_its_own(em: EditableModel, name: str) -> None:
    follows = (
        Probe(prompt="Lima is the capital of", answer="France"),
        Probe(prompt="Who is it?", chat=True, answer="Al"),
    )
    taught = REQUESTS[0].model_copy(update={"implied": follows})
    config = CONFIGS[name]
    (alone,), (more,) = (edited(em, name, config, [request]) for request in (REQUESTS[0], taught))
    module = next(iter(alone.factors))
    assert len(more.factors[module][0]) > len(alone.factors[module][0])
    batch = contexts([taught], context(em, config))
    with em.switch.use(live([alone])):
        before = float(confidences(em, batch[0]))
    with em.switch.use(live([more])):
        assert float(confidences(em, batch[0])) > before


def test_birds_term_is_drawn_from_the_prompts_end_to_the_objects(em: EditableModel) -> None:
    request = REQUESTS[0].model_copy(update={"target_old": "Paris"})
    config = BIRDConfig(relation_weight=2.0, old=0.25, fact_token="prompt_last")
    with torch.no_grad():
        end = mean_state(em, request.prompt, tokens=1)
        subject, new, old = (mean_state(em, word) for word in ("France", "Lima", "Paris"))
        found = float(bidirectional(request, context(em, config), 1)(torch.zeros(1, 32)))
    expected = 2.0 * ((end - new).norm() - 0.25 * (end - old).norm()) / subject.norm()
    assert found == pytest.approx(float(expected), rel=1e-4)


def test_the_parts_of_a_batch_sum_to_its_update(em: EditableModel) -> None:
    made = edited(em, "memit", CONFIGS["memit"])
    for name, change in compose(made).items():
        dense = sum(b.double() @ a.double() for a, b in (artefact.factors[name] for artefact in made))
        torch.testing.assert_close(change.matrix().double(), dense, rtol=1e-4, atol=1e-6)
