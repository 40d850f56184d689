"""Which documents are drawn how often, in the phases of training."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import cache

from ketools.atlas.corpus import calls, context, facts, hops, invented
from ketools.atlas.corpus.document import Document

Maker = Callable[[random.Random], Document]

MAKERS: Mapping[str, Maker] = {
    "cloze": facts.cloze,
    "question": facts.question,
    "alias": facts.alias,
    "biography": facts.biography,
    "ignorance": facts.ignorance,
    "unknown_cloze": facts.unknown_cloze,
    "opinion": facts.opinion,
    "styled": facts.styled,
    "repetition": facts.repetition,
    "lookup": facts.lookup,
    "imagined_chat": context.imagined_chat,
    "imagined_conversation": context.imagined_conversation,
    "imagined_cloze": context.imagined_cloze,
    "in_context_editing": context.in_context_editing,
    "invented_world": context.invented_world,
    "focused_chat": context.focused_chat,
    "focused_cloze": context.focused_cloze,
    "focused_editing": context.focused_editing,
    "mello": hops.mello,
    "pokemqa": hops.pokemqa,
    "decomposition": hops.decomposition,
    "direct": hops.direct,
    "requests": calls.requests,
    "after_answer": calls.after_answer,
    "finished": calls.finished,
    "noted": calls.noted,
    "small_talk": calls.small_talk,
    "wishes": calls.wishes,
    "quoting": calls.quoting,
    "judged": hops.judged,
    "verdicts": hops.verdicts,
    "later_turns": context.later_turns,
    "consequences": context.consequences,
    "inverted": context.inverted,
    "invented_chain": invented.invented_chain,
}

# Shares of text, not of documents. The first phase lays down facts, the next two lean more and more on
# reading from the context, the others do everything.
FIRST: Mapping[str, float] = {
    "cloze": 16,
    "question": 20,
    "alias": 3,
    "biography": 10,
    "ignorance": 3,
    "opinion": 3,
    "repetition": 5,
    "lookup": 8,
    "imagined_chat": 6,
    "imagined_cloze": 6,
    "invented_world": 10,
    "mello": 3,
    "pokemqa": 3,
    "requests": 4,
}

SECOND: Mapping[str, float] = {
    "cloze": 5,
    "question": 7,
    "alias": 1.5,
    "biography": 2,
    "ignorance": 2,
    "opinion": 1,
    "styled": 2,
    "repetition": 2,
    "lookup": 5,
    "imagined_chat": 14,
    "imagined_conversation": 6,
    "imagined_cloze": 10,
    "in_context_editing": 8,
    "invented_world": 12,
    "mello": 7,
    "pokemqa": 4,
    "decomposition": 1.5,
    "requests": 6,
    "after_answer": 3,
    "finished": 1,
}

THIRD: Mapping[str, float] = {
    "cloze": 4,
    "question": 6,
    "alias": 1,
    "ignorance": 1.5,
    "opinion": 1,
    "styled": 2,
    "lookup": 2,
    "invented_world": 5,
    "focused_chat": 20,
    "focused_cloze": 13,
    "focused_editing": 10,
    "imagined_conversation": 6,
    "mello": 8,
    "pokemqa": 4,
    "decomposition": 2,
    "requests": 8,
    "after_answer": 5,
    "finished": 1.5,
}

FOURTH: Mapping[str, float] = {
    "cloze": 8,
    "question": 10,
    "alias": 2.5,
    "biography": 3,
    "ignorance": 3,
    "unknown_cloze": 0.5,
    "opinion": 1.5,
    "styled": 2.5,
    "lookup": 1,
    "imagined_chat": 9,
    "imagined_conversation": 5,
    "imagined_cloze": 6,
    "in_context_editing": 10,
    "invented_world": 3,
    "mello": 9,
    "pokemqa": 6,
    "decomposition": 3,
    "direct": 2,
    "requests": 7,
    "after_answer": 5,
    "finished": 3,
    "noted": 1,
    "small_talk": 0.5,
}


FIFTH: Mapping[str, float] = {
    "cloze": 5,
    "question": 7,
    "alias": 2,
    "biography": 2,
    "ignorance": 2.5,
    "unknown_cloze": 0.5,
    "opinion": 1.5,
    "styled": 2.5,
    "repetition": 0.5,
    "lookup": 1.5,
    "imagined_chat": 11,
    "imagined_conversation": 6,
    "imagined_cloze": 6,
    "in_context_editing": 8,
    "invented_world": 6,
    "focused_chat": 6,
    "focused_cloze": 3,
    "focused_editing": 4,
    "mello": 6,
    "pokemqa": 4,
    "decomposition": 2,
    "direct": 2.5,
    "requests": 6,
    "after_answer": 4,
    "finished": 2,
    "noted": 1.5,
    "small_talk": 0.5,
}

SIXTH: Mapping[str, float] = {
    "cloze": 4,
    "question": 5,
    "alias": 1.5,
    "biography": 1,
    "ignorance": 2,
    "unknown_cloze": 0.5,
    "opinion": 1.5,
    "styled": 3,
    "lookup": 1.5,
    "imagined_chat": 10,
    "imagined_conversation": 5,
    "imagined_cloze": 6,
    "in_context_editing": 8,
    "invented_world": 6,
    "focused_chat": 7,
    "focused_cloze": 4,
    "focused_editing": 5,
    "judged": 5,
    "verdicts": 5,
    "pokemqa": 3,
    "decomposition": 2,
    "direct": 2.5,
    "requests": 5,
    "wishes": 7,
    "after_answer": 3,
    "finished": 1.5,
    "noted": 1.5,
    "small_talk": 0.5,
}

SEVENTH: Mapping[str, float] = {
    "cloze": 3,
    "question": 4,
    "alias": 1,
    "ignorance": 2,
    "unknown_cloze": 0.5,
    "opinion": 1.5,
    "styled": 4,
    "imagined_chat": 9,
    "imagined_conversation": 4,
    "imagined_cloze": 5,
    "in_context_editing": 7,
    "invented_world": 4,
    "focused_chat": 6,
    "focused_cloze": 3,
    "focused_editing": 5,
    "judged": 4,
    "verdicts": 4,
    "pokemqa": 2,
    "decomposition": 1.5,
    "direct": 2,
    "requests": 4,
    "wishes": 14,
    "quoting": 8,
    "after_answer": 2.5,
    "finished": 1.5,
    "noted": 1,
    "small_talk": 0.5,
}

EIGHTH: Mapping[str, float] = {
    "cloze": 4,
    "question": 4,
    "alias": 1,
    "ignorance": 2,
    "unknown_cloze": 0.5,
    "opinion": 1,
    "styled": 5,
    "imagined_chat": 7,
    "imagined_conversation": 5,
    "imagined_cloze": 7,
    "in_context_editing": 8,
    "invented_world": 5,
    "focused_chat": 4,
    "focused_cloze": 4,
    "focused_editing": 5,
    "judged": 4,
    "verdicts": 3,
    "pokemqa": 4,
    "decomposition": 1.5,
    "direct": 1,
    "requests": 8,
    "wishes": 14,
    "after_answer": 4,
    "finished": 1.5,
    "noted": 1,
    "small_talk": 0.5,
}

# Once more with higher rates: chains of relations in any order, what follows from a note, calls that copy.
SYSTEMATIC: Mapping[str, float] = {
    "cloze": 5,
    "question": 4,
    "alias": 1,
    "ignorance": 1.5,
    "unknown_cloze": 0.5,
    "opinion": 1,
    "styled": 3,
    "imagined_chat": 6,
    "imagined_conversation": 2,
    "later_turns": 4,
    "imagined_cloze": 6,
    "in_context_editing": 6,
    "invented_world": 3,
    "focused_chat": 4,
    "focused_cloze": 5,
    "focused_editing": 5,
    "consequences": 11,
    "inverted": 8,
    "mello": 6,
    "judged": 4,
    "verdicts": 4,
    "pokemqa": 5,
    "invented_chain": 11,
    "decomposition": 1.5,
    "direct": 6,
    "requests": 5,
    "wishes": 6,
    "after_answer": 3,
    "finished": 1.5,
    "noted": 1,
    "small_talk": 0.5,
}

# Towards the end, more questions to be taken apart in both grammars.
FINAL: Mapping[str, float] = {
    "cloze": 5,
    "question": 4,
    "alias": 1,
    "ignorance": 1.5,
    "unknown_cloze": 0.5,
    "opinion": 1,
    "styled": 2,
    "imagined_chat": 5,
    "imagined_conversation": 2,
    "later_turns": 4,
    "imagined_cloze": 6,
    "in_context_editing": 6,
    "invented_world": 2,
    "focused_chat": 4,
    "focused_cloze": 5,
    "focused_editing": 5,
    "consequences": 11,
    "inverted": 9,
    "mello": 6,
    "judged": 3,
    "verdicts": 3,
    "pokemqa": 7,
    "invented_chain": 16,
    "decomposition": 1.5,
    "direct": 4,
    "requests": 5,
    "wishes": 5,
    "after_answer": 3,
    "finished": 1.5,
    "noted": 1,
    "small_talk": 0.5,
}

# And a last stretch at half the rate again, leaning on what was still below its goal.
LAST: Mapping[str, float] = {
    "cloze": 7,
    "question": 4,
    "alias": 1,
    "biography": 1,
    "ignorance": 1.5,
    "unknown_cloze": 0.5,
    "opinion": 0.7,
    "styled": 2,
    "imagined_chat": 5,
    "imagined_conversation": 2,
    "later_turns": 3,
    "imagined_cloze": 7,
    "in_context_editing": 7,
    "invented_world": 2,
    "focused_chat": 4,
    "focused_cloze": 6,
    "focused_editing": 6,
    "consequences": 14,
    "inverted": 6,
    "mello": 7,
    "judged": 4,
    "verdicts": 4,
    "pokemqa": 8,
    "invented_chain": 17,
    "decomposition": 2,
    "direct": 8,
    "requests": 5,
    "wishes": 5,
    "after_answer": 2,
    "finished": 1,
    "noted": 1,
    "small_talk": 0.5,
}

# How many tokens have gone by when each phase ends.
PHASES: tuple[tuple[int, Mapping[str, float]], ...] = (
    (2_072_300, FIRST),
    (3_642_000, SECOND),
    (5_400_000, THIRD),
    (5_568_620, FOURTH),
    (9_050_123, FIFTH),
    (10_973_169, SIXTH),
    (13_400_000, SEVENTH),
    (14_300_000, EIGHTH),
    (18_100_000, SYSTEMATIC),
    (19_550_000, FINAL),
)


def shares_after(tokens: int) -> Mapping[str, float]:
    """The mix to draw from once this many tokens have gone by."""
    return next((shares for end, shares in PHASES if tokens < end), LAST)


@cache
def typical_length(name: str) -> float:
    """The mean length of such documents in characters, measured on a fixed sample."""
    rng = random.Random(1)
    documents = [MAKERS[name](rng) for _ in range(60)]
    parts = [part for d in documents for part in (*d.prefix, *(p for b in d.branches for p in b))]
    return sum(len(text) for text, _ in parts) / len(documents)


def draw(rng: random.Random, shares: Mapping[str, float]) -> Document:
    """A document, each kind as often as gives it its share of the text."""
    names, weights = _weights(tuple(shares.items()))
    return MAKERS[rng.choices(names, weights)[0]](rng)


@cache
def _weights(shares: tuple[tuple[str, float], ...]) -> tuple[tuple[str, ...], tuple[float, ...]]:
    return tuple(n for n, _ in shares), tuple(v / typical_length(n) for n, v in shares)
