"""A change that somebody asks for, as the edit policy judges it and as a proposal keeps it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ketools.core.requests import EditRequest, Kind
from ketools.knowledge.suspicion import suspicions

Action = Literal["insert", "modify", "erase", "personality", "undo", "restore"]


@dataclass(frozen=True)
class Change:
    """Edits by a method, or an undo or a restore. `options`: the arguments with which it is carried out."""

    action: Action
    space: str
    method: str = ""
    requests: tuple[EditRequest, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def texts(self) -> Iterator[str]:
        """What callers wrote that a model will read or be trained on."""
        for request in self.requests:
            yield from texts_of(request)

    @property
    def suspicions(self) -> tuple[str, ...]:
        """What in it looks like an attack."""
        return suspicions(self.texts)

    def told(self) -> str:
        """The change in words."""
        if self.action == "undo":
            return f"undo {self.options['edit_id']} in {self.space}"
        if self.action == "restore":
            return f"set {self.space} back to version {self.options['version']}"
        if self.action == "erase":  # whose text goes into no message
            return f"erase a fact in {self.space}"
        more = f" and {len(self.requests) - 1} more" if len(self.requests) > 1 else ""
        return f"{self.action} in {self.space}: {self.requests[0].sentence}{more}"

    def stored(self) -> dict[str, Any]:
        """The change as JSON; `read` is its inverse."""
        requests = [request.model_dump(mode="json") for request in self.requests]
        return {"action": self.action, "method": self.method, "requests": requests, "options": dict(self.options)}

    @classmethod
    def read(cls, space: str, stored: Mapping[str, Any]) -> Change:
        """The change that was stored."""
        requests = tuple(EditRequest.model_validate(request) for request in stored["requests"])
        return cls(stored["action"], space, stored["method"], requests, stored["options"])


def texts_of(request: EditRequest) -> tuple[str, ...]:
    """What a caller wrote in a request that a model will read or be trained on."""
    written = () if request.kind is Kind.PERSONALITY else (request.target_new,)
    return (request.subject, request.prompt, *written, *request.rephrases)


def edits_of(space: str, method: str, requests: tuple[EditRequest, ...], apply_valid: bool) -> Change:
    """The change that edits make; `requests` are of one kind."""
    action: Action = requests[0].kind.value
    return Change(action, space, method, requests, {"apply_valid": apply_valid})
