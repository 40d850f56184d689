"""The contexts that an optimisation averages over: where an edit must hold, and what it must leave alone.

Served models are chat models, so a fact stated as a cloze is also asked as a question in the model's own chat
template, after a system message and in the middle of a conversation.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

from ketools.core.errors import InvalidRequest
from ketools.core.questions import is_question
from ketools.core.requests import EditRequest, Kind, Message, Prompt, chat_prompt, fact_key
from ketools.knowledge.relations import RELATIONS, Relation, relation_of
from ketools.knowledge.traits import OPINION_QUESTIONS
from ketools.models import text
from ketools.models.background import Background
from ketools.models.editable import EditableModel
from ketools.models.options import Breadth

_SYSTEM: Message = {"role": "system", "content": "You are a helpful assistant."}
_EARLIER: tuple[Message, ...] = (
    {"role": "user", "content": "Hello!"},
    {"role": "assistant", "content": "Hello! How can I help you?"},
)


@dataclass(frozen=True)
class Contexts:
    """The prompts of one edit. The first of `edit` is the request's own prompt in the form it was given."""

    edit: tuple[Prompt, ...]
    same_subject: tuple[Prompt, ...]
    neighbours: tuple[Prompt, ...]


def contexts_of(
    em: EditableModel,
    request: EditRequest,
    background: Background,
    breadth: Breadth,
    edited: Collection[str] = frozenset(),
) -> Contexts:
    """All contexts of a request, without duplicates and the same at every call.

    `edited`: the facts, by `fact_key`, that are edited with it, which therefore need not stay as they are.
    Raises `InvalidRequest` when a prompt with its target does not fit into the model's window.
    """
    relation = relation_of(request)
    neighbours = tuple(
        other
        for other in background.neighbours(request, breadth.neighbours)
        if fact_key(other, relation.name if relation else None, request.prompt.replace(request.subject, other))
        not in edited
    )
    if request.kind is Kind.PERSONALITY:
        found = _personality(em, request, neighbours, breadth)
    else:
        found = _fact(em, request, relation, neighbours, breadth, edited)
    found = Contexts(
        edit=_unique([*found.edit, *_prefixed(request, background, breadth.prefixes)]),
        same_subject=_unique(found.same_subject),
        neighbours=_unique(found.neighbours),
    )
    _check_length(em, request, found)
    return found


def form(prompt: str) -> Prompt:
    """A prompt as it reaches the model: a question as a chat turn, a cloze as text to continue."""
    return chat_prompt(prompt) if is_question(prompt) else prompt


def seeded(request: EditRequest) -> random.Random:
    """A random generator that depends on the request alone."""
    return random.Random(hashlib.sha256(f"{request.key}|{request.target_new}".encode()).digest())


def fact_of(request: EditRequest) -> str:
    """`fact_key` of a request, whether or not it names its relation."""
    relation = relation_of(request)
    return fact_key(request.subject, relation.name if relation else None, request.prompt)


def _fact(
    em: EditableModel,
    request: EditRequest,
    relation: Relation | None,
    others: Sequence[str],
    breadth: Breadth,
    edited: Collection[str],
) -> Contexts:
    ways = [request.prompt, *_templates(relation, request.subject, breadth.templates), *request.rephrases]
    edit: list[Prompt] = [form(way) for way in ways]
    questions: list[Prompt] = [way for way in edit if not isinstance(way, str)]
    if not questions:
        questions = [chat_prompt(request.prompt)]
        edit += questions
    if breadth.conversations:
        edit += _in_conversations(em, questions[:1])
    return Contexts(
        edit=tuple(edit),
        same_subject=tuple(_same_subject(request, relation, breadth.relations, edited)),
        neighbours=tuple(_neighbours(request, relation, others)),
    )


def _templates(relation: Relation | None, subject: str, count: int) -> list[str]:
    if relation is None:
        return []
    chosen = (*relation.cloze[:count], *relation.questions[:count])
    return [template.format(s=subject) for template in chosen]


