"""What MeLLo and PokeMQA share: the loop of generations, its bound, and what is kept when it fails."""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass, field

from ketools.errors import KetoolsError
from ketools.multihop.events import Event, Hop, Intermediate, Malformed, MultihopAnswer, Source, Subquestion
from ketools.multihop.memory import Remembered
from ketools.multihop.steps import Steps, complete
from ketools.multihop.writers import joined

MOST_HOPS = 4
"""The longest chain that is followed; a chain of h hops needs h + 1 generations, which the papers' code missed."""

TOKENS = 80
"""The most tokens of one generation of a loop."""

FINAL = "Final answer:"
_SUBQUESTION = re.compile(r"Subquestion:[ \t]*(\S[^\n]*)")
_ABBREVIATED = re.compile(r"(?:\b[A-Z]|\b(?:Inc|Ltd|Co|Corp|Jr|Sr|Bros))\.$")
_FINAL = re.compile(r"Final answer:[ \t]*(\S[^\n]*)")


@dataclass
class Run:
    """One question being asked: the text so far, and what came of it."""

    agent: str
    question: str
    text: str
    intermediate: re.Pattern[str]
    hops: list[Hop] = field(default_factory=list)
    asked: str = ""
    fact: Remembered | None = None
    malformed: int = 0
    generations: int = 0

    @property
    def step(self) -> int:
        """The number of the hop that is being answered, from 1."""
        return len(self.hops) + 1

    def write(self, stops: tuple[str, ...], tokens: int = TOKENS) -> Steps[str]:
        """Have the text continued; returns what was added."""
        self.generations += 1
        written = yield from complete(self.text, stops, tokens)
        self.text = joined(self.text, written)
        return written

    def close_hop(self, written: str, source: Source) -> Generator[Event, None, bool]:
        """Take the intermediate answer of the hop before; False when it is not there."""
        if not self.asked:
            return True
        found = self.intermediate.search(written)
        if found is None:
            return False
        answer = bare(found[1])
        fact = self.fact if source == "edit" else None
        yield Intermediate(step=self.step, answer=answer, source=source)
        self.hops.append(
            Hop(
                question=self.asked,
                answer=answer,
                source=source,
                edit_id=fact.edit_id if fact else None,
                fact=fact.sentence if fact else None,
            )
        )
        self.asked, self.fact = "", None
        return True

    def next_question(self, written: str) -> Generator[Event, None, str | None]:
        """The sub-question that was written last, if one was."""
        found = _SUBQUESTION.findall(written)
        if not found:
            return None
        self.asked = str(found[-1]).strip()
        yield Subquestion(step=self.step, question=self.asked)
        return self.asked

    def complain(self, written: str, reason: str) -> Generator[Event, None, None]:
        """Count a generation that did not follow the form."""
        self.malformed += 1
        yield Malformed(step=self.step, text=written[-400:], reason=reason)

    def ended(self, answer: str) -> MultihopAnswer:
        """The whole chain with the final answer."""
        return self._answer(bare(answer), True, "")

    def failed(self, reason: str) -> MultihopAnswer:
        """The chain up to the step that failed."""
        return self._answer(self.hops[-1].answer if self.hops else None, False, reason)

    def _answer(self, answer: str | None, whole: bool, reason: str) -> MultihopAnswer:
        citations = tuple(hop.edit_id for hop in self.hops if hop.edit_id)
        return MultihopAnswer(
            question=self.question,
            answer=answer,
            complete=whole,
            hops=tuple(self.hops),
            affected=bool(citations),
            citations=citations,
            malformed=self.malformed,
            generations=self.generations,
            failed_step=None if whole else self.step,
            reason=reason,
            agent=self.agent,
        )


def final_of(written: str) -> str | None:
    """The final answer, if the text gives one."""
    found = _FINAL.search(written)
    return found[1] if found else None


def bare(answer: str) -> str:
    """An answer's first line without outer space and closing marks; the full stop of "Inc." stays."""
    line = answer.strip().split("\n")[0].strip().rstrip(",;:!?").rstrip()
    return line if _ABBREVIATED.search(line) else line.rstrip(".,;:!?").strip()


def guarded(run: Run, steps: Steps[MultihopAnswer]) -> Steps[MultihopAnswer]:
    """The steps; an error of model or memory ends them with the chain so far instead of losing it."""
    try:
        return (yield from steps)
    except KetoolsError as error:
        return run.failed(str(error))
