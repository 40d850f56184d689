"""A reader that knows a benchmark's own data: it stands in for the model, so that the rest is measured alone.

It takes questions apart as the data set does, follows each agent's form to the letter, and answers single hops
from the facts before the edits. What remains to go wrong is retrieval, scope and chaining.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from ketools.core.requests import REFUSAL
from ketools.core.text import normalise
from ketools.engines.base import cut
from ketools.evaluation.mquake import HopFact, MultihopCase
from ketools.multihop.memory import Remembered
from ketools.multihop.parsing import PLACE

_QUESTION = re.compile(r"^Question: (.+)$", re.MULTILINE)
_ASKED = re.compile(r"^Subquestion: (.+)$", re.MULTILINE)
_MELLO = re.compile(r"^Retrieved fact: (.+)$", re.MULTILINE)
_ANSWERS = re.compile(r"(?:intermediate answer|entity of Subquestion) is: (.+)$", re.MULTILINE)
_GIVEN = re.compile(r"^Generated answer: (.+)\n\Z", re.MULTILINE)


class OracleReader:
    """Writes as a model would that never errs (see `ketools.multihop.writers.Writer`)."""

    def __init__(self, cases: Iterable[MultihopCase]) -> None:
        self._chains: dict[str, tuple[str, ...]] = {}
        self._answers: dict[str, str] = {}
        self._facts: dict[str, tuple[str, str]] = {}
        for case in cases:
            self._learn(case)

    def _learn(self, case: MultihopCase) -> None:
        edited = {edit.key for edit in case.edits}
        hops = case.after or case.before
        self._chains.update(dict.fromkeys(case.questions, _templates(hops)))
        for hop in (*case.before, *(hop for hop in case.after if hop.key not in edited)):
            self._answers.setdefault(hop.question, hop.answers[0])
        asked = {hop.key: hop.question for hop in hops}
        for edit in case.edits:
            if edit.key in asked:
                self._facts[Remembered("", edit.request).sentence] = (asked[edit.key], edit.request.target_new)

    def answer(self, questions: Sequence[str], tokens: int) -> list[str]:
        """What the data set says to questions of one hop, without any edit."""
        return [self._answers.get(q.split("\n")[-1], REFUSAL) for q in questions]

    def complete(self, texts: Sequence[str], stops: Sequence[str], tokens: int) -> list[str]:
        """The next lines of each text in the form that it is in."""
        return [cut(self._continued(text), stops) for text in texts]

    def _continued(self, text: str) -> str:
        question = _QUESTION.findall(text)[-1]
        here = text[text.rindex(f"Question: {question}") :]
        templates = self._chains.get(question, (question,))
        if here.endswith("Decomposition:"):
            return " | ".join(templates)
        return self._next_hop(here, templates)

    def _next_hop(self, here: str, templates: Sequence[str]) -> str:
        asked, answers = _ASKED.findall(here), _ANSWERS.findall(here)
        closing = ""
        if len(asked) > len(answers):
            closing, answer = self._closed(here, asked[-1])
            answers = [*answers, answer]
        if len(answers) == len(templates):
            return f"{closing}Final answer: {answers[-1]}"
        question = templates[len(answers)]
        for number, answer in enumerate(answers, start=1):
            question = question.replace(f"{PLACE}{number}", answer)
        own = self._answers.get(question, REFUSAL)
        return f"{closing}Subquestion: {question}\nGenerated answer: {own}\nRetrieved fact:"

    def _closed(self, here: str, asked: str) -> tuple[str, str]:
        """The line that closes the hop in the form of the text, and its answer."""
        own = self._answers.get(asked, REFUSAL)
        retrieved, given = _MELLO.findall(here), _GIVEN.search(here)
        if retrieved:
            question, target = self._facts.get(retrieved[-1], ("", ""))
            answer = target if question == asked else own
            verdict = "does not contradict" if normalise(answer) == normalise(own) else "contradicts"
            return f"Retrieved fact {verdict} to generated answer, so the intermediate answer is: {answer}\n", answer
        answer = self._facts.get(given[1], ("", own))[1] if given else own
        said = "" if given else f"{own}\n"
        return f"{said}According to Generated answer, the entity of Subquestion is: {answer}\n", answer


def _templates(hops: Sequence[HopFact]) -> tuple[str, ...]:
    """The questions of a chain, `#1` in place of the first answer and so on."""
    found = [hop.question for hop in hops[:1]]
    for number, (before, hop) in enumerate(pairwise(hops), start=1):
        found.append(hop.question.replace(before.answers[0], f"{PLACE}{number}"))
    return tuple(found)
