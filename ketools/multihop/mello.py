"""MeLLo (Zhong et al. 2023, arXiv:2305.14795): the model takes the question apart and judges each retrieved fact.

After every sub-question and tentative answer the nearest edit is put in, always, and the model says whether it
contradicts. Put right against the paper's code: the loop leaves room for the generation after the last hop.
"""

from __future__ import annotations

import re
from functools import partial

from ketools.core.results import HopSource
from ketools.multihop.events import Retrieved
from ketools.multihop.loops import MOST_HOPS, AgentRun, Loop
from ketools.multihop.memory import EditMemory, Remembered
from ketools.multihop.prompts import Prompts
from ketools.multihop.steps import Program, Steps, nearest

MARK = "Retrieved fact:"
_INTERMEDIATE = re.compile(r"intermediate answer is:[ \t]*(\S[^\n]*)")
_GENERATED = re.compile(r"Generated answer:[ \t]*(\S[^\n]*)")


def mello(question: str, memory: EditMemory, prompts: Prompts, most_hops: int = MOST_HOPS) -> Program:
    """The program of one question; at most `most_hops` hops, so `most_hops` + 1 generations."""
    run = AgentRun("mello", question, prompts.fill("mello", question), _INTERMEDIATE)
    loop = Loop((MARK,), "intermediate answer in MeLLo's form", _source, partial(_put_in, memory), memory)
    return loop.steps(run, most_hops)


def _source(run: AgentRun, written: str) -> HopSource:
    """The edit, when the model says that it contradicts its own answer."""
    return "edit" if run.fact and " contradicts " in (" " + written.partition("\n")[0]) else "model"


def _put_in(memory: EditMemory, run: AgentRun, written: str) -> Steps[None]:
    """The nearest edit behind the mark; without any edit the model's own answer, which contradicts nothing."""
    found: list[Remembered] = (yield from nearest(memory, run.asked, 1)) if len(memory) else []
    own = _GENERATED.findall(written)
    if found:
        run.fact = found[0]
        yield Retrieved(
            step=run.step, edit_id=run.fact.edit_id, fact=run.fact.sentence, score=run.fact.score, in_scope=None
        )
    run.text += f" {run.fact.sentence if run.fact else own[-1] if own else run.asked}\n"
