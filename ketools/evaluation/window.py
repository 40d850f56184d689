"""Which cases a model can be asked at all: a prompt that its window cannot hold makes a row a bad one."""

from __future__ import annotations

from collections.abc import Iterator

from ketools.core.errors import InvalidRequest
from ketools.core.requests import Prompt
from ketools.engines.base import Engine
from ketools.evaluation.asking import beginnings, phrasings, questions, secret, wanted
from ketools.evaluation.baseline import ANSWER_TOKENS, UTTERANCES, passage
from ketools.evaluation.cases import EditCase
from ketools.evaluation.data import Dataset


def askable(data: Dataset, engine: Engine, limit: int | None = None) -> Dataset:
    """The data set without those of its first `limit` cases that the engine cannot be asked: they are bad rows of it.

    Others move up in their place. Raises `InvalidRequest` when none is left.
    """
    able: set[str] = set()
    while True:
        new = [case for case in data.first(limit) if case.id not in able]
        wrong = {case.id: why for case in new if (why := objection(engine, case))}
        if not wrong:
            return data
        able |= {case.id for case in new} - wrong.keys()
        data = data.without(wrong)


def objection(engine: Engine, case: EditCase) -> str:
    """Why a case cannot be asked of the untouched model, in words that quote nothing, or an empty string."""
    for name, prompt, text, needed in _texts(case):
        try:
            room = engine.room(prompt, text)
        except InvalidRequest as error:
            return str(error)
        if room < needed:
            return f"after its {name} the model's window has room for {max(room, 0)} tokens, and {needed} are needed"
    return ""


def _texts(case: EditCase) -> Iterator[tuple[str, Prompt, str, int]]:
    """All that is asked: what it is, the prompt, what is scored after it, and how many tokens are needed then."""
    answer = ANSWER_TOKENS + 1  # what is answered is scored as well
    for group, probe in questions(case):
        yield f"{group} prompt", probe.rendered(), "", answer
        if group in ("success", "rephrase"):
            yield f"{group} prompt and target", probe.rendered(), wanted(case.request, probe), 1
    for probe in case.conditions:
        yield "condition", probe.rendered(), "", answer
    for text in (*case.wanted[:UTTERANCES], *case.unwanted[:UTTERANCES]):
        yield "prompt and utterance", case.direct.rendered(), text, 1
    for probe in phrasings(case):
        yield "prompt and secret", probe.rendered(), secret(case), 1
    for begun, _ in beginnings(case):
        yield "prompt and half the secret", begun, "", answer
    if start := passage(case.request):
        yield "beginning of a text", start, "", answer
