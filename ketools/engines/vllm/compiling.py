"""From a layer's composed deltas to factors within a server's rank limit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ketools.core.errors import InvalidRequest
from ketools.layers.artefacts import Acts, Served
from ketools.layers.changes import ModuleDelta
from ketools.layers.composition import EditLayer
from ketools.layers.registry import unserved
from ketools.models.solves import leading


@dataclass(frozen=True)
class Compiled:
    """Factors per module, `A [r, in]`, `B [out, r]`, fp32, r <= the limit.

    `residual`: the share of the change's squared Frobenius norm that the limit cut off; 0 when exact.
    `codebooks`: per module, the tensors of its codebook, which no rank limits; see `Codebook.tensors`.
    """

    factors: Mapping[str, tuple[Tensor, Tensor]]
    residual: float
    codebooks: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def rank(self) -> int:
        """The largest rank of a module."""
        return max(a.shape[0] for a, _ in self.factors.values())


def compile_deltas(
    deltas: Mapping[str, ModuleDelta], sizes: Mapping[str, tuple[int, int]], max_rank: int, targets: frozenset[str]
) -> Compiled:
    """Bring every module's change within `max_rank`: as it is where it fits, else its best approximation (SVD).

    `sizes`: (in, out) of every linear module of the model; `targets`: the last names of the modules that the
    server wraps. Raises `InvalidRequest` for a module that is unknown, of another size, not served, or whose
    change is not finite.
    """
    factors: dict[str, tuple[Tensor, Tensor]] = {}
    lost = total = 0.0
    for name, delta in deltas.items():
        _check(name, delta, sizes, targets)
        a, b, module_lost, module_total = _within(delta, max_rank)
        factors[name] = (a.float().contiguous(), b.float().contiguous())
        lost, total = lost + module_lost, total + module_total
    books = [(name, effect) for name, delta in deltas.items() for effect in delta.effects]
    tensors = {f"{part}:{name}": t.contiguous() for name, book in books for part, t in book.tensors().items()}
    return Compiled(factors, lost / total if total else 0.0, tensors)


def require_served(layer: EditLayer) -> None:
    """Raise `InvalidRequest` when the layer holds an artefact of a kind that vLLM does not serve."""
    for edit in layer.edits:
        acts = edit.artefact.acts is Acts.ALWAYS or edit.edit_id in layer.active
        if acts and edit.artefact.vllm is Served.NOT:
            raise InvalidRequest(unserved(edit.artefact.form))


def _check(name: str, delta: ModuleDelta, sizes: Mapping[str, tuple[int, int]], targets: frozenset[str]) -> None:
    if name not in sizes:
        raise InvalidRequest(f"The model has no linear module {name!r}; the edit was made for another model. Undo it.")
    if delta.sizes != sizes[name]:
        raise InvalidRequest(
            f"The change of {name!r} is for a module of (in, out) {delta.sizes}, the model's has {sizes[name]}. "
            "Undo the edit: it was made for another model."
        )
    if name.rpartition(".")[2] not in targets:
        raise InvalidRequest(
            f"The server wraps no {name.rpartition('.')[2]}; restart vLLM with it in --lora-target-modules."
        )
    if not delta.finite:
        raise InvalidRequest(f"The change of {name!r} holds NaN or infinity. Undo the edit that made it.")


def _within(delta: ModuleDelta, limit: int) -> tuple[Tensor, Tensor, float, float]:
    """Factors of rank <= limit, and the squared Frobenius norms of what was lost and of the whole."""
    if not delta.changes_weights:  # an adapter's codebooks need the module in it
        width, out = delta.sizes
        return torch.zeros(1, width), torch.zeros(out, 1), 0.0, 0.0
    if delta.dense is None and delta.a is not None and delta.b is not None:
        if delta.a.shape[0] <= limit:
            return delta.a, delta.b, 0.0, 0.0
        return _of_factors(delta.a.double(), delta.b.double(), limit)
    whole = delta.matrix().double()
    out, width = whole.shape
    if width <= limit and width <= out:
        return torch.eye(width, dtype=whole.dtype), whole, 0.0, 0.0
    if out <= limit:
        return whole, torch.eye(out, dtype=whole.dtype), 0.0, 0.0
    return _of_matrix(whole, limit)


def _of_factors(a: Tensor, b: Tensor, limit: int) -> tuple[Tensor, Tensor, float, float]:
    """The SVD of `b @ a` through its factors, without forming the product."""
    left, left_r = torch.linalg.qr(b)
    right, right_r = torch.linalg.qr(a.T)
    u, s, vh = torch.linalg.svd(left_r @ right_r.T)
    return _cut(left @ u, s, vh @ right.T, limit, float((s**2).sum()))


def _of_matrix(whole: Tensor, limit: int) -> tuple[Tensor, Tensor, float, float]:
    return _cut(*leading(whole, limit), limit, float((whole**2).sum()))


def _cut(u: Tensor, s: Tensor, vh: Tensor, limit: int, total: float) -> tuple[Tensor, Tensor, float, float]:
    keep = min(limit, max(int((s > s[0] * 1e-7).sum()), 1))
    root = s[:keep].sqrt()
    lost = max(total - float((s[:keep] ** 2).sum()), 0.0)
    # The signs of singular vectors are arbitrary: fix them, so that content hashes agree.
    sign = torch.where(u[:, :keep].sum(0) < 0, -1.0, 1.0).to(u)
    return (root * sign)[:, None] * vh[:keep], u[:, :keep] * (root * sign), lost, total
