"""MEMIT, EMMET, AlphaEdit and PMET: many facts in one update, against their closed forms in float64."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import cast

import pytest
import torch
from torch import Tensor

from ketools.core.errors import Cancelled, InvalidRequest
from ketools.core.requests import EditRequest, Kind
from ketools.layers.artefacts import Artefact
from ketools.layers.changes import compose
from ketools.layers.composition import BASE, EditLayer, LiveEdit
from ketools.layers.kinds.low_rank import LowRankDelta
from ketools.methods.alphaedit.compute import keys_of_earlier
from ketools.methods.alphaedit.config import AlphaEditConfig
from ketools.methods.base import EditContext, MethodConfig
from ketools.methods.configs import JointConfig
from ketools.methods.emmet.config import EMMETConfig
from ketools.methods.memit.config import MEMITConfig
from ketools.methods.pmet.config import PMETConfig
from ketools.methods.registry import get_method
from ketools.methods.support import batch_of
from ketools.models import batch
from ketools.models.background import Background
from ketools.models.covariance import CovarianceStore
from ketools.models.editable import EditableModel
from ketools.models.keys import read_keys

PLACES = {"France": "Lima", "Japan": "Paris", "Peru": "Tokyo", "Brazil": "Berlin"}
REQUESTS = [EditRequest(subject=s, prompt=f"The capital of {s} is", target_new=t) for s, t in PLACES.items()]
BACKGROUND = Background("test", lambda: ("The capital of Peru is Lima.", "Alice works for Acme.") * 4)
NARROW = {"templates": 1, "conversations": False, "prefixes": 0, "relations": 1, "neighbours": 0, "steps": 3}
CONFIGS: dict[str, JointConfig] = {
    "memit": MEMITConfig(layers=(0, 1), **NARROW),
    "pmet": PMETConfig(layers=(0, 1), **NARROW),
    "emmet": EMMETConfig(layers=(1,), **NARROW),
    "alphaedit": AlphaEditConfig(layers=(0, 1), null_space=0.1, **NARROW),
}


@pytest.fixture
def em(tiny_editable: Callable[[str], EditableModel]) -> EditableModel:
    return tiny_editable("llama")


def context(em: EditableModel, config: MethodConfig, layer: EditLayer = BASE) -> EditContext:
    return EditContext(em, layer, config, covariances=CovarianceStore(BACKGROUND))


def edited(em: EditableModel, name: str, requests: Sequence[EditRequest] = REQUESTS) -> list[LowRankDelta]:
    made = get_method(name).compute(requests, context(em, CONFIGS[name]))
    return [cast(LowRankDelta, artefact) for artefact in made]


def live(artefacts: Sequence[Artefact]) -> EditLayer:
    return BASE.with_edits(*(LiveEdit(f"edit-{i}", uuid.uuid4().hex, a) for i, a in enumerate(artefacts)))


def keys_at(em: EditableModel, config: JointConfig, block: int, layer: EditLayer = BASE) -> Tensor:
    """k* of every value `[n, in]`, each request's from a forward pass of its own."""
    name, out = em.structure.blocks[block].down_proj, []
    with em.switch.use(layer):
        for request in REQUESTS:
            alone = batch_of(request, context(em, config), config)
            out.append(read_keys(em, [alone], config.fact_token, name).means)
    return torch.cat(out).double()


@pytest.mark.parametrize("name", CONFIGS)
def test_every_request_gets_its_own_rank_one_part_of_each_layer(em: EditableModel, name: str) -> None:
    artefacts = edited(em, name)
    modules = {em.structure.blocks[block].down_proj for block in CONFIGS[name].layers or ()}
    assert len(artefacts) == len(REQUESTS)
    for artefact in artefacts:
        assert set(artefact.factors) == modules
        for a, b in artefact.factors.values():
            assert (a.shape, b.shape) == ((1, 48), (32, 1))
            assert a.untyped_storage().nbytes() + b.untyped_storage().nbytes() == (48 + 32) * 4


@pytest.mark.parametrize("name", ["memit", "pmet"])
def test_each_layer_is_memits_least_squares_for_the_keys_it_sees(em: EditableModel, name: str) -> None:
    config, artefacts = cast(MEMITConfig, CONFIGS[name]), edited(em, name)
    first, second = (em.structure.blocks[block].down_proj for block in (0, 1))
    before = live([LowRankDelta(name, {first: a.factors[first]}) for a in artefacts])
    covariances = context(em, config).require_covariances()
    for module, keys in ((first, keys_at(em, config, 0)), (second, keys_at(em, config, 1, before))):
        c = covariances.covariance(em, module)
        c = c + config.ridge * c.diagonal().mean() * torch.eye(48, dtype=c.dtype)
        expected = keys @ torch.linalg.inv(config.weight * 48 * c + keys.T @ keys)
        rows = torch.cat([artefact.factors[module][0] for artefact in artefacts]).double()
        torch.testing.assert_close(rows, expected, rtol=2e-3, atol=1e-4)