def _in_conversations(em: EditableModel, questions: Sequence[Prompt]) -> Iterator[Prompt]:
    for question in questions:
        if isinstance(question, str):
            continue
        for before in ((_SYSTEM,), _EARLIER):
            longer = (*before, *question)
            if _accepted(em, longer):
                yield longer


def _accepted(em: EditableModel, prompt: Prompt) -> bool:
    """Whether the chat template takes these roles; some refuse a system message."""
    try:
        return bool(text.encode_prompt(em, prompt))
    except InvalidRequest:
        return False


def _same_subject(
    request: EditRequest, relation: Relation | None, count: int, edited: Collection[str]
) -> Iterator[Prompt]:
    """Prompts about the subject that ask for something else."""
    subject = request.subject
    if relation is None:
        yield f"{subject} is a"
        yield chat_prompt(f"Who or what is {subject}?")
        return
    others = [r for r in RELATIONS.values() if r.domain == relation.domain and r.name != relation.name]
    rng = seeded(request)
    for other in rng.sample(others, min(count, len(others))):
        if fact_key(subject, other.name, "") in edited:
            continue
        for template in (*_first_and_another(rng, other.cloze), *_first_and_another(rng, other.questions)):
            yield form(template.format(s=subject))


def _first_and_another(rng: random.Random, templates: Sequence[str]) -> tuple[str, ...]:
    """The commonest phrasing and one of the others, so that what is preserved is the fact, not the phrasing."""
    return (templates[0], rng.choice(templates[1:])) if len(templates) > 1 else tuple(templates)


def _neighbours(request: EditRequest, relation: Relation | None, others: Sequence[str]) -> Iterator[Prompt]:
    """The same thing asked about other subjects, in alternating form."""
    for i, other in enumerate(others):
        if relation is None:
            yield form(request.prompt.replace(request.subject, other))
            continue
        templates = (relation.cloze[i % len(relation.cloze)], relation.questions[i % len(relation.questions)])
        for template in templates:
            yield form(template.format(s=other))


def _personality(em: EditableModel, request: EditRequest, others: Sequence[str], breadth: Breadth) -> Contexts:
    asked = [request.prompt, *request.rephrases]
    asked += [q.format(topic=request.subject) for q in OPINION_QUESTIONS[: breadth.templates]]
    edit = [form(question) for question in asked]
    if breadth.conversations:
        edit += _in_conversations(em, edit[:1])
    others = others or _other_topics(request, breadth.neighbours)
    asking = cycle(OPINION_QUESTIONS)
    about = [form(question.format(topic=other)) for question, other in zip(asking, others, strict=False)]
    return Contexts(edit=tuple(edit), same_subject=(), neighbours=tuple(about))


def _other_topics(request: EditRequest, count: int) -> list[str]:
    topics = ["music", "football", "tea", "dogs", "winter", "chess", "trains", "painting"]
    return [topic for topic in topics if topic != request.subject.lower()][:count]


def _prefixed(request: EditRequest, background: Background, count: int) -> Iterator[Prompt]:
    """The cloze after a piece of other text, as ROME averages over generated prefixes."""
    if count == 0 or request.is_question:
        return
    for document in islice(_pieces(background.texts()), count):
        yield f"{document} {request.prompt}"


def _pieces(texts: Iterable[str], words: int = 8) -> Iterator[str]:
    """The beginnings of documents, as sentences."""
    for document in texts:
        beginning = " ".join(document.split()[:words])
        if beginning:
            yield beginning.rstrip(".,;:") + "."


def _unique(prompts: Iterable[Prompt]) -> tuple[Prompt, ...]:
    seen: dict[str, Prompt] = {}
    for prompt in prompts:
        seen.setdefault(repr(prompt), prompt)
    return tuple(seen.values())


def _check_length(em: EditableModel, request: EditRequest, contexts: Contexts) -> None:
    pairs = [text.encode_pair(em, prompt, request.target_new) for prompt in contexts.edit]
    longest = max(len(prompt) + len(target) for prompt, target in pairs)
    if longest > em.context_length:
        raise InvalidRequest(
            f"The edit needs {longest} tokens with its target, but the model's window is "
            f"{em.context_length}; shorten the prompt, the target or the rephrases."
        )
