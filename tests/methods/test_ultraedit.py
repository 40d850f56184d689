"""UltraEdit's step against its closed form, and what it leaves alone."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import pytest
import torch

from ketools.core.errors import Diverged
from ketools.core.requests import EditRequest, chat_prompt
from ketools.layers.composition import BASE, LiveEdit
from ketools.layers.kinds.low_rank import LowRankDelta
from ketools.methods.base import EditContext
from ketools.methods.low_rank import compressed
from ketools.methods.registry import get_method
from ketools.methods.support import batch_of
from ketools.methods.ultraedit.compute import Search, shared_length
from ketools.methods.ultraedit.config import UltraEditConfig
from ketools.models import batch as batches
from ketools.models.background import Background
from ketools.models.covariance import CovarianceStore
from ketools.models.editable import EditableModel
from ketools.models.solves import square_root
from ketools.models.structure import get_module
from ketools.models.tail import Changes
from ketools.models.targets import Losses, Objective

ultraedit = importlib.import_module("ketools.methods.ultraedit.compute")
BACKGROUND = Background("test", lambda: ("The capital of Peru is Lima.", "Alice works for Acme.") * 4)
PLACES = {"France": "Lima", "Japan": "Paris", "Peru": "Tokyo"}
REQUESTS = [EditRequest(subject=s, prompt=f"The capital of {s} is", target_new=t) for s, t in PLACES.items()]
CONFIG = UltraEditConfig(
    layers=(1,), templates=1, conversations=False, prefixes=0, relations=2, neighbours=0, rank=64, tries=4
)


@pytest.fixture
def em(tiny_editable: Callable[[str], EditableModel]) -> EditableModel:
    return tiny_editable("llama")


def context(em: EditableModel, config: UltraEditConfig = CONFIG) -> EditContext:
    return EditContext(em, BASE, config, covariances=CovarianceStore(BACKGROUND))


def edited(em: EditableModel, config: UltraEditConfig = CONFIG, count: int = 3) -> list[LowRankDelta]:
    made = get_method("ultraedit").compute(REQUESTS[:count], context(em, config))
    return [cast(LowRankDelta, artefact) for artefact in made]


def test_the_step_is_the_regularised_least_squares_of_states_and_gradients(em: EditableModel) -> None:
    (artefact,) = edited(em, count=1)
    name, given = em.structure.blocks[1].down_proj, context(em)
    batch = batch_of(REQUESTS[0], given, CONFIG)
    module, seen = get_module(em.model, name), {}

    def keep(module: torch.nn.Module, args: tuple[torch.Tensor, ...], out: torch.Tensor) -> torch.Tensor:
        seen["h"] = args[0]
        seen["out"] = out.detach().requires_grad_(True)
        return seen["out"]

    handle = module.register_forward_hook(keep)
    log_probs = em.model(input_ids=batch.ids, attention_mask=batch.mask).logits.log_softmax(-1)
    handle.remove()
    at = log_probs[batch.target.rows, batch.target.columns].gather(1, batch.target_ids[:, None])[:, 0]
    per_row = [at[batch.target.rows == row].mean() for row in range(batch.contexts)]
    (gradient,) = torch.autograd.grad(-torch.stack(per_row).mean(), seen["out"])

    scale = given.require_covariances().covariance(em, name).diagonal().sqrt()
    h, g, out = (
        x[batch.target.rows, batch.target.columns].detach().double() for x in (seen["h"], gradient, seen["out"])
    )
    k = seen["h"][batch.kept.rows, batch.kept.columns].detach().double() / scale
    h = h / scale
    v = -(h.square().mean(1, keepdim=True)) * g * out.square().mean().sqrt() / g.square().mean().sqrt()
    gram = h.T @ h + CONFIG.preservation * k.T @ k + CONFIG.damping * 48 * torch.eye(48, dtype=torch.float64)
    expected = cast(float, artefact.metadata["step"]) * (torch.linalg.inv(gram) @ h.T @ v).T / scale
    a, b = artefact.factors[name]
    torch.testing.assert_close((b @ a).double(), expected, rtol=1e-2, atol=1e-4 * float(expected.abs().max()))


def test_a_step_makes_every_target_more_probable(em: EditableModel) -> None:
    artefacts, name = edited(em), em.structure.blocks[1].down_proj
    layer = BASE.with_edits(*(LiveEdit(str(i), str(i), artefact) for i, artefact in enumerate(artefacts)))
    for request in REQUESTS:
        batch = batch_of(request, context(em), CONFIG)

        def likelihood(given: batches.Batch = batch) -> float:
            logits = em.model(input_ids=given.ids, attention_mask=given.mask).logits.log_softmax(-1)
            said = logits[given.target.rows, given.target.columns]
            return float(said.gather(1, given.target_ids[:, None]).mean())

        with torch.no_grad():
            before = likelihood()
            with em.switch.use(layer):
                assert likelihood() > before
    assert name in layer.deltas


def test_what_is_asked_at_prompts_ends_is_left_closer_to_what_it_was(em: EditableModel) -> None:
    # One token more than there are prompts stays free for the edit.
    prompts = ("The river of Chile is", "The mayor of Oslo is", chat_prompt("Who leads Ghana?"))
    given, name = replace(BACKGROUND, prompts=lambda: prompts), em.structure.blocks[1].down_proj
    ends = square_root(CovarianceStore(given).at_ends(em, name)).float()
    moved = {}
    for weight in (0.0, 10_000.0):
        config = CONFIG.model_copy(update={"prompts": weight, "preservation": 0.0})
        made = get_method("ultraedit").compute(
            REQUESTS[:1], EditContext(em, BASE, config, covariances=CovarianceStore(given))
        )
        a, b = cast(LowRankDelta, made[0]).factors[name]
        moved[weight] = float((b @ (a @ ends.T)).norm() / (b @ a).norm())
    assert moved[10_000.0] < 0.3 * moved[0.0]


def test_chunks_give_the_same_step(em: EditableModel, monkeypatch: pytest.MonkeyPatch) -> None:
    fixed = CONFIG.model_copy(update={"tries": 1, "lr": 0.01})
    whole = edited(em, fixed)
    monkeypatch.setattr(batches, "CHUNK_TOKENS", 1)
    name = em.structure.blocks[1].down_proj
    # Gradients are scaled by their size over a chunk, so only directions can agree.
    for one, other in zip(whole, edited(em, fixed), strict=True):
        x, y = (b @ a for a, b in (one.factors[name], other.factors[name]))
        assert float(torch.nn.functional.cosine_similarity(x.flatten(), y.flatten(), dim=0)) > 0.999


def test_a_search_keeps_the_best_length_and_ends_when_longer_ones_are_no_better() -> None:
    search = Search(nll=5.0, least=5.0, done=False)
    for length, total in ((1.0, 6.0), (2.0, 3.0), (3.0, 4.0), (4.0, 3.5)):
        search.see(length, total - 1, total, certain=False)
    assert (search.length, search.nll, search.done) == (2.0, 2.0, False)
    search.see(5.0, 3.0, 4.0, certain=False)
    search.see(6.0, 0.0, 0.0, certain=True)
    assert (search.length, search.done) == (2.0, True)


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ({1.0: 0.4}, 1.0),  # takes more than half of what was missing: nothing else is tried
        ({1.0: 0.6, 0.5: 0.7}, 1.0),
        ({1.0: 9.0, 0.5: 0.8, 0.25: 0.3, 0.125: 0.6}, 0.25),
        ({1.0: 9.0, 0.5: 8.0, 0.25: 7.0, 0.125: 6.0, 0.0625: 5.0}, 0.0),
    ],
)
def test_steps_that_together_leave_more_undone_are_shortened(missing: dict[float, float], expected: float) -> None:
    assert shared_length(missing.__getitem__, 1.0) == expected


def test_requests_whose_steps_help_at_no_length_diverge(em: EditableModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ultraedit, "shared_length", lambda missing, before: 0.0)
    with pytest.raises(Diverged, match="no more probable") as caught:
        edited(em)
    assert caught.value.which == (0, 1, 2)


def test_a_search_ends_at_the_first_length_that_is_certain() -> None:
    search = Search(nll=5.0, least=5.0, done=False)
    search.see(1.0, 0.1, 0.2, certain=True)
    search.see(2.0, 0.0, 0.0, certain=True)
    assert (search.length, search.nll) == (1.0, 0.1)


def test_requests_that_are_done_are_asked_no_more_and_the_others_as_before(
    em: EditableModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = CONFIG.model_copy(update={"confidence": 0.05, "tries": 40})
    asked: list[list[str]] = []

    def told(artefacts: list[LowRankDelta]) -> list[float]:
        return [cast(float, artefact.metadata[name]) for artefact in artefacts for name in ("step", "nll")]

    def names(batch: batches.Batch) -> list[str]:
        firsts = [int((batch.owner == i).nonzero()[0]) for i in range(batch.requests)]
        return [em.tokenizer.decode(batch.ids[row][batch.mask[row].bool()]) for row in firsts]

    class Whole(Objective):
        """All requests of the first batch, whichever are asked."""

        first: Whole | None = None

        def __init__(self, em: EditableModel, batch: batches.Batch, block: int) -> None:
            asked.append(names(batch))
            if Whole.first is None:
                Whole.first = self
                super().__init__(em, batch, block)

        def losses(self, changes: Changes) -> Losses:
            assert Whole.first is not None
            some = [asked[0].index(name) for name in asked[-1]]
            of_all = Objective.losses(Whole.first, changes)
            return Losses(of_all.nll[some], of_all.kl[some], of_all.confidence[some], of_all.kept[some])

    usual = told(edited(em, config))
    monkeypatch.setattr(ultraedit, "Objective", Whole)
    assert told(edited(em, config)) == pytest.approx(usual, rel=1e-4)
    assert [len(some) for some in asked] == [3, 1]


def test_the_rank_of_each_part_is_bounded_and_its_residual_told(em: EditableModel) -> None:
    for artefact in edited(em, CONFIG.model_copy(update={"rank": 2})):
        ((a, b),) = artefact.factors.values()
        assert (a.shape, b.shape) == ((2, 48), (32, 2))
        assert 0 <= cast(float, artefact.metadata["residual_energy"]) < 1


def test_compression_keeps_what_the_rank_can_hold() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(3, 9, generator=generator), torch.randn(7, 3, generator=generator)
    x, y, residual = compressed(torch.cat([a, a]), torch.cat([b, b], dim=1), 3)
    torch.testing.assert_close(y @ x, 2 * b @ a, rtol=1e-4, atol=1e-5)
    assert residual == pytest.approx(0.0, abs=1e-9)


def test_compression_in_a_metric_loses_least_over_its_keys() -> None:
    generator = torch.Generator().manual_seed(1)
    a, b = torch.randn(6, 9, generator=generator), torch.randn(7, 6, generator=generator)
    keys = torch.randn(40, 9, generator=generator).double() * torch.logspace(-3, 1, 9).double()
    x, y, residual = compressed(a, b, 2, torch.linalg.cholesky(keys.T @ keys))
    plain_x, plain_y, _ = compressed(a, b, 2)

    wanted = keys @ (b @ a).T.double()
    lost, lost_plainly = ((wanted - keys @ (q @ p).T.double()).square().sum() for p, q in ((x, y), (plain_x, plain_y)))
    energies = torch.linalg.svdvals(wanted).square()
    assert float(lost) == pytest.approx(float(energies[2:].sum()), rel=1e-3)
    assert residual == pytest.approx(float(energies[2:].sum() / energies.sum()), rel=1e-3)
    assert float(lost_plainly) > 2 * float(lost)
