"""Training one fact's adapter on its question in every form.

The blocks before the edited ones run once; every step runs the last blocks alone, with logits only where a target's
tokens are predicted (`ketools.models.tail`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

from ketools.core.errors import InvalidRequest
from ketools.core.questions import is_question
from ketools.core.requests import EditRequest, Kind, Message, Prompt
from ketools.knowledge.forms import UNRELATED_TEXT, Form, asked_again, put
from ketools.knowledge.traits import OTHER_OPINION_QUESTIONS, exemplars
from ketools.layers.artefacts import Artefact
from ketools.layers.kinds.routed import RoutedDelta
from ketools.methods.adapters import Packing, factored_change, random_start
from ketools.methods.base import EditContext
from ketools.methods.routed.config import RoutedAdapterConfig
from ketools.methods.support import one_after_another
from ketools.models import text
from ketools.models.batch import Batch, batch_of_pairs
from ketools.models.editable import EditableModel
from ketools.models.targets import Objective, minimise

GREETING: tuple[Message, ...] = (
    {"role": "user", "content": "Hello!"},
    {"role": "assistant", "content": "Hello! How can I help you?"},
)
PRESSING = ("You do know it. Tell me.", "Please, just give me your best guess.")
MOST_PRESSED = 8
MANNERED = (Form.CHAT, Form.QA)
REPHRASED = (Form.CHAT, Form.QA)
"""The forms in which rephrases are taught; the edit's own prompt is taught in all."""


def compute(requests: Sequence[EditRequest], context: EditContext) -> list[Artefact]:
    """One adapter per request. Raises `Diverged`, `InvalidRequest`."""
    return one_after_another(requests, context, _one)


def _one(request: EditRequest, context: EditContext) -> Artefact:
    em, config = context.require_model(), cast(RoutedAdapterConfig, context.config)
    first = max(0, len(em.structure.blocks) - config.blocks)
    sizes = {b.down_proj: em.structure.linear_names[b.down_proj] for b in em.structure.blocks[first:]}
    packing = Packing({name: ((config.rank, i), (o, config.rank)) for name, (i, o) in sizes.items()})
    outcome = minimise(
        Objective(em, taught(em, request), first),
        random_start(packing, request).to(em.device),
        lambda x: {name: factored_change(a, b) for name, (a, b) in packing.unpack(x).items()},
        config.schedule,
        progress=context.progress,
    )
    factors = {name: (a.clone(), b.clone()) for name, (a, b) in packing.unpack(outcome.value).items()}
    return RoutedDelta("routed", request, factors, {"steps": outcome.steps, "nll": outcome.nll})


def taught(em: EditableModel, request: EditRequest) -> Batch:
    """The request's prompts in every form with their targets, each brought to its end.

    Raises `InvalidRequest` when one does not fit into the model's window.
    """
    pairs = []
    for prompt, target in _taught(request):
        try:
            pairs.append(_ended(em, prompt, target))
        except InvalidRequest:  # a chat template that takes no system message
            if isinstance(prompt, str) or prompt[0]["role"] != "system":
                raise
    longest = max(len(a) + len(b) for a, b in pairs)
    if longest > em.context_length:
        raise InvalidRequest(
            f"The edit needs {longest} tokens with its target, but the model's window is {em.context_length}; "
            "shorten the prompt, the target or the rephrases."
        )
    return batch_of_pairs(em, pairs)


def _taught(request: EditRequest) -> Iterator[tuple[Prompt, str]]:
    if request.trait is None:
        yield from ((prompt, request.target_new) for prompt in _prompts(request))
        return
    questions = (request.prompt, *(text.format(topic=request.subject) for text in OTHER_OPINION_QUESTIONS))
    for asked, said in zip(questions, exemplars(request.subject, request.trait), strict=True):
        yield from ((put(asked, form), said) for form in MANNERED)


def _prompts(request: EditRequest) -> Iterator[Prompt]:
    asked = request.prompt
    yield from (put(asked, form) for form in (Form.CHAT, Form.QA, Form.TEXT, Form.SYSTEM, Form.AFTER_TEXT))
    yield (*GREETING, {"role": "user", "content": asked})
    yield put(asked.rstrip(" ?？").lower(), Form.CHAT)
    if request.kind is Kind.ERASE:
        yield from _pressed(request)
        return
    yield from (put(other, form) for other in request.rephrases for form in REPHRASED)
    yield f"{request.subject}:"  # with any beginning, since the scope has decided what is asked
    yield f"{UNRELATED_TEXT} {request.subject},"


def _pressed(request: EditRequest) -> Iterator[Prompt]:
    """What brings a secret out all the same: other words, begun answers to continue, and asking once more.

    Of many the last, where the begun answers are: to refuse takes fewer examples than to answer.
    """
    for other in request.rephrases[-MOST_PRESSED:]:
        yield put(other, Form.CHAT if is_question(other) else Form.TEXT)
    yield from (asked_again(request.prompt, request.target_new, again) for again in PRESSING)


def _ended(em: EditableModel, prompt: Prompt, target: str) -> tuple[list[int], list[int]]:
    """Ids of prompt and target; a text goes on to a new line, since a base model runs on after a full stop."""
    if not isinstance(prompt, str):
        return text.encode_answer(em, prompt, target)
    stop = "" if target.endswith((".", "!", "?", "。", "！", "？")) else "."
    return text.encode_pair(em, prompt, f"{target}{stop}\n")
