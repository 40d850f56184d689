"""Every method on tiny random models, against independent references."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import pytest
import torch
from pydantic import ValidationError

from ketools.core.errors import InvalidRequest
from ketools.core.requests import EditRequest, Kind, Trait
from ketools.layers.composition import BASE, EditLayer, LiveEdit
from ketools.layers.kinds.dense import DenseDelta
from ketools.layers.kinds.low_rank import LowRankDelta
from ketools.layers.kinds.note import Note
from ketools.methods.adalora.config import AdaLoRAConfig
from ketools.methods.alphaedit.config import AlphaEditConfig
from ketools.methods.base import EditContext, Method, MethodConfig
from ketools.methods.bird.config import BIRDConfig
from ketools.methods.emmet.config import EMMETConfig
from ketools.methods.ft_l.config import FTLConfig
from ketools.methods.ft_m.config import FTMConfig
from ketools.methods.lora.config import LoRAConfig
from ketools.methods.low_rank import truncated
from ketools.methods.memit.config import MEMITConfig
from ketools.methods.pmet.config import PMETConfig
from ketools.methods.r_rome.config import RROMEConfig
from ketools.methods.registry import get_method, methods
from ketools.methods.rome.config import ROMEConfig
from ketools.methods.support import batch_of, resolve_layer
from ketools.methods.ultraedit.config import UltraEditConfig
from ketools.models.background import Background
from ketools.models.covariance import CovarianceStore
from ketools.models.editable import EditableModel
from ketools.models.keys import read, read_keys
from ketools.models.structure import get_module, weight_of

FRANCE = EditRequest(subject="France", prompt="The capital of France is", target_new="Lima")
JAPAN = EditRequest(subject="Japan", prompt="The capital of Japan is", target_new="Paris")
BACKGROUND = Background("test", lambda: ("The capital of Peru is Lima.", "Alice works for Acme.") * 4)
NARROW = {"templates": 1, "conversations": False, "prefixes": 0, "relations": 1, "neighbours": 0}
QUICK: dict[str, MethodConfig] = {
    "ice": MethodConfig(),
    "ike": MethodConfig(),
    "ft-m": FTMConfig(layer=1, steps=4, lr=2e-3, **NARROW),
    "rome": ROMEConfig(layer=1, steps=4, **NARROW),
    "r-rome": RROMEConfig(layer=1, steps=4, **NARROW),
    "bird": BIRDConfig(layer=1, steps=4, **NARROW),
    "memit": MEMITConfig(layers=(0, 1), steps=4, **NARROW),
    "pmet": PMETConfig(layers=(0, 1), steps=4, **NARROW),
    "emmet": EMMETConfig(layers=(1,), steps=4, **NARROW),
    "ft-l": FTLConfig(layer=1, steps=4, **NARROW),
    "lora": LoRAConfig(steps=4, rank=2, **NARROW),
    "adalora": AdaLoRAConfig(steps=6, rank=2, initial_rank=4, **NARROW),
    "ultraedit": UltraEditConfig(layers=(1, 2), tries=4, **NARROW),
    "alphaedit": AlphaEditConfig(layers=(0, 1), steps=4, null_space=0.3, **NARROW),
}


@pytest.fixture
def em(tiny_editable: Callable[[str], EditableModel]) -> EditableModel:
    return tiny_editable("llama")


def context(em: EditableModel, config: MethodConfig, layer: EditLayer = BASE) -> EditContext:
    return EditContext(em, layer, config, covariances=CovarianceStore(BACKGROUND))


def tensors(artefact: object) -> list[torch.Tensor]:
    if isinstance(artefact, LowRankDelta):
        return [t for pair in artefact.factors.values() for t in pair]
    return list(artefact.deltas.values()) if isinstance(artefact, DenseDelta) else []


def live(artefact: LowRankDelta | DenseDelta) -> LiveEdit:
    return LiveEdit("edit", uuid.uuid4().hex, artefact)


def test_the_built_in_methods_are_found() -> None:
    assert set(QUICK) <= set(methods())


@pytest.mark.parametrize("name", QUICK)
def test_every_method_does_every_kind_of_edit(em: EditableModel, name: str) -> None:
    requests = {
        Kind.INSERT: FRANCE.model_copy(update={"kind": Kind.INSERT}),
        Kind.MODIFY: FRANCE,
        Kind.ERASE: FRANCE.model_copy(update={"kind": Kind.ERASE, "target_new": "I don't know."}),
        Kind.PERSONALITY: EditRequest(
            kind=Kind.PERSONALITY,
            subject="tea",
            prompt="What do you think of tea?",
            target_new="I love tea.",
            trait=Trait.POSITIVE,
        ),
    }
    method = get_method(name)
    assert method.kinds == set(requests)
    for request in requests.values():
        (artefact,) = method.compute([request], context(em, QUICK[name]))
        assert artefact.method == name
        assert all(torch.isfinite(t).all() for t in tensors(artefact))


@pytest.mark.parametrize("family", ["opt", "gpt2", "gemma2"])
@pytest.mark.parametrize("name", QUICK)
def test_every_method_edits_families_that_run_their_ffn_otherwise(
    tiny_editable: Callable[[str], EditableModel], name: str, family: str
) -> None:
    em = tiny_editable(family)
    (artefact,) = get_method(name).compute([FRANCE], context(em, QUICK[name]))
    assert artefact.method == name
    assert all(torch.isfinite(t).all() for t in tensors(artefact))


@pytest.mark.parametrize("name", QUICK)
def test_base_weights_are_bit_identical_after_every_method(em: EditableModel, name: str) -> None:
    before = {key: value.clone() for key, value in em.model.state_dict().items()}
    get_method(name).compute([FRANCE], context(em, QUICK[name]))
    assert all(torch.equal(value, before[key]) for key, value in em.model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in em.model.parameters())


@pytest.mark.parametrize("name", ["ft-m", "ft-l", "rome", "r-rome", "lora"])
def test_each_request_of_a_batch_equals_one_computed_alone_on_the_same_layer(em: EditableModel, name: str) -> None:
    method = get_method(name)
    first, second = method.compute([FRANCE, JAPAN], context(em, QUICK[name]))
    (alone,) = method.compute([FRANCE], context(em, QUICK[name]))
    layer = BASE.with_edits(live(cast(LowRankDelta, alone)))
    (after,) = method.compute([JAPAN], context(em, QUICK[name], layer))
    for one, other in zip(tensors(first) + tensors(second), tensors(alone) + tensors(after), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["ice", "ike", "memprompt"])
def test_a_note_holds_its_request_and_needs_no_model(name: str) -> None:
    method = get_method(name)
    assert not method.needs_model
    assert method.compute([FRANCE], EditContext(None, BASE, MethodConfig())) == [Note(name, FRANCE)]


def test_rome_maps_the_mean_key_to_the_optimised_value(em: EditableModel) -> None:
    config = cast(ROMEConfig, QUICK["rome"])
    given = context(em, config)
    (artefact,) = get_method("rome").compute([FRANCE], given)
    assert isinstance(artefact, LowRankDelta)
    name = em.structure.blocks[1].down_proj
    (a, b) = artefact.factors[name]
    batch = batch_of(FRANCE, given, config)
    key = read_keys(em, [batch], "subject_last", name).means[0].double()
    # The closed form of the paper, in float64 and with an explicit inverse.
    c = given.require_covariances().covariance(em, name)
    inverse = torch.linalg.inv(c + config.ridge * c.diagonal().mean() * torch.eye(len(c), dtype=c.dtype))
    weight = weight_of(get_module(em.model, name)).double()
    value = weight @ key + b[:, 0].double()
    expected = torch.outer(value - weight @ key, inverse @ key) / (key @ inverse @ key)
    torch.testing.assert_close((b @ a).double(), expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close((weight + (b @ a).double()) @ key, value, rtol=1e-5, atol=1e-5)


def test_rome_offset_is_relative_to_the_weight_under_the_layer(em: EditableModel) -> None:
    config = cast(ROMEConfig, QUICK["rome"])
    method = get_method("rome")
    (first,) = method.compute([FRANCE], context(em, config))
    layer = BASE.with_edits(live(cast(LowRankDelta, first)))
    given = context(em, config, layer)
    name = em.structure.blocks[1].down_proj
    with em.switch.use(layer):
        batch = batch_of(FRANCE, given, config)
        _, edited = read(em, batch, batch.subject, outputs=[name])
    _, base = read(em, batch, batch.subject, outputs=[name])
    assert not torch.allclose(edited[name], base[name])


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("linf", [None, 3e-3])
def test_ft_m_equals_training_the_weight_in_place(
    tiny_editable: Callable[[str], EditableModel], family: str, linf: float | None
) -> None:
    em = tiny_editable(family)
    config = FTMConfig(layer=1, steps=3, lr=2e-3, preservation=0.0, linf=linf, confidence=0.999, **NARROW)
    (artefact,) = get_method("ft-m").compute([FRANCE], context(em, config))
    assert isinstance(artefact, DenseDelta)
    name = em.structure.blocks[1].down_proj
    expected = trained_in_place(em, name, config, linf)
    torch.testing.assert_close(artefact.deltas[name], expected, rtol=1e-3, atol=2e-5)
    if linf is not None:
        assert float(artefact.deltas[name].abs().max()) <= linf * (1 + 1e-6)


def trained_in_place(em: EditableModel, name: str, config: FTMConfig, linf: float | None) -> torch.Tensor:
    """The change of a copy's weight by torch's Adam on the target's tokens, as a user would fine-tune."""
    batch = batch_of(FRANCE, context(em, config), config)
    labels = torch.full_like(batch.ids, -100)
    labels[batch.target.rows, batch.target.columns + 1] = batch.target_ids
    model = copy.deepcopy(em.model)
    weight = cast(torch.nn.Parameter, get_module(model, name).weight).requires_grad_(True)
    start = weight.detach().clone()
    adam = torch.optim.Adam([weight], lr=config.lr)
    for _ in range(config.steps):
        logits = model(input_ids=batch.ids, attention_mask=batch.mask).logits
        losses = [
            torch.nn.functional.cross_entropy(row[:-1], label[1:], ignore_index=-100)
            for row, label in zip(logits[: batch.contexts], labels, strict=False)
        ]
        adam.zero_grad()
        torch.autograd.backward(torch.stack(losses).sum() / batch.contexts)
        adam.step()
        if linf is not None:
            with torch.no_grad():
                weight.copy_(start + (weight - start).clamp(-linf, linf))
    change = weight.detach() - start
    return change if change.shape == weight_of(get_module(em.model, name)).shape else change.T


