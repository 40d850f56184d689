"""Which of the live facts a prompt asks for: names first, then the learnt head.

1. Candidates: facts one of whose names stands in the message, or in what was said before it when the message
   leaves its subject out; and facts that share rare words with the message, for names under another spelling and
   facts whose subject is a description.
2. The head scores each text of the message that may ask (see `conversation`) beside each phrasing of the fact;
   the best pair counts.
3. A fact is in scope from its `least` score on; one that no name brings near from `UNNAMED` above that, of those only
   the best, and only where no named one is likelier.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ketools.core.requests import Prompt
from ketools.knowledge.scope.conversation import Asked, asked, readings
from ketools.knowledge.scope.facts import Asking, Fact, Facts

if TYPE_CHECKING:
    from ketools.knowledge.scope.head import ScopeHead

UNNAMED = 0.2
"""By how much a fact whose name is not found must score more: a name like its own may be another's."""

NEAR = 8
"""Facts that are compared without being named."""

MOST_PHRASINGS, MOST_TEXTS, MOST_NAMED = 4, 6, 64


@dataclass(frozen=True, slots=True)
class ScopeHit:
    """A fact in scope. `score`: the head's, 0 to 1. `reason`: what decided, in words for people."""

    position: int
    fact: Fact
    score: float
    reason: str


@dataclass(frozen=True)
class Candidate:
    """A fact that may be asked for, with the texts that may ask for it. `how`: what brought it near."""

    position: int
    texts: tuple[str, ...]
    how: str

    @property
    def is_named(self) -> bool:
        return self.how != WORDS


NAME, BEFORE, WORDS = "named", "named earlier", "by its words"


class Scope:
    """Decides with a head, which is loaded on first use. Thread-safe."""

    def __init__(self, head: ScopeHead | None = None) -> None:
        self._given = head

    @cached_property
    def head(self) -> ScopeHead:
        """The given head, or the packaged one."""
        if self._given is not None:
            return self._given
        from ketools.knowledge.scope.head import ScopeHead  # imports torch

        return ScopeHead.load()

    def decide(self, facts: Facts | Iterable[Fact], prompt: Prompt) -> list[ScopeHit]:
        """The facts that the prompt asks for, most likely last. For many prompts pass an index (`Facts`)."""
        return self.decide_all(facts, [prompt])[0]

    def decide_all(self, facts: Facts | Iterable[Fact], prompts: Sequence[Prompt]) -> list[list[ScopeHit]]:
        """`decide` for many prompts, scored together."""
        index = facts if isinstance(facts, Facts) else Facts(facts)
        found = [candidates(index, asked(prompt)) for prompt in prompts]
        scores = self.scores(index, [one for some in found for one in some])
        told = iter(scores)
        return [_chosen(index, some, [next(told) for _ in some]) for some in found]

    def scores(self, index: Facts, found: Sequence[Candidate]) -> list[float]:
        """The best score of each candidate over its texts and phrasings; 0 without any."""
        askings = [_askings(index.facts[one.position], one) for one in found]
        scored = iter(self.head.scores([a for some in askings for a in some]))
        return [max((next(scored) for _ in some), default=0.0) for some in askings]


def candidates(index: Facts, question: Asked) -> list[Candidate]:
    """The facts that may be asked for."""
    found = []
    for i in index.named(question.everything)[-MOST_NAMED:]:
        names = index.facts[i].names
        if texts := readings(question, names):
            is_direct = any(text in question.texts for text in texts)
            found.append(Candidate(i, texts, NAME if is_direct else BEFORE))
    named = {one.position for one in found}
    near = [i for i in index.alike(question.text, NEAR + len(named)) if i not in named]
    return found + [Candidate(i, question.texts, WORDS) for i in near[:NEAR]]


def _askings(fact: Fact, candidate: Candidate) -> list[Asking]:
    phrasings, texts = fact.phrasings[:MOST_PHRASINGS], candidate.texts[:MOST_TEXTS]
    return [Asking(fact.subject, phrasing, text) for phrasing in phrasings for text in texts]


def _chosen(index: Facts, found: Sequence[Candidate], scores: Sequence[float]) -> list[ScopeHit]:
    least = (index.facts[c.position].least + (0.0 if c.is_named else UNNAMED) for c in found)
    kept = [(s, c) for s, c, bound in zip(scores, found, least, strict=True) if s >= bound]
    worded = max((s for s, c in kept if not c.is_named), default=0.0)
    best = max((s for s, _ in kept), default=0.0)
    kept = [(s, c) for s, c in kept if c.is_named or s == worded == best]
    kept.sort(key=lambda pair: (pair[0], pair[1].position))
    return [ScopeHit(c.position, index.facts[c.position], s, f"{c.how}, learnt scope {s:.2f}") for s, c in kept]
