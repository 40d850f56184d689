"""PokeMQA (Gu et al. 2024, arXiv:2312.15194): the model only takes the question apart; a trained detector decides.

An edit that the scope detector finds for a sub-question is put in as the generated answer; on a miss the model
answers itself. A line about the question's entity (the knowledge prompt) comes first where it is known.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from ketools.core.results import HopSource
from ketools.knowledge.relations import knowledge_prompt
from ketools.multihop.events import Retrieved
from ketools.multihop.loops import MOST_HOPS, AgentRun, Loop
from ketools.multihop.memory import EditMemory
from ketools.multihop.prompts import Prompts
from ketools.multihop.scope import ScopeDetector
from ketools.multihop.steps import Program, Steps, nearest

MARK = "Generated answer:"
CANDIDATES = 32
"""How many facts, nearest first, the detector looks at."""

_INTERMEDIATE = re.compile(r"entity of Subquestion is:[ \t]*(\S[^\n]*)")

KindOf = Callable[[str], tuple[str, str] | None]
"""From a question to the entity that it names and that entity's domain, when known."""


def entity_line(question: str, kind_of: KindOf | None) -> str:
    """PokeMQA's knowledge prompt; empty when nobody can tell entities."""
    return knowledge_prompt(kind_of(question)) if kind_of else ""


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
    run = AgentRun("pokemqa", question, text, _INTERMEDIATE)
    put_in = partial(_put_in, memory, detector)
    loop = Loop((MARK, "\n\n"), "entity of the sub-question in PokeMQA's form", _source, put_in, memory)
    return loop.steps(run, most_hops)


def _source(run: AgentRun, _written: str) -> HopSource:
    """The edit, when one was put in."""
    return "edit" if run.fact else "model"


def _put_in(memory: EditMemory, detector: ScopeDetector, run: AgentRun, _written: str) -> Steps[None]:
    """The edit in scope behind the mark; on a miss nothing, so that the model answers."""
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