def test_preservation_keeps_other_answers_closer(em: EditableModel) -> None:
    config = FTMConfig(layer=1, steps=12, lr=4e-3, **{**NARROW, "relations": 3})
    divergence = {}
    for weight in (0.001, 20.0):
        chosen = config.model_copy(update={"preservation": weight})
        (artefact,) = get_method("ft-m").compute([FRANCE], context(em, chosen))
        divergence[weight] = cast(DenseDelta, artefact).metadata["kl"]
    assert cast(float, divergence[20.0]) < cast(float, divergence[0.001])


def test_ft_m_with_a_rank_exports_factors_and_their_residual(em: EditableModel) -> None:
    config = cast(FTMConfig, QUICK["ft-m"])
    (dense,) = get_method("ft-m").compute([FRANCE], context(em, config))
    (factored,) = get_method("ft-m").compute([FRANCE], context(em, config.model_copy(update={"rank": 2})))
    assert isinstance(dense, DenseDelta)
    assert isinstance(factored, LowRankDelta)
    ((name, (a, b)),) = factored.factors.items()
    assert a.shape == (2, 48)
    assert b.shape == (32, 2)
    d = dense.deltas[name]
    residual = float((d - b @ a).square().sum() / d.square().sum())
    assert factored.metadata["residual_energy"] == pytest.approx(residual, rel=1e-3)