def test_a_layers_factors_sum_to_the_dense_update(em: EditableModel) -> None:
    artefacts = edited(em, "memit")
    for name, change in compose(artefacts).items():
        dense = sum(b.double() @ a.double() for a, b in (artefact.factors[name] for artefact in artefacts))
        torch.testing.assert_close(change.matrix().double(), dense, rtol=1e-4, atol=1e-6)


def test_emmet_maps_every_key_by_its_own_residual(em: EditableModel) -> None:
    artefacts, name = edited(em, "emmet"), em.structure.blocks[1].down_proj
    keys, delta = keys_at(em, CONFIGS["emmet"], 1), compose(artefacts)[name].matrix().double()
    residuals = torch.cat([artefact.factors[name][1] for artefact in artefacts], dim=1).double()
    torch.testing.assert_close(delta @ keys.T, residuals, rtol=1e-3, atol=1e-4)


def test_memit_of_one_fact_in_one_layer_tends_to_emmets_exact_map(em: EditableModel) -> None:
    light = MEMITConfig(layers=(1,), weight=1e-9, **NARROW)
    (near,) = get_method("memit").compute(REQUESTS[:1], context(em, light))
    (exact,) = edited(em, "emmet", REQUESTS[:1])
    name = em.structure.blocks[1].down_proj
    for one, other in zip(cast(LowRankDelta, near).factors[name], exact.factors[name], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_alphaedit_leaves_preserved_keys_outputs_unchanged(em: EditableModel) -> None:
    text, block = "The capital of Peru is Lima.", em.structure.blocks[1]
    config = AlphaEditConfig(layers=(1,), null_space=1e-9, **NARROW)
    given = EditContext(em, BASE, config, covariances=CovarianceStore(Background("one", lambda: (text,))))
    layer = live(get_method("alphaedit").compute(REQUESTS[:2], given))
    ids = torch.tensor([em.tokenizer(text)["input_ids"]])
    with torch.no_grad():
        before = em.model(input_ids=ids).logits
        with em.switch.use(layer):
            after = em.model(input_ids=ids).logits
    assert float(layer.deltas[block.down_proj].matrix().norm()) > 1e-2
    torch.testing.assert_close(after, before, rtol=0, atol=1e-5)


def test_alphaedit_spares_the_keys_of_earlier_edits_until_they_are_undone(em: EditableModel) -> None:
    config = AlphaEditConfig(layers=(1,), null_space=0.3, damping=1e-4, **NARROW)
    name = em.structure.blocks[1].down_proj
    first = live(get_method("alphaedit").compute(REQUESTS[:1], context(em, config)))
    key = keys_of_earlier(first, name, torch.zeros(0, 48))[0]
    moved = {}
    for label, layer in (("live", first), ("undone", first.without("edit-0"))):
        (second,) = get_method("alphaedit").compute(REQUESTS[1:2], context(em, config, layer))
        a, b = cast(LowRankDelta, second).factors[name]
        moved[label] = float((b @ (a @ key)).norm())
    assert moved["live"] < 0.05 * moved["undone"]


@pytest.mark.parametrize("name", CONFIGS)
def test_small_chunks_give_the_same_update(em: EditableModel, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = edited(em, name)
    monkeypatch.setattr(batch, "CHUNK_TOKENS", 1)
    for one, other in zip(whole, edited(em, name), strict=True):
        for module in one.factors:
            for x, y in zip(one.factors[module], other.factors[module], strict=True):
                torch.testing.assert_close(x, y, rtol=1e-2, atol=1e-4)


def test_an_erasure_in_a_batch_keeps_its_own_schedule_and_place(em: EditableModel) -> None:
    erasure = REQUESTS[1].model_copy(update={"kind": Kind.ERASE, "target_new": "I don't know."})
    artefacts = edited(em, "memit", [REQUESTS[0], erasure, REQUESTS[2]])
    alone = edited(em, "memit", [erasure])
    assert artefacts[1].metadata["steps"] == alone[0].metadata["steps"]
    assert cast(int, artefacts[1].metadata["steps"]) > NARROW["steps"]


def test_emmet_refuses_the_same_fact_twice(em: EditableModel) -> None:
    with pytest.raises(InvalidRequest, match="not independent"):
        edited(em, "emmet", [REQUESTS[0], REQUESTS[0]])


def test_a_batch_is_cancelled_between_steps(em: EditableModel) -> None:
    def cancel(done: int, total: int, message: str) -> None:
        raise Cancelled("stopped by the caller")

    given = EditContext(em, BASE, CONFIGS["memit"], cancel, CovarianceStore(BACKGROUND))
    with pytest.raises(Cancelled):
        get_method("memit").compute(REQUESTS, given)


def test_a_layer_that_the_model_lacks_is_named(em: EditableModel) -> None:
    with pytest.raises(InvalidRequest, match="layer 9 does not exist"):
        get_method("memit").compute(REQUESTS, context(em, MEMITConfig(layers=(1, 9))))
