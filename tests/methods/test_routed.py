"""MELO and RASE against models whose weights are changed token by token, and what lies out of their reach."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ketools.core.errors import InvalidRequest
from ketools.core.requests import EditRequest, Kind, Trait
from ketools.engines.vllm.adapters import AdapterStore
from ketools.engines.vllm.compiling import compile_deltas
from ketools.layers.codebook import Codebook
from ketools.layers.composition import BASE, EditLayer, LiveEdit
from ketools.layers.kinds.hook import HookState
from ketools.methods.base import EditContext, MethodConfig
from ketools.methods.melo.config import MELOConfig
from ketools.methods.profile import parse_config
from ketools.methods.rase.config import RASEConfig
from ketools.methods.registry import get_method
from ketools.methods.routing import outermost, routed_batch
from ketools.models.background import Background
from ketools.models.covariance import CovarianceStore
from ketools.models.editable import EditableModel
from ketools.models.structure import get_module, weight_of
from ketools.models.text import encode_prompt
from ketools.vllm_plugin.codebooks import read
from ketools.vllm_plugin.names import folder_of

FRANCE = EditRequest(subject="France", prompt="The capital of France is", target_new="Lima", relation="capital")
PERU = EditRequest(subject="Peru", prompt="The capital of Peru is", target_new="Tokyo", relation="capital")
ERASE = FRANCE.model_copy(update={"kind": Kind.ERASE, "target_new": "I don't know."})
TEA = EditRequest(
    kind=Kind.PERSONALITY,
    subject="tea",
    prompt="What do you think of tea?",
    target_new="Tea is wonderful.",
    trait=Trait.POSITIVE,
)
BACKGROUND = Background(
    "test", lambda: ("Bob was born in Berlin.",) * 4, lambda request, count: ("Japan", "Brazil")[:count]
)
NARROW: dict[str, Any] = {"templates": 2, "prefixes": 0, "relations": 2, "neighbours": 2}
QUICK: dict[str, MethodConfig] = {
    "melo": MELOConfig(steps=60, lr=2e-2, **NARROW),
    "rase": RASEConfig(options={"steps": 40, "lr": 2e-2, "preservation": 0.0, **NARROW}, rank=32, **NARROW),
}


@pytest.fixture
def em(tiny_editable: Callable[[str], EditableModel]) -> EditableModel:
    return tiny_editable("llama")


def context(em: EditableModel, config: MethodConfig) -> EditContext:
    return EditContext(em, BASE, config, covariances=CovarianceStore(BACKGROUND))


def made(em: EditableModel, name: str, *requests: EditRequest) -> list[HookState]:
    found = get_method(name).compute(requests, context(em, QUICK[name]))
    return [cast(HookState, artefact) for artefact in found]


def layer_of(*states: HookState) -> EditLayer:
    return BASE.with_edits(*(LiveEdit(f"e{i}", f"hash {i} {id(state)}", state) for i, state in enumerate(states)))


def logits(em: EditableModel, prompt: str, layer: EditLayer = BASE) -> Tensor:
    with torch.no_grad(), em.switch.use(layer):
        found: Tensor = em.model(torch.tensor([encode_prompt(em, prompt)])).logits[0]
    return found


def reference(em: EditableModel, prompt: str, books: Mapping[str, Codebook]) -> Tensor:
    """Logits in float64, each token by the module's own weight or, within a key's reach, the merged one."""
    model = copy.deepcopy(em.model).double()
    for name, book in books.items():
        weight = weight_of(get_module(model, name)).detach()

        def merged(module: Any, args: Any, out: Tensor, weight: Tensor = weight, book: Codebook = book) -> Tensor:
            assert book.blocks is not None
            rows = []
            for x in args[0][0]:
                distances = (book.keys.double() - x).norm(dim=1)
                near = int(distances.argmin())
                first, last = (
                    book.blocks.spans[near].int().tolist() if distances[near] <= book.radius[near, 0] else (0, 0)
                )
                block = book.blocks.b[:, first:last].double() @ book.blocks.a[first:last].double()
                rows.append((weight + block) @ x)
            return torch.stack(rows)[None]

        get_module(model, name).register_forward_hook(merged)
    with torch.no_grad():
        found: Tensor = model(torch.tensor([encode_prompt(em, prompt)])).logits[0]
    return found


@pytest.mark.parametrize("name", list(QUICK))
def test_in_reach_the_model_is_that_with_merged_weights_and_out_of_reach_the_base_bit_for_bit(
    em: EditableModel, name: str
) -> None:
    weights = {key: value.clone() for key, value in em.model.state_dict().items()}
    (state,) = made(em, name, FRANCE)
    assert all(torch.equal(value, weights[key]) for key, value in em.model.state_dict().items())
    layer = layer_of(state)
    for prompt in (FRANCE.prompt, FRANCE.prompt + " Lima", "What is the capital of France?"):
        wanted = reference(em, prompt, state.codebooks)
        torch.testing.assert_close(logits(em, prompt, layer).double(), wanted, rtol=1e-3, atol=1e-3)
    assert not torch.equal(logits(em, FRANCE.prompt, layer), logits(em, FRANCE.prompt))
    for prompt in ("The capital of Japan is", "Who wrote the book?", "Alice works for"):
        assert torch.equal(logits(em, prompt, layer), logits(em, prompt))


@pytest.mark.parametrize("name", list(QUICK))
def test_a_batch_holds_facts_that_are_undone_one_by_one(em: EditableModel, name: str) -> None:
    france, peru = made(em, name, FRANCE, PERU)
    both = layer_of(france, peru)
    for request in (FRANCE, PERU):
        token = em.tokenizer(f" {request.target_new}", add_special_tokens=False)["input_ids"][0]
        gain = (
            logits(em, request.prompt, both)[-1].softmax(-1)[token] / logits(em, request.prompt)[-1].softmax(-1)[token]
        )
        assert float(gain) > 2
    alone = both.without("e1")
    assert torch.equal(logits(em, FRANCE.prompt, alone), logits(em, FRANCE.prompt, layer_of(france)))
    assert torch.equal(logits(em, PERU.prompt, alone), logits(em, PERU.prompt))


@pytest.mark.parametrize("request_", [ERASE, TEA, FRANCE.model_copy(update={"kind": Kind.INSERT, "relation": None})])
@pytest.mark.parametrize("name", list(QUICK))
def test_other_kinds_and_unknown_relations_are_edited_too(em: EditableModel, name: str, request_: EditRequest) -> None:
    config = QUICK[name].model_copy(update={"steps": 5} if name == "melo" else {})
    (state,) = get_method(name).compute([request_], context(em, config))
    assert isinstance(state, HookState) and cast(int, state.metadata["keys"]) >= 1


def test_no_prompt_to_be_left_alone_is_within_a_keys_radius(em: EditableModel) -> None:
    (state,) = made(em, "melo", FRANCE)
    ((name, book),) = state.codebooks.items()
    assert name == em.structure.blocks[2].down_proj
    batch = routed_batch(FRANCE, context(em, QUICK["melo"]), cast(MELOConfig, QUICK["melo"]))
    seen: dict[str, Tensor] = {}
    handle = get_module(em.model, name).register_forward_hook(lambda m, args, out: seen.update(x=args[0]))
    with torch.no_grad():
        em.model(input_ids=batch.ids, attention_mask=batch.mask)
    handle.remove()
    _, inside = book.nearest(seen["x"])
    assert not inside[batch.kept.rows, batch.kept.columns].any()
    assert inside[batch.target.rows, batch.target.columns].all()


def test_without_anything_to_leave_alone_there_is_no_radius(em: EditableModel) -> None:
    config = MELOConfig(relations=0, neighbours=0)
    with pytest.raises(InvalidRequest, match="Nothing to tell"):
        get_method("melo").compute([FRANCE], context(em, config))


def test_rase_refuses_an_editor_that_writes_at_the_subject_and_bad_options(em: EditableModel) -> None:
    with pytest.raises(InvalidRequest, match="editor"):
        parse_config(get_method("rase"), {"editor": "rome"})
    with pytest.raises(InvalidRequest, match="ft-m: lr"):
        get_method("rase").compute([FRANCE], context(em, RASEConfig(options={"lr": -1})))


def test_rase_keeps_patches_of_several_modules(em: EditableModel) -> None:
    options = {"roles": ("down_proj", "attn_out"), "layers": (1, 2), "lr": 2e-2, "steps": 20, **NARROW}
    config = RASEConfig(editor="lora", options=options, **NARROW)
    (state,) = get_method("rase").compute([FRANCE], context(em, config))
    assert isinstance(state, HookState) and len(state.codebooks) == 4
    wanted = reference(em, FRANCE.prompt, state.codebooks)
    torch.testing.assert_close(logits(em, FRANCE.prompt, layer_of(state)).double(), wanted, rtol=1e-3, atol=1e-3)


def test_a_routed_block_travels_whole_inside_an_adapter(em: EditableModel, tmp_path: Path) -> None:
    (state,) = made(em, "melo", FRANCE)
    compiled = compile_deltas(layer_of(state).deltas, em.structure.linear_names, 8, frozenset({"down_proj"}))
    adapter = AdapterStore(tmp_path).put(compiled, em.model_hash)
    found = read(folder_of(tmp_path, adapter.name))
    assert adapter.residual == 0.0 and list(found) == list(state.codebooks)
    for name, book in state.codebooks.items():
        assert all(torch.equal(part, found[name].tensors()[letter]) for letter, part in book.tensors().items())


@given(st.integers(0, 500))
def test_the_balls_that_are_kept_reach_as_far_as_all(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    keys, radius = torch.randn(8, 2, generator=generator), 2 * torch.rand(8, generator=generator)
    kept = outermost(keys, radius)
    points = 3 * torch.randn(40, 2, generator=generator)
    apart = torch.cdist(points, keys)
    covered, still = (apart <= radius).any(1), (apart[:, kept] <= radius[kept] + 1e-5).any(1)
    assert bool((still | ~covered).all()) and len(kept) <= 8
