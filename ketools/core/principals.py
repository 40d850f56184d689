"""Who may do what, where: a principal has scopes and owns spaces."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from ketools.core.errors import Forbidden


class Scope(StrEnum):
    """What a bearer token allows."""

    READ = "read"
    EDIT = "edit"
    ERASE = "erase"
    ADMIN = "admin"
    SPACES = "spaces"
    """Lists the tools of that set too."""
    LAB = "lab"
    """Lists the tools of that set too."""


_PATTERN = frozenset("*?[")
_USER = re.compile(r"[a-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller. `spaces` are names or patterns (`session/*`) that it owns.

    `global` may be read by everyone, since every chain starts there; writing to it needs ownership.
    """

    name: str
    scopes: frozenset[Scope]
    spaces: tuple[str, ...]

    def owns(self, space: str) -> bool:
        """Whether the space is this principal's to change; an admin owns all."""
        return Scope.ADMIN in self.scopes or any(fnmatch.fnmatchcase(space, p) for p in self.spaces)

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
        """Raise `Forbidden` unless this principal holds the scope and may use the space for it."""
        if scope not in self.scopes and Scope.ADMIN not in self.scopes:
            raise Forbidden(f"{self.name} lacks the scope {scope!r}; ask the operator for a token with it.")
        if not self.owns(space) and not (scope is Scope.READ and space == "global"):
            own = ", ".join(self.spaces) or "none"
            raise Forbidden(f"The space {space!r} is not {self.name}'s. Spaces of {self.name}: {own}.")


def principal(name: str, scopes: Iterable[str], spaces: Iterable[str]) -> Principal:
    """A principal from plain strings, as a token file holds them. Raises ValueError on an unknown scope."""
    return Principal(name, frozenset(Scope(s) for s in scopes), tuple(spaces))


OPERATOR = Principal("operator", frozenset(Scope), ("user/local", "*"))
"""The local user of a process that talks over stdio or runs in-process: everything is theirs."""
