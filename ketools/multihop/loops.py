"""What MeLLo and PokeMQA share: the loop of generations, its bound, and what is kept when it fails."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

from ketools.core.errors import KetoolsError
from ketools.core.requests import REFUSAL
from ketools.core.results import Hop, HopSource, MultihopAnswer
from ketools.multihop.events import Event, Intermediate, Malformed, Retrieved, Subquestion
from ketools.multihop.memory import EditMemory, Remembered
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
class AgentRun:
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

    def close_hop(self, written: str, source: HopSource) -> Generator[Event, None, bool]:
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

    def refused(self, fact: Remembered) -> Generator[Event, None, MultihopAnswer]:
        """End the chain at a fact that was erased, whatever the model would have gone on to say."""
        told = fact.sentence
        yield Retrieved(step=self.step, edit_id=fact.edit_id, fact=told, score=fact.score, in_scope=True)
        self.hops.append(Hop(question=self.asked, answer=REFUSAL, source="edit", edit_id=fact.edit_id, fact=told))
        return self._answer(REFUSAL, True, "")

    def ended(self, answer: str) -> MultihopAnswer:
        """The whole chain with the final answer."""
        return self._answer(bare(answer), True, "", answer.strip())

    def failed(self, reason: str) -> MultihopAnswer:
        """The chain up to the step that failed."""
        return self._answer(self.hops[-1].answer if self.hops else None, False, reason)

    def _answer(self, answer: str | None, whole: bool, reason: str, written: str | None = None) -> MultihopAnswer:
        citations = tuple(hop.edit_id for hop in self.hops if hop.edit_id)
        return MultihopAnswer(
            question=self.question,
            answer=answer,
            written=written or answer,
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


@dataclass(frozen=True)
class Loop:
    """What tells one loop of sub-questions from another.

    `stops`: where a generation ends, first the mark that is followed by what is put in. `missing`: what lacks when an
    intermediate answer does. `source`: who gave it, told from what was written behind what was put in. `put_in`:
    looks for an edit in `memory` and writes behind the mark.
    """

    stops: tuple[str, ...]
    missing: str
    source: Callable[[AgentRun, str], HopSource]
    put_in: Callable[[AgentRun, str], Steps[None]]
    memory: EditMemory

    def steps(self, run: AgentRun, most_hops: int) -> Steps[MultihopAnswer]:
        """At most `most_hops` hops, so `most_hops` + 1 generations; an error ends them with the chain so far."""
        try:
            return (yield from self._steps(run, most_hops))
        except KetoolsError as error:
            return run.failed(str(error))

    def _steps(self, run: AgentRun, most_hops: int) -> Steps[MultihopAnswer]:
        for _ in range(most_hops + 1):
            written = yield from run.write(self.stops)
            if not (yield from run.close_hop(written, self.source(run, written))):
                yield from run.complain(written, f"no {self.missing}")
                return run.failed(f"The model wrote no {self.missing}.")
            if (answer := final_of(written)) is not None:
                return run.ended(answer)
            if (yield from run.next_question(written)) is None:
                yield from run.complain(written, "neither a sub-question nor a final answer")
                return run.failed("The model wrote neither a sub-question nor a final answer.")
            if (erased := self.memory.erasure(run.asked)) is not None:
                return (yield from run.refused(erased))
            if run.step > most_hops:
                break
            yield from self._mark(run, written)
            yield from self.put_in(run, written)
        return run.failed(f"The chain is longer than {most_hops} hops; raise the bound if it should be.")

    def _mark(self, run: AgentRun, written: str) -> Steps[None]:
        """Put the mark behind the sub-question where the model did not."""
        mark = self.stops[0]
        if not written.endswith(mark):
            yield from run.complain(written, f"the sub-question is not followed by {mark!r}")
            run.text = run.text[: run.text.rindex(run.asked) + len(run.asked)] + f"\n{mark}"


def final_of(written: str) -> str | None:
    """The final answer, if the text gives one."""
    found = _FINAL.search(written)
    return found[1] if found else None


def bare(answer: str) -> str:
    """An answer's first line without outer space and closing marks; the full stop of "Inc." stays."""
    line = answer.strip().split("\n")[0].strip().rstrip(",;:!?").rstrip()
    return line if _ABBREVIATED.search(line) else line.rstrip(".,;:!?").strip()
