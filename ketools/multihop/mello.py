"""MeLLo (Zhong et al. 2023, arXiv:2305.14795): the model takes the question apart and judges each retrieved fact.

After every sub-question and tentative answer the nearest edit is put in, always, and the model says whether it
contradicts. Put right against the paper's code: the loop leaves room for the generation after the last hop.
"""

from __future__ import annotations

import re

from ketools.multihop.events import MultihopAnswer, Retrieved
from ketools.multihop.loops import MOST_HOPS, Run, final_of, guarded
from ketools.multihop.memory import EditMemory, Remembered
from ketools.multihop.prompts import Prompts
from ketools.multihop.steps import Program, Steps, nearest

MARK = "Retrieved fact:"
_INTERMEDIATE = re.compile(r"intermediate answer is:[ \t]*(\S[^\n]*)")
_GENERATED = re.compile(r"Generated answer:[ \t]*(\S[^\n]*)")


def mello(question: str, memory: EditMemory, prompts: Prompts, most_hops: int = MOST_HOPS) -> Program:
    """The program of one question; at most `most_hops` hops, so `most_hops` + 1 generations."""
    run = Run("mello", question, prompts.fill("mello", question), _INTERMEDIATE)
    return guarded(run, _steps(run, memory, most_hops))


def _steps(run: Run, memory: EditMemory, most_hops: int) -> Steps[MultihopAnswer]:
    for _ in range(most_hops + 1):
        written = yield from run.write((MARK,))
        verdict = written.split("\n")[0]
        contradicted = " contradicts " in f" {verdict}" and run.fact is not None
        if not (yield from run.close_hop(written, "edit" if contradicted else "model")):
            yield from run.complain(written, "no intermediate answer after the retrieved fact")
            return run.failed("The model gave no intermediate answer in MeLLo's form.")
        if (answer := final_of(written)) is not None:
            return run.ended(answer)
        if (yield from run.next_question(written)) is None:
            yield from run.complain(written, "neither a sub-question nor a final answer")
            return run.failed("The model wrote neither a sub-question nor a final answer.")
        if run.step > most_hops:
            break
        yield from _put_in(run, memory, written)
    return run.failed(f"The chain is longer than {most_hops} hops; raise the bound if it should be.")


def _put_in(run: Run, memory: EditMemory, written: str) -> Steps[None]:
    """The nearest edit behind the mark; without any edit the model's own answer, which contradicts nothing."""
    if not written.endswith(MARK):
        yield from run.complain(written, f"the sub-question is not followed by {MARK!r}")
        run.text = run.text[: run.text.rindex(run.asked) + len(run.asked)] + f"\n{MARK}"
    found: list[Remembered] = (yield from nearest(memory, run.asked, 1)) if len(memory) else []
    own = _GENERATED.findall(written)
    if found:
        run.fact = found[0]
        yield Retrieved(
            step=run.step, edit_id=run.fact.edit_id, fact=run.fact.sentence, score=run.fact.score, in_scope=None
        )
    run.text += f" {run.fact.sentence if run.fact else own[-1] if own else run.asked}\n"
