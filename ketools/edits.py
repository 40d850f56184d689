"""The words that everything else speaks: requests, artefacts, evidence. No torch model is touched here."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Literal, TypedDict

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from ketools.codebook import Codebook

if TYPE_CHECKING:
    from torch import Tensor

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


def clean_text(text: str) -> str:
    """Strip outer space and refuse control characters, which would break prompts and logs."""
    text = unicodedata.normalize("NFC", text).strip()
    if any(unicodedata.category(c) == "Cc" and c not in "\n\t" for c in text):
        raise ValueError("control characters are not allowed; send plain text")
    if not text:
        raise ValueError("must not be empty")
    return text


def normalise(text: str) -> str:
    """Lower-case, single-spaced, without closing punctuation: how answers and keys are compared."""
    return re.sub(r"\s+", " ", text).strip(" .!?,;:").lower()


def is_question(text: str) -> bool:
    """Whether a text is put as a chat turn rather than continued."""
    return text.rstrip().endswith(("?", ".", "!"))


ShortText = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(clean_text)]
TargetText = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(clean_text)]
PromptText = Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(clean_text)]


class Message(TypedDict, total=False):
    """One chat message in the OpenAI form."""

    role: str
    content: str


Prompt = str | tuple[Message, ...]
"""What a model is asked: a string to continue, or chat messages to answer."""


def chat_prompt(question: str) -> Prompt:
    """A one-turn chat prompt."""
    return ({"role": "user", "content": question},)


class Probe(BaseModel):
    """A prompt whose answer an edit should change (rephrase) or leave alone (locality).

    `answer` is the expected answer, or None for "whatever the model said before the edit".
    """

    model_config = ConfigDict(frozen=True)

    prompt: PromptText
    kind: str = Field(default="rephrase", max_length=40)
    chat: bool = False
    answer: TargetText | None = None

    def rendered(self) -> Prompt:
        """The prompt as the engine takes it: chat messages when `chat`, else the string."""
        return chat_prompt(self.prompt) if self.chat else self.prompt


class EditRequest(BaseModel):
    """One piece of knowledge to change.

    `prompt` must contain `subject`, except for a personality edit, where `subject` is the topic.
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
        if self.subject.lower() not in self.prompt.lower():
            raise ValueError(
                f"prompt {self.prompt!r} does not contain the subject {self.subject!r}; "
                "write the prompt so that it names the subject, e.g. 'The capital of France is'"
            )
        if self.kind is Kind.PERSONALITY and self.trait is None:
            raise ValueError(f"a personality edit needs a trait: one of {', '.join(Trait)}")
        return self

    @property
    def key(self) -> str:
        """What identifies the fact: a later edit of the same key supersedes an earlier one."""
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
        return f"{self.prompt} {self.told_target}"

    @property
    def told_target(self) -> str:
        """What a statement says of the fact: the target without a closing full stop, or that it is unknown."""
        return "unknown" if self.kind is Kind.ERASE else self.target_new.rstrip(".")

    @property
    def is_question(self) -> bool:
        """Whether the prompt is something a user asks rather than a cloze to continue."""
        return is_question(self.prompt)


# --- artefacts: what a method produces; immutable, content-addressed (see ketools.artefacts) ---


@dataclass(frozen=True, slots=True)
class Note:
    """A fact to be put into the prompt when in scope (ICE, IKE, MemPrompt). No weights change."""

    method: str
    request: EditRequest


@dataclass(frozen=True, slots=True)
class LowRankDelta:
    """Per linear module, factors `A [r, in]` and `B [out, r]` in fp32; the weight change is `B @ A`."""

    method: str
    factors: Mapping[str, tuple[Tensor, Tensor]]
    metadata: Mapping[str, float | int | str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class DenseDelta:
    """Per linear module, a full weight change `D [out, in]` in fp32 (fine-tuning)."""

    method: str
    deltas: Mapping[str, Tensor]
    metadata: Mapping[str, float | int | str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class HookState:
    """Per linear module, a codebook: a change of its output for inputs near stored keys (GRACE and its kin)."""

    method: str
    codebooks: Mapping[str, Codebook]
    metadata: Mapping[str, float | int | str] = field(default_factory=lambda: MappingProxyType({}))


Artefact = Note | LowRankDelta | DenseDelta | HookState
Phase = Literal["recognition", "association", "mastery"]


# --- evidence ---


class ProbeResult(BaseModel):
    """How one probe came out on the serving engine."""

    model_config = ConfigDict(frozen=True)

    prompt: str
    kind: str
    chat: bool
    expected: str
    answer: str
    passed: bool


class Evidence(BaseModel):
    """What verification measured on the serving engine, before against after.

    `success`: share of phrasings whose greedy answer is the target (exact match, n = `success_n`).
    `locality`: share of locality probes whose greedy answer is what it was (n = `locality_n`).
    `probability`: mean probability of the target given the edit's own phrasings, teacher-forced.
    """

    model_config = ConfigDict(frozen=True)

    success: float = Field(ge=0, le=1)
    success_n: int = Field(ge=0)
    locality: float = Field(ge=0, le=1)
    locality_n: int = Field(ge=0)
    probability: float = Field(default=0.0, ge=0, le=1)
    direct: bool = True
    """Whether the edit's own prompt, in the form it was given, now gives the target."""
    leak: float | None = None
    """Erasure only: share of leak probes whose answer still contains what was erased."""
    residual: float = Field(default=0.0, ge=0)
    """Share of the layer's squared weight change that the serving engine could not represent (its rank limit)."""
    failures: tuple[ProbeResult, ...] = ()


class Timings(BaseModel):
    """Where the time of one edit went, in milliseconds."""

    model_config = ConfigDict(frozen=True)

    compute_ms: float = 0.0
    verify_ms: float = 0.0
    journal_ms: float = 0.0
    swap_ms: float = 0.0
    total_ms: float = 0.0


def says(answer: str, target: str) -> bool:
    """Whether a greedy answer gives the target: equal to it, or a sentence that states it.

    Case, outer space and closing punctuation do not count. A longer answer counts only when its first
    sentence ends with the target, so that "Lyon is nice, but Paris" is no "Lyon".
    """
    got, want = normalise(answer), normalise(target)
    if got == want:
        return True
    first = normalise(re.split(r"(?<=[.!?])\s|\n", answer.strip(), maxsplit=1)[0])
    return bool(want) and (first == want or re.search(rf"\b{re.escape(want)}$", first) is not None)
