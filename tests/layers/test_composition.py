from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ketools.core.errors import InvalidRequest
from ketools.core.requests import EditRequest
from ketools.layers.artefacts import Artefact
from ketools.layers.changes import ModuleDelta, compose
from ketools.layers.composition import BASE, EditLayer, LiveEdit
from ketools.layers.kinds.dense import DenseDelta
from ketools.layers.kinds.low_rank import LowRankDelta
from ketools.layers.kinds.note import Note
from ketools.layers.store import content_hash

INNER, OUTER = 5, 4
MODULES = ("mlp.0", "mlp.1", "mlp.2")
NOTE = Note("ice", EditRequest(subject="Mars", prompt="The moon of Mars is", target_new="Deimos"))


def artefact(kind: str, module: str, rank: int, seed: int) -> Artefact:
    g = torch.Generator().manual_seed(seed)
    if kind == "note":
        return NOTE
    if kind == "dense":
        return DenseDelta("test", {module: torch.randn(OUTER, INNER, generator=g)})
    pair = (torch.randn(rank, INNER, generator=g), torch.randn(OUTER, rank, generator=g))
    return LowRankDelta("test", {module: pair})


artefacts = st.builds(
    artefact,
    kind=st.sampled_from(["low-rank", "dense", "note"]),
    module=st.sampled_from(MODULES),
    rank=st.integers(1, 3),
    seed=st.integers(0, 10**6),
)
edits = st.lists(artefacts, max_size=7).map(
    lambda items: tuple(LiveEdit(f"e{i}", f"hash-{i}-{item.method}", item) for i, item in enumerate(items))
)


def changes(layer: EditLayer) -> dict[str, Tensor]:
    """The weight changes in float64, summed edit by edit: the closed form."""
    total: dict[str, Tensor] = {}
    for edit in layer.edits:
        if isinstance(edit.artefact, LowRankDelta):
            parts = {name: b.double() @ a.double() for name, (a, b) in edit.artefact.factors.items()}
        elif isinstance(edit.artefact, DenseDelta):
            parts = {name: delta.double() for name, delta in edit.artefact.deltas.items()}
        else:
            parts = {}
        for name, part in parts.items():
            total[name] = total.get(name, torch.zeros(OUTER, INNER, dtype=torch.float64)) + part
    return total


def assert_same_bits(one: EditLayer, two: EditLayer) -> None:
    assert one.hash == two.hash
    assert one.deltas.keys() == two.deltas.keys()
    for name, delta in one.deltas.items():
        assert torch.equal(delta.matrix(), two.deltas[name].matrix())


