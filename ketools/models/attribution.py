"""Which FFN neurons a prediction rests on: integrated gradients (Dai et al. 2022, section 3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ketools.models import hooks, text
from ketools.models.editable import EditableModel
from ketools.models.structure import get_module, weight_of


def neuron_attributions(em: EditableModel, rows: Sequence[list[int]], answer: int, module: str, steps: int) -> Tensor:
    """How much each input of a down projection adds to an answer's probability, `[rows, in]`.

    The answer is the token after each row of tokens. Attr_j = w_j * mean over k of dP(answer | k/m w) / dw_j
    (eq. 3), with all neurons of the module at the row's last token scaled together from 0 to their value w in
    m = `steps` steps; the m copies of a row are one batch.
    """
    return torch.stack([_of_row(em, row, answer, module, steps) for row in rows])


def _of_row(em: EditableModel, row: list[int], answer: int, module: str, steps: int) -> Tensor:
    ids = torch.tensor([row] * steps, device=em.device)
    with torch.no_grad(), hooks.capture(em, [module], inputs=True) as seen:
        em.model(input_ids=ids[:1], use_cache=False)
    value = seen[module][0, -1]
    shares = torch.arange(1, steps + 1, device=em.device)[:, None] / steps
    scaled = (shares * value).requires_grad_(True)
    with hooks.add_output(em, {module: _replacing(em, module, scaled)}):
        logits = em.model(input_ids=ids, use_cache=False).logits[:, -1]
    (gradient,) = torch.autograd.grad(logits.softmax(-1)[:, answer].sum(), scaled)
    return (value * gradient.mean(0)).detach()


def _replacing(em: EditableModel, module: str, scaled: Tensor) -> Callable[[Tensor], Tensor]:
    """What makes the module's output that of other inputs `[m, in]` at the last token."""
    weight = weight_of(get_module(em.model, module)).float()

    def change(keys: Tensor) -> Tensor:
        other = (scaled - keys[:, -1]) @ weight.T
        return torch.nn.functional.pad(other[:, None], (0, 0, keys.shape[1] - 1, 0))

    return change


def first_answer(em: EditableModel, row: list[int]) -> int:
    """The token that the model puts after a row of tokens."""
    ids, mask = text.pad(em, [row])
    with torch.no_grad():
        return int(em.model(input_ids=ids, attention_mask=mask, use_cache=False).logits[0, -1].argmax())
