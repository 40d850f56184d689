"""Who may do what, where: a principal has scopes and owns spaces."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from ketools.core.errors import Forbidden
from ketools.core.space_names import ROOT, check_space_name, matches, parent_of, spells_out


class Scope(StrEnum):
    """What a bearer token allows."""

    READ = "read"
    EDIT = "edit"
    ERASE = "erase"
    ADMIN = "admin"
    APPROVE = "approve"
    """Lets an agent decide about changes that somebody else's agent asked for; `admin` does not imply it."""
    SPACES = "spaces"
    """Lists the tools of that set too."""
    LAB = "lab"
    """Lists the tools of that set too."""


class Presence(StrEnum):
    """Whether a person stands behind a call."""

    PERSON = "person"
    AGENT = "agent"
    ASKABLE = "askable"
    """An agent whose client can ask its user."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """By whom a change is, through which client, and why. `client` is empty for the command line and for code."""

    principal: str
    client: str = ""
    why: str = ""


_PATTERN = frozenset("*?[")
_USER = re.compile(r"[a-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller. `spaces` are names or patterns that it owns: `*` stops at `/`, `**` does not.

    `global` may be read by everyone, since every chain starts there; writing to it needs ownership.
    `client`: the program that calls, where that is not ketools itself.
    """

    name: str
    scopes: frozenset[Scope]
    spaces: tuple[str, ...]
    presence: Presence = Presence.PERSON
    client: str = ""

    def may(self, scope: Scope) -> bool:
        """Whether the principal holds a scope; an admin holds all but `approve`, which must be given."""
        return scope in self.scopes or (Scope.ADMIN in self.scopes and scope is not Scope.APPROVE)

    def by(self, why: str = "") -> Provenance:
        """Who a change of this caller is by."""
        return Provenance(self.name, self.client, why)

    def approves(self, asker: str) -> bool:
        """Whether the principal may decide about what somebody's agent asked for.

        A person may. An agent needs the scope itself, and never decides about its own.
        """
        return self.presence is Presence.PERSON or (Scope.APPROVE in self.scopes and self.name != asker)

    def owns(self, space: str) -> bool:
        """Whether the space is this principal's to change; an admin owns all.

        A space under somebody's own one (`session/bob/1` under `user/bob`) shows that one too. So a pattern grants
        it only when it spells the owner out, or grants the owner's space as well.
        """
        return Scope.ADMIN in self.scopes or any(self._grants(pattern, space) for pattern in self.spaces)

    def _grants(self, pattern: str, space: str) -> bool:
        if not matches(space, pattern):
            return False
        above = parent_of(space)
        return above == ROOT or spells_out(pattern, 2) or any(matches(above, other) for other in self.spaces)

    def reads(self, space: str) -> bool:
        """Whether the principal may look into the space: its own, and what everybody sees."""
        return space == ROOT or self.owns(space)

    @property
    def home(self) -> str:
        """The space that a call means when it names none: the first of its own that is no pattern, else `user/NAME`.

        Never `global`, which is everyone's and must be said. Raises `Forbidden` where there is no such space.
        """
        for space in self.spaces:
            if space != "global" and not _PATTERN.intersection(space):
                return space
        mine = f"user/{self.name}"
        if _USER.fullmatch(self.name) and self.owns(mine):
            return mine
        raise Forbidden(
            f"{self.name} has no space of its own that a call could mean without saying so: name the space, "
            f"one of {', '.join(dict.fromkeys((*self.spaces, 'global')))}."
        )

    def lives_in(self, space: str) -> bool:
        """Whether this is the space that a call means when it names none."""
        try:
            return self.home == space
        except Forbidden:
            return False

    def require(self, scope: Scope, space: str) -> None:
        """Raise `Forbidden` unless this principal holds the scope and may use the space for it.

        Raises `InvalidRequest` first for what is no name of a space.
        """
        check_space_name(space)
        self.require_scope(scope)
        if not self.owns(space) and not (scope is Scope.READ and space == ROOT):
            own = ", ".join(self.spaces) or "none"
            raise Forbidden(f"The space {space!r} is not {self.name}'s. Spaces of {self.name}: {own}.")

    def require_scope(self, scope: Scope) -> None:
        """Raise `Forbidden` unless this principal holds the scope."""
        if not self.may(scope):
            raise Forbidden(f"{self.name} lacks the scope {scope.value!r}; ask the operator for a token with it.")


def principal(name: str, scopes: Iterable[str], spaces: Iterable[str]) -> Principal:
    """A principal from plain strings, as a token file holds them. Raises ValueError on an unknown scope."""
    return Principal(name, frozenset(Scope(s) for s in scopes), tuple(spaces))


def agent_of(who: Principal, client: str, askable: bool = False) -> Principal:
    """The same caller as an agent that runs in a client; `askable`: whether the client can ask its user."""
    return replace(who, presence=Presence.ASKABLE if askable else Presence.AGENT, client=client)


OPERATOR = Principal("operator", frozenset(Scope) - {Scope.APPROVE}, ("user/local", "**"))
"""The local user of a process that talks over stdio or runs in-process: everything is theirs."""