def test_truncation_to_full_rank_loses_nothing() -> None:
    delta = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    a, b, residual = truncated(delta, 99)
    torch.testing.assert_close(b @ a, delta)
    assert residual == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    "values", [{"steps": 0}, {"lr": -1.0}, {"layer": -1}, {"confidence": 1.0}, {"no_such_field": 1}]
)
def test_a_configuration_out_of_bounds_is_refused(values: dict[str, float]) -> None:
    for config in (FTMConfig, ROMEConfig):
        with pytest.raises(ValidationError, match=next(iter(values))):
            config(**values)


def test_the_default_layer_scales_with_depth_and_an_absent_one_is_refused() -> None:
    assert [resolve_layer(None, n, 21 / 32) for n in (1, 6, 32)] == [0, 4, 21]
    with pytest.raises(InvalidRequest, match="blocks 0 to 5"):
        resolve_layer(6, 6, 0.5)


@pytest.mark.parametrize("method", [m for m in methods().values() if m.search], ids=lambda m: m.name)
@pytest.mark.parametrize("depth", [2, 6, 32])
def test_every_configuration_of_a_search_exists_in_the_model(method: Method, depth: int) -> None:
    assert method.search is not None
    for config in method.search(depth):
        assert isinstance(config, method.config)
        assert 0 <= (getattr(config, "layer", None) or 0) < depth
        assert all(0 <= layer < depth for layer in getattr(config, "layers", None) or ())


def test_progress_of_a_batch_never_goes_back(em: EditableModel) -> None:
    seen: list[int] = []
    given = replace(context(em, QUICK["ft-m"]), progress=lambda done, total, message: seen.append(done))
    get_method("ft-m").compute([FRANCE, JAPAN], given)
    assert seen == sorted(seen)
    assert 0 <= seen[0] <= 500 <= seen[-1] <= 1000
