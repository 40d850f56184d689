"""Confirmation before erasing: ask the person, or take the token that a dry run returned."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mcp.server.mcpserver.resolve import Elicit
from pydantic import BaseModel, Field

LIFETIME = 900.0
"""Seconds for which a confirm token is good."""

_NONCE = 8
"""Hexadecimal digits by which two tokens of one call differ."""

HOW = (
    "Erasing needs a confirmation and this client cannot ask for one. Call erase_fact with dry_run=true, "
    "show the result to the user, then call it again with the confirm_token that it returned."
)


class Confirm(BaseModel):
    """What the person is asked."""

    erase: bool = Field(description="Erase it from what the model knows in this space.")


class Unattended(Confirm):
    """A confirmation that no person gave through the client's form."""

    erase: bool = True


class Approve(BaseModel):
    """What the person is asked about a change that the edit policy wants a person for."""

    approve: bool = Field(description="Let the model learn it.")


@dataclass(frozen=True)
class ConfirmTokens:
    """Signs the arguments of a dry run, so that only exactly these can be confirmed, once, and not for ever.

    `clock`: seconds that no setting of the time of day moves.
    """

    key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    clock: Callable[[], float] = time.monotonic
    _spent: dict[str, int] = field(default_factory=dict, repr=False)

    def make(self, caller: str, arguments: Mapping[str, Any]) -> str:
        """A token for this caller and these arguments."""
        expires = f"{int(self.clock() + LIFETIME):x}{secrets.token_hex(_NONCE // 2)}"
        return f"{expires}.{self._sign(caller, arguments, expires)}"

    def good(self, token: str, caller: str, arguments: Mapping[str, Any]) -> bool:
        """Whether the token was made for this caller and these arguments, has not expired, and was not used before."""
        expires, _, signature = token.partition(".")
        if not hmac.compare_digest(signature.encode(), self._sign(caller, arguments, expires).encode()):
            return False
        now, until = self.clock(), int(expires[:-_NONCE], 16)
        for old in [one for one, end in self._spent.items() if end <= now]:
            del self._spent[old]
        if now >= until or token in self._spent:
            return False
        self._spent[token] = until
        return True

    def _sign(self, caller: str, arguments: Mapping[str, Any], expires: str) -> str:
        what = {key: value for key, value in arguments.items() if key not in ("dry_run", "confirm_token")}
        text = json.dumps([caller, expires, what], sort_keys=True, default=str)
        return hmac.new(self.key, text.encode(), hashlib.sha256).hexdigest()[:32]


def approval(change: str, because: str) -> Elicit[Approve]:
    """The question for the person about a change."""
    return Elicit(f"An agent wants to {change}. You are asked, since {because}. Approve?", Approve)


def question(subject: str, prompt: str, space: str) -> Elicit[Confirm]:
    """The question for the person."""
    return Elicit(f"Erase what the model knows about {subject} ({prompt!r}) in {space}?", Confirm)
