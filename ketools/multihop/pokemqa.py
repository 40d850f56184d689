"""PokeMQA (Gu et al. 2024, arXiv:2312.15194): the model only takes the question apart; a trained detector decides.

An edit that the scope detector finds for a sub-question is put in as the generated answer; on a miss the model
answers itself. A line about the question's entity (the knowledge prompt) comes first where it is known.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ketools.multihop.events import MultihopAnswer, Retrieved
from ketools.multihop.loops import MOST_HOPS, Run, final_of, guarded
from ketools.multihop.memory import EditMemory
from ketools.multihop.prompts import Prompts
from ketools.multihop.scope import ScopeDetector
from ketools.multihop.steps import Program, Steps, nearest

MARK = "Generated answer:"
CANDIDATES = 32
"""How many facts, nearest first, the detector looks at."""

NO_ENTITY = "Entity of Question: unknown."
_INTERMEDIATE = re.compile(r"entity of Subquestion is:[ \t]*(\S[^\n]*)")

KINDS = {
    "person": "a human",
    "country": "a country",
    "city": "a city",
    "company": "a company",
    "work": "a book",
    "university": "a university",
}
"""How the knowledge prompt names a domain of `ketools.relations`."""

KindOf = Callable[[str], tuple[str, str] | None]
"""From a question to the entity that it names and that entity's domain, when known."""


def entity_line(question: str, kind_of: KindOf | None) -> str:
    """PokeMQA's knowledge prompt; empty when nobody can tell entities."""
    if kind_of is None:
        return ""
    found = kind_of(question)
    return f"Entity of Question: {found[0]}, {KINDS.get(found[1], found[1])}." if found else NO_ENTITY


def pokemqa(
    question: str,
    memory: EditMemory,
    prompts: Prompts,
    detector: ScopeDetector,
    kind_of: KindOf | None = None,
    most_hops: int = MOST_HOPS,
) -> Program:
    """The program of one question; at most `most_hops` hops, so `most_hops` + 1 generations."""
    text = prompts.fill("pokemqa", question, entity_line(question, kind_of))
    run = Run("pokemqa", question, text, _INTERMEDIATE)
    return guarded(run, _steps(run, memory, detector, most_hops))


def _steps(run: Run, memory: EditMemory, detector: ScopeDetector, most_hops: int) -> Steps[MultihopAnswer]:
    for _ in range(most_hops + 1):
        written = yield from run.write((MARK, "\n\n"))
        if not (yield from run.close_hop(written, "edit" if run.fact else "model")):
            yield from run.complain(written, "no entity of the sub-question")
            return run.failed("The model named no entity for the sub-question in PokeMQA's form.")
        if (answer := final_of(written)) is not None:
            return run.ended(answer)
        if (yield from run.next_question(written)) is None:
            yield from run.complain(written, "neither a sub-question nor a final answer")
            return run.failed("The model wrote neither a sub-question nor a final answer.")
        if run.step > most_hops:
            break
        yield from _put_in(run, memory, detector, written)
    return run.failed(f"The chain is longer than {most_hops} hops; raise the bound if it should be.")


def _put_in(run: Run, memory: EditMemory, detector: ScopeDetector, written: str) -> Steps[None]:
    """The edit in scope behind the mark; on a miss nothing, so that the model answers."""
    if not written.endswith(MARK):
        yield from run.complain(written, f"the sub-question is not followed by {MARK!r}")
        run.text = run.text[: run.text.rindex(run.asked) + len(run.asked)] + f"\n{MARK}"
    if not len(memory):
        return
    candidates = yield from nearest(memory, run.asked, CANDIDATES)
    run.fact = detector.choose(run.asked, candidates)
    shown = run.fact or candidates[0]
    yield Retrieved(
        step=run.step,
        edit_id=shown.edit_id,
        fact=shown.sentence,
        score=shown.score,
        in_scope=run.fact is not None,
    )
    if run.fact:
        run.text += f" {run.fact.sentence}\n"
