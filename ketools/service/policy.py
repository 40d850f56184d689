"""What an agent may change without a person, and what nobody may change: rules in a JSON file."""

from __future__ import annotations

from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ketools.core.errors import Forbidden, InvalidRequest
from ketools.core.names import as_written, canonical, find, same_name
from ketools.core.principals import Presence, Principal, Scope
from ketools.core.requests import EditRequest, ShortText, build_request
from ketools.core.space_names import ROOT, matches
from ketools.core.text import normalise
from ketools.knowledge.probing import with_relation
from ketools.service.changes import Action, Change

FILE = "edit_policy.json"
"""The name of the policy's file in the home of a service."""
_WILD = frozenset("*?[")


class Decision(StrEnum):
    """What a rule says; of several the strictest holds."""

    ALLOW = "allow"
    ASK = "ask"
    FORBID = "forbid"


_STRICTNESS = list(Decision)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EditRule(_Part):
    """When all conditions that are given hold, `then` decides.

    `spaces`, `subjects`, `methods`: names or patterns with `*` and `?`. `scope`: callers that hold it.
    `more_than`: facts in one call. `longer_than`: characters of a target.
    """

    then: Decision
    spaces: tuple[str, ...] = ("**",)
    actions: tuple[Action, ...] = ()
    scope: Scope | None = None
    subjects: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    more_than: Annotated[int, Field(ge=0)] | None = None
    longer_than: Annotated[int, Field(ge=0)] | None = None

    def applies(self, who: Principal, change: Change) -> bool:
        """Whether the rule is about this change."""
        subjects = [request.subject for request in change.requests]
        longest = max((len(request.target_new) for request in change.requests), default=0)
        return (
            any(matches(change.space, pattern) for pattern in self.spaces)
            and (not self.actions or change.action in self.actions)
            and (self.scope is None or who.may(self.scope))
            and (not self.subjects or any(_is(p, subject) for p in self.subjects for subject in subjects))
            and (not self.methods or any(fnmatchcase(change.method, pattern) for pattern in self.methods))
            and (self.more_than is None or len(change.requests) > self.more_than)
            and (self.longer_than is None or longest > self.longer_than)
        )


class Protected(_Part):
    """A fact that no edit may touch: everything about a subject, a prompt, or what the prompt asks of the subject."""

    subject: ShortText | None = None
    prompt: Annotated[str, Field(min_length=1, max_length=2000)] | None = None

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if self.subject is None and self.prompt is None:
            raise ValueError("name a subject, a prompt or both")
        if self.subject is not None and self.prompt is not None and as_written(self.subject, self.prompt) is None:
            raise ValueError(f"the prompt {self.prompt!r} does not name the subject {self.subject!r}")
        return self

    @property
    def told(self) -> str:
        """What is protected, in words."""
        return repr(self.prompt or self.subject)

    def touched_by(self, request: EditRequest) -> bool:
        """Whether an edit would change it."""
        asked = (request.prompt, *request.rephrases)
        if self.prompt is None:
            return any(_names(self.subject or "", text) for text in (request.subject, *asked))
        same = any(_is(self.prompt, text) for text in asked)
        return same or (self.subject is not None and self._key() == with_relation(request).key)

    def _key(self) -> str:
        return with_relation(build_request(subject=self.subject, prompt=self.prompt, target_new="x")).key


class EditPolicy(_Part):
    """Rules for agents, the first that applies decides; else they may. `suspicious`: about what looks like an attack.

    `protected` binds people too.
    """

    rules: tuple[EditRule, ...] = (EditRule(then=Decision.ASK, spaces=(ROOT,)),)
    suspicious: Decision = Decision.ASK
    protected: tuple[Protected, ...] = ()

    def decide(self, who: Principal, change: Change) -> tuple[Decision, str]:
        """What holds for this change, and why. Raises `Forbidden` for a protected fact."""
        for one in self.protected:
            if any(one.touched_by(request) for request in change.requests):
                raise Forbidden(f"{one.told} is protected by the operator's edit policy: nothing was changed.")
        if who.presence is Presence.PERSON:
            return Decision.ALLOW, ""
        rule = next((rule.then for rule in self.rules if rule.applies(who, change)), Decision.ALLOW)
        found = change.suspicions
        because = f"it contains {', '.join(found)}" if found else f"the edit policy wants it for {change.space}"
        return max(rule, self.suspicious if found else Decision.ALLOW, key=_STRICTNESS.index), because


def load_policy(path: Path) -> EditPolicy:
    """The policy in a file, the default one where there is no file. Raises `InvalidRequest` for a wrong file."""
    try:
        return EditPolicy.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return EditPolicy()
    except (OSError, ValidationError) as error:
        told = error.strerror if isinstance(error, OSError) else _problems(error)
        raise InvalidRequest(f"The edit policy {path} cannot be used: {told}. Correct it, or remove it.") from None


def _problems(error: ValidationError) -> str:
    rows = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, row['loc'])) or 'file'}: {row['msg']}" for row in rows)


def _is(pattern: str, text: str) -> bool:
    """Whether a text is what a pattern means, whatever its typography."""
    if _WILD.intersection(pattern):
        return fnmatchcase(normalise(text), normalise(pattern))
    return same_name(text, pattern)


def _names(pattern: str, text: str) -> bool:
    """Whether a text names what a pattern means."""
    if _WILD.intersection(pattern):
        words = canonical(text).split()
        parts = [" ".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1)]
        return any(fnmatchcase(part, normalise(pattern)) for part in parts)
    return bool(find(pattern, text))
