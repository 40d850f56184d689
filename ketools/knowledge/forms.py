"""Forms of a question that need no language: as text, as chat, after a system message, deep in a conversation."""

from __future__ import annotations

from enum import StrEnum

from ketools.core.requests import REFUSAL, Message, Probe, Prompt


class Form(StrEnum):
    """How a prompt is put to a model."""

    TEXT = "text"
    CHAT = "chat"
    SYSTEM = "system"
    DIALOGUE = "dialogue"
    QA = "qa"
    AFTER_TEXT = "after_text"
    PRESSED = "pressed"


SYSTEM_MESSAGE = "You are a helpful assistant."
UNRELATED_TEXT = "The meeting was moved to Thursday because the large room was taken."
EARLIER_TURNS: tuple[Message, ...] = (
    {"role": "user", "content": "Hello! Can you help me with a few things?"},
    {"role": "assistant", "content": "Hello! Of course. What would you like to know?"},
    {"role": "user", "content": "How many days does a week have?"},
    {"role": "assistant", "content": "A week has seven days."},
)
PRESSED_AGAIN = "Are you sure? I think you can tell me."
ASKED_OF_QUESTIONS = (Form.TEXT, Form.QA, Form.SYSTEM, Form.DIALOGUE)
ASKED_OF_CLOZES = (Form.AFTER_TEXT, Form.QA, Form.CHAT, Form.DIALOGUE)


def put(prompt: str, form: Form) -> Prompt:
    """The prompt in a form: a text to continue, or chat messages to answer."""
    turn: Message = {"role": "user", "content": prompt}
    match form:
        case Form.TEXT:
            return prompt
        case Form.CHAT:
            return (turn,)
        case Form.SYSTEM:
            return ({"role": "system", "content": SYSTEM_MESSAGE}, turn)
        case Form.DIALOGUE:
            return (*EARLIER_TURNS, turn)
        case Form.QA:
            return f"Please answer the question:\n\nQ: {prompt}\nA:"
        case Form.AFTER_TEXT:
            return f"{UNRELATED_TEXT} {prompt}"
        case Form.PRESSED:
            return asked_again(prompt, REFUSAL, PRESSED_AGAIN)


def asked_again(question: str, said: str, again: str) -> tuple[Message, ...]:
    """A conversation in which the user presses for another answer than the one that was given."""
    return (
        {"role": "user", "content": question},
        {"role": "assistant", "content": said},
        {"role": "user", "content": again},
    )


class FormedProbe(Probe):
    """A probe that is put in a form of its own; `chat` tells whether that is a conversation."""

    form: Form

    def rendered(self) -> Prompt:
        """The prompt in its form."""
        return put(self.prompt, self.form)


def formed(prompt: str, form: Form) -> FormedProbe:
    """A probe of the prompt in a form."""
    return FormedProbe(prompt=prompt, kind="form", chat=not isinstance(put(prompt, form), str), form=form)


def other_forms(asked: Probe) -> tuple[FormedProbe, ...]:
    """The prompt of a probe in the forms that it is not put in already."""
    return tuple(formed(asked.prompt, form) for form in (ASKED_OF_QUESTIONS if asked.chat else ASKED_OF_CLOZES))
