"""BIRD's bidirectional term: h_s + h_r near h_o*, and h_o* + h_r' near h_s, and neither for the old object.

h are means of the last hidden states of a name or a relation read by itself; only h_s, whose last token carries
the offset, changes. A relation is read from its known name ("the capital of"), else from the prompt
without its subject; without a known inverse, the way back is left out. Where the fact is written at the prompt's end,
the state there stands for h_s + h_r, and there is no way back to draw.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from ketools.core.requests import EditRequest, Prompt
from ketools.knowledge.relations import RELATIONS, relation_of
from ketools.methods.base import EditContext
from ketools.methods.bird.config import BIRDConfig
from ketools.methods.rome.compute import rank_one
from ketools.models import hooks, text
from ketools.models.contexts import form
from ketools.models.editable import EditableModel


def bidirectional(request: EditRequest, context: EditContext, block: int) -> Callable[[Tensor], Tensor]:
    """The term's value `[1]` for an offset `[1, out]` of the subject's value at the block."""
    em, config = context.require_model(), cast(BIRDConfig, context.config)
    with torch.no_grad():
        new = mean_state(em, request.target_new)
        old = mean_state(em, request.target_old) if request.target_old else None
        size = mean_state(em, request.subject).norm()
    at_subject = config.fact_token == "subject_last"
    distance = _both_ways(em, request) if at_subject else _to

    def term(offset: Tensor) -> Tensor:
        words, tokens = (request.subject, None) if at_subject else (form(request.prompt), 1)
        state = mean_state(em, words, block, offset[0], tokens=tokens)
        apart = config.old * distance(state, old) if old is not None else 0.0
        value: Tensor = config.relation_weight / size * (distance(state, new) - apart)
        return value[None]

    return term


def _to(state: Tensor, target: Tensor) -> Tensor:
    way: Tensor = (state - target).norm()
    return way


def _both_ways(em: EditableModel, request: EditRequest) -> Callable[[Tensor, Tensor], Tensor]:
    """From a subject's state to a target's over the relation, and back over its inverse where there is one."""
    forward, backward = relation_words(request)
    with torch.no_grad():
        there = mean_state(em, forward)
        back = mean_state(em, backward) if backward else None

    def distance(subject: Tensor, target: Tensor) -> Tensor:
        way = _to(subject + there, target)
        return way if back is None else way + _to(target + back, subject)

    return distance


def relation_words(request: EditRequest) -> tuple[str, str | None]:
    """What the relation and its inverse are called, each without a subject; None for an unknown inverse."""
    relation = relation_of(request)
    if relation is None:
        bare = request.prompt.replace(request.subject, " ")
        return " ".join(bare.split()) or request.prompt, None
    inverse = RELATIONS.get(relation.inverse or "")
    return _named(relation.noun), _named(inverse.noun) if inverse else None


def _named(noun: str) -> str:
    return noun.replace("{s}", "").strip()


def mean_state(
    em: EditableModel, words: Prompt, block: int = 0, offset: Tensor | None = None, tokens: int | None = None
) -> Tensor:
    """The mean last hidden state `[hidden]` over the tokens of some words, or over the last `tokens` of a prompt.

    With `offset [out]`, it is added to the block's down projection at the last token.
    """
    ids = text.encode_prompt(em, words)
    own = tokens or len(em.tokenizer(words, add_special_tokens=False)["input_ids"])
    last = em.structure.final_norm or em.structure.blocks[-1].name
    changes = {} if offset is None else {em.structure.blocks[block].down_proj: _at_end(offset, len(ids))}
    with hooks.add_output(em, changes), hooks.capture(em, [last]) as seen:
        em.model(input_ids=torch.tensor([ids], device=em.device), use_cache=False)
    return seen[last][0, -own:].mean(0)


def _at_end(offset: Tensor, length: int) -> Callable[[Tensor], Tensor]:
    return lambda keys: torch.nn.functional.pad(offset[None, None], (0, 0, length - 1, 0))


compute = rank_one("bird", bidirectional)