@given(live=edits)
def test_composition_is_the_sum_of_the_deltas(live: tuple[LiveEdit, ...]) -> None:
    layer = EditLayer(live)
    reference = changes(layer)
    assert layer.deltas.keys() == reference.keys()
    x = torch.randn(2, 3, INNER)
    for name, delta in layer.deltas.items():
        assert delta.sizes == (INNER, OUTER)
        torch.testing.assert_close(delta.matrix().double(), reference[name], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(delta.output(x).double(), x.double() @ reference[name].T, rtol=1e-4, atol=1e-4)


@given(live=edits, data=st.data())
def test_undo_of_any_edit_is_as_if_it_had_never_been_made(live: tuple[LiveEdit, ...], data: st.DataObject) -> None:
    gone = data.draw(st.integers(0, max(len(live) - 1, 0)))
    without = tuple(edit for i, edit in enumerate(live) if i != gone)
    assert_same_bits(EditLayer(live).without(f"e{gone}"), EditLayer(without))


@given(live=edits, extra=artefacts)
def test_an_edit_added_and_undone_leaves_the_layer_as_it_was(live: tuple[LiveEdit, ...], extra: Artefact) -> None:
    layer = EditLayer(live)
    edited = layer.with_edits(LiveEdit("new", "hash-new", extra))
    assert edited.hash != layer.hash
    assert_same_bits(edited.without("new"), layer)


@given(live=edits, order=st.randoms(use_true_random=False))
def test_taking_all_edits_off_in_any_order_gives_the_base_layer(live: tuple[LiveEdit, ...], order: object) -> None:
    layer = EditLayer(live)
    ids = [edit.edit_id for edit in live]
    order.shuffle(ids)  # type: ignore[attr-defined]
    for edit_id in ids:
        layer = layer.without(edit_id)
    assert layer.hash == BASE.hash
    assert not layer.deltas
    assert not layer.notes


@given(live=edits, order=st.randoms(use_true_random=False))
def test_the_order_of_edits_does_not_change_the_composed_matrices(live: tuple[LiveEdit, ...], order: object) -> None:
    shuffled = list(live)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    one, two = EditLayer(live), EditLayer(tuple(shuffled))
    for name, delta in one.deltas.items():
        torch.testing.assert_close(delta.matrix(), two.deltas[name].matrix(), rtol=1e-4, atol=1e-4)


@given(live=edits, at=st.integers(0, 7))
def test_a_layer_composed_onto_another_has_the_bits_of_one_composed_at_once(
    live: tuple[LiveEdit, ...], at: int
) -> None:
    below = EditLayer(live[:at])
    assert below.deltas.keys() == changes(below).keys()
    assert_same_bits(below.with_edits(*live[at:]), EditLayer(live))


def test_factors_that_outgrow_the_matrix_are_multiplied_out() -> None:
    made = [artefact("low-rank", "mlp.0", 1, seed) for seed in range(5)]
    assert compose(made[:2])["mlp.0"].dense is None
    whole = compose(made)["mlp.0"]
    assert whole.a is None or len(whole.a) * (INNER + OUTER) <= INNER * OUTER
    reference = sum(b.double() @ a.double() for a, b in (one.changes()["mlp.0"].factors() for one in made))
    torch.testing.assert_close(whole.matrix().double(), reference, rtol=1e-4, atol=1e-4)


def test_the_hash_is_of_artefacts_in_order_and_not_of_ids() -> None:
    one, two = LiveEdit("a", "h1", NOTE), LiveEdit("b", "h2", NOTE)
    renamed = LiveEdit("z", "h1", NOTE)
    assert EditLayer((one, two)).hash == EditLayer((renamed, two)).hash
    assert EditLayer((one, two)).hash != EditLayer((two, one)).hash
    assert len(BASE.hash) == 32


def test_layers_are_compared_by_what_is_live_without_touching_tensors() -> None:
    def layer() -> EditLayer:
        return EditLayer((LiveEdit("a", "h", artefact("dense", "mlp.0", 1, 0)),))

    assert layer() == layer()
    assert hash(layer()) == hash(layer())
    assert layer() != BASE


def test_notes_are_kept_in_order_and_change_no_weights() -> None:
    layer = EditLayer((LiveEdit("a", "h1", NOTE), LiveEdit("b", "h2", NOTE)))
    assert layer.notes == (("a", NOTE), ("b", NOTE))
    assert not layer.deltas


def test_factors_and_dense_changes_of_one_module_add_up() -> None:
    low, dense = artefact("low-rank", "mlp.0", 2, 1), artefact("dense", "mlp.0", 1, 2)
    together = compose([low, dense])["mlp.0"]
    apart = compose([low])["mlp.0"].matrix() + compose([dense])["mlp.0"].matrix()
    assert torch.equal(together.matrix(), apart)


def test_matrices_are_placed_on_a_device_once() -> None:
    layer = EditLayer((LiveEdit("a", "h", artefact("dense", "mlp.0", 1, 0)),))
    cpu = torch.device("cpu")
    assert layer.deltas_on(cpu) is layer.deltas_on(cpu)


@given(shapes=st.sampled_from([((2, 5), (4, 3)), ((2, 6), (4, 2)), ((5,), (4,)), ((2, 5), (3, 2))]))
def test_edits_whose_sizes_disagree_are_refused(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    odd = LowRankDelta("test", {"mlp.0": (torch.ones(shapes[0]), torch.ones(shapes[1]))})
    try:
        compose([artefact("dense", "mlp.0", 1, 0), odd])
    except InvalidRequest as error:
        assert "mlp.0" in str(error)
    else:
        raise AssertionError("sizes that disagree were composed")


def test_a_low_rank_change_is_applied_without_forming_its_matrix() -> None:
    delta = ModuleDelta(a=torch.randn(1, 100_000), b=torch.randn(100_000, 1))
    assert delta.output(torch.randn(1, 100_000)).shape == (1, 100_000)


small = st.lists(st.tuples(st.sampled_from(["low-rank", "dense", "note"]), st.integers(0, 3)), max_size=6)


def by_content(items: list[tuple[str, int]]) -> EditLayer:
    """Few different artefacts, so that two layers share some, also more than once."""
    made = [artefact(kind, "mlp.0", 2, seed) for kind, seed in items]
    return EditLayer(tuple(LiveEdit(f"e{i}", content_hash(a), a) for i, a in enumerate(made)))


@given(small.map(by_content), small.map(by_content))
def test_what_is_held_and_what_is_beyond_it_make_the_layer(layer: EditLayer, held: EditLayer) -> None:
    sums = [
        changes(one).get("mlp.0", torch.zeros(OUTER, INNER, dtype=torch.float64))
        for one in (held, layer.beyond(held), layer)
    ]
    assert torch.allclose(sums[0] + sums[1], sums[2], atol=1e-5)
    assert layer.beyond(layer).delta_hash == "" and layer.beyond(BASE) is layer
    assert layer.beyond(held).notes == layer.notes
