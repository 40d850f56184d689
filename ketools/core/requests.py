"""What is asked of ketools: prompts, probes and edit requests."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, TypedDict

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from ketools.core.errors import InvalidRequest
from ketools.core.names import as_written, canonical
from ketools.core.questions import is_question
from ketools.core.text import clean_text, gap, normalise

REFUSAL = "I don't know."


class Kind(StrEnum):
    """What an edit does to the model's knowledge (survey, section 3.1)."""

    INSERT = "insert"
    MODIFY = "modify"
    ERASE = "erase"
    PERSONALITY = "personality"


FACTS = frozenset((Kind.INSERT, Kind.MODIFY))
"""The kinds that tell the model a fact."""


class Trait(StrEnum):
    """A manner of speaking: three of the Big Five (PersonalityEdit) and two sentiments (ConvSent)."""

    EXTRAVERSION = "extraversion"
    AGREEABLENESS = "agreeableness"
    NEUROTICISM = "neuroticism"
    POSITIVE = "positive"
    NEGATIVE = "negative"


ShortText = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(clean_text)]


TargetText = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(clean_text)]


PromptText = Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(clean_text)]


_TEXT_PARTS = ("text", "input_text", "output_text")


class Message(TypedDict, total=False):
    """One chat message in the OpenAI form."""

    role: str
    content: str


def plain_text(content: object) -> str:
    """What a message says: a string, or the text parts of a list, a line each; "" for nothing.

    Raises `InvalidRequest` for a part that is no text, such as an image.
    """
    if content is None or isinstance(content, str):
        return content or ""
    if isinstance(content, list | tuple):
        return "\n".join(map(_part_text, content))
    raise InvalidRequest(f"The content of a message is a text or a list of text parts, not {type(content).__name__}.")


def _part_text(part: object) -> str:
    text = part.get("text") if isinstance(part, Mapping) else part
    kind = str(part.get("type", "text")) if isinstance(part, Mapping) else "text"
    if kind in _TEXT_PARTS and isinstance(text, str):
        return text
    raise InvalidRequest(f"The served model reads text alone: a message has a part of type {kind!r}. Leave it out.")


Prompt = str | tuple[Message, ...]
"""What a model is asked: a string to continue, or chat messages to answer."""


def chat_prompt(question: str) -> Prompt:
    """A one-turn chat prompt."""
    return ({"role": "user", "content": question},)


class Probe(BaseModel):
    """A prompt whose answer an edit should change (rephrase) or leave alone (locality).

    `answer` is the expected answer, or None for "whatever the model said before the edit".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: PromptText
    kind: str = Field(default="rephrase", max_length=40)
    chat: bool = False
    answer: TargetText | None = None

    @property
    def beginning(self) -> str | None:
        """How the greedy answer begins as long as nothing has changed; None where that is not known."""
        return self.answer

    def rendered(self) -> Prompt:
        """The prompt as the engine takes it: chat messages when `chat`, else the string."""
        return chat_prompt(self.prompt) if self.chat else self.prompt


def fact_key(subject: str, relation: str | None, prompt: str) -> str:
    """What is asked, in one spelling: the subject and its relation, or the whole prompt where none is known."""
    return f"{canonical(subject)}|{relation}" if relation else f"|{canonical(prompt)}"


class EditRequest(BaseModel):
    """One piece of knowledge to change.

    `prompt` must name `subject` (a personality edit's topic), in whatever typography: the subject then takes the
    prompt's spelling, without quotation marks and closing punctuation.
    `implied`: what follows from the fact, each with its answer, for methods that can be taught it; never stored.
    Raises pydantic.ValidationError naming the field that is out of bounds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind = Kind.MODIFY
    subject: ShortText
    prompt: PromptText
    target_new: TargetText
    target_old: TargetText | None = None
    relation: Annotated[str, Field(max_length=60)] | None = None
    trait: Trait | None = None
    rephrases: tuple[PromptText, ...] = Field(default=(), max_length=32)
    probes: tuple[Probe, ...] = Field(default=(), max_length=64)
    implied: tuple[Probe, ...] = Field(default=(), max_length=64, exclude=True, repr=False)

    @model_validator(mode="after")
    def _consistent(self) -> EditRequest:
        written = as_written(self.subject, self.prompt)
        if written is None:
            raise ValueError(
                f"prompt {self.prompt!r} does not contain the subject {self.subject!r}; "
                "write the prompt so that it names the subject, e.g. 'The capital of France is'"
            )
        object.__setattr__(self, "subject", written)
        if self.kind is Kind.PERSONALITY and self.trait is None:
            raise ValueError(f"a personality edit needs a trait: one of {', '.join(Trait)}")
        return self

    @property
    def key(self) -> str:
        """What identifies the fact, whatever its typography: a later edit of the same key supersedes an earlier one.

        The subject with the relation where that is known, else the prompt alone: it tells more than the subject.
        """
        return fact_key(self.subject, "personality" if self.kind is Kind.PERSONALITY else self.relation, self.prompt)

    @property
    def first_key(self) -> str:
        """The key by the rule of journals of before (`EditRecord.key_rule` 1), which took the subject as typed."""
        what = "personality" if self.kind is Kind.PERSONALITY else self.relation or normalise(self.prompt)
        return f"{normalise(self.subject)}|{what}"

    @property
    def sentence(self) -> str:
        """The edit as a statement, as ICE puts it into a prompt (without a closing full stop)."""
        if self.kind is Kind.PERSONALITY:
            if self.trait in (Trait.POSITIVE, Trait.NEGATIVE):
                return f"you feel {self.trait} about {self.subject}"
            return f"you show {self.trait} when asked about {self.subject}"
        if self.is_question:
            return f"the answer to '{self.prompt}' is {self.told_target}"
        return f"{self.prompt}{gap(self.prompt)}{self.told_target}"

    @property
    def told_target(self) -> str:
        """What a statement says of the fact: the target without a closing full stop, or that it is unknown."""
        return "unknown" if self.kind is Kind.ERASE else self.target_new.rstrip(".")

    @property
    def is_question(self) -> bool:
        """Whether the prompt is something a user asks rather than a cloze to continue."""
        return is_question(self.prompt)


def build_request(**fields: Any) -> EditRequest:
    """An EditRequest from plain values. Raises InvalidRequest naming each field that is wrong."""
    try:
        return EditRequest(**fields)
    except ValidationError as error:
        raise InvalidRequest("; ".join(map(_problem, error.errors()))) from None


def _problem(found: Any) -> str:
    """A validation error as a sentence: its field, unless the whole request is meant, and what is wrong."""
    place, told = ".".join(map(str, found["loc"])), found["msg"].removeprefix("Value error, ")
    return f"{place}: {told}" if place else told
