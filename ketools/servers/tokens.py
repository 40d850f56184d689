"""Bearer tokens: who may call the HTTP server. A file holds their hashes, never the tokens themselves."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ketools.core.errors import InvalidRequest, NotFound, StorageError
from ketools.core.principals import Principal, Scope, principal

PREFIX = "ket_"
EXAMPLE = "ketools token new --name alice --scopes read,edit --spaces 'user/alice,session/alice/*'"


class TokenRecord(BaseModel):
    """What a token stands for. `sha256` is enough as a hash because a token holds 256 random bits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=60, pattern=r"^[\w.@-]+$")
    scopes: tuple[Scope, ...] = Field(min_length=1)
    spaces: tuple[str, ...] = ()

    def principal(self) -> Principal:
        """The caller that the token authenticates."""
        return principal(self.name, self.scopes, self.spaces)


def digest(token: str) -> str:
    """The hash under which a token is kept: hex SHA-256."""
    return hashlib.sha256(token.encode()).hexdigest()


@dataclass
class TokenFile:
    """A JSON file `{sha256 of a token: {name, scopes, spaces}}`, read again when it changes.

    Raises `StorageError` when the file cannot be read, written or understood.
    """

    path: Path
    _stamp: tuple[int, int] = (0, 0)
    _records: dict[str, TokenRecord] = field(default_factory=dict)

    def records(self) -> dict[str, TokenRecord]:
        """Every token's record by hash; empty when there is no file."""
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            return {}
        stamp = (stat.st_mtime_ns, stat.st_size)
        if stamp != self._stamp:
            self._records, self._stamp = self._read(), stamp
        return self._records

    def _read(self) -> dict[str, TokenRecord]:
        try:
            raw = json.loads(self.path.read_text(encoding="utf-8"))
            return {key: TokenRecord.model_validate(value) for key, value in raw.items()}
        except (OSError, ValueError, AttributeError, ValidationError) as error:
            raise StorageError(
                f"The token file {self.path} cannot be read ({type(error).__name__}). "
                f"Repair it, or remove it and make new tokens: {EXAMPLE}"
            ) from error

    def find(self, token: str) -> TokenRecord | None:
        """The record of a token. Every stored hash is compared, each in constant time."""
        given, found = digest(token), None
        for known, record in self.records().items():
            if hmac.compare_digest(known, given):
                found = record
        return found

    def add(self, name: str, scopes: Iterable[str], spaces: Iterable[str]) -> str:
        """Make a token and return it: the only time that it can be seen."""
        chosen = _scopes(scopes)
        record = TokenRecord(name=name, scopes=chosen, spaces=tuple(spaces))
        token = PREFIX + secrets.token_urlsafe(32)
        self._write({**self.records(), digest(token): record})
        return token

    def revoke(self, name: str) -> int:
        """Remove every token of that name; returns how many. Raises `NotFound` for an unknown name."""
        records = self.records()
        kept = {key: record for key, record in records.items() if record.name != name}
        if len(kept) == len(records):
            raise NotFound("token", name, {r.name for r in records.values()})
        self._write(kept)
        return len(records) - len(kept)

    def _write(self, records: dict[str, TokenRecord]) -> None:
        body = {key: record.model_dump(mode="json") for key, record in records.items()}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self.path.parent, prefix=".tokens-")
            with os.fdopen(handle, "w", encoding="utf-8") as file:  # mkstemp makes it 0600
                json.dump(body, file, indent=2)
            Path(temporary).replace(self.path)
        except OSError as error:
            raise StorageError(f"Cannot write the token file {self.path}: {error.strerror}.") from error


def _scopes(names: Iterable[str]) -> tuple[Scope, ...]:
    try:
        return tuple(Scope(name) for name in names)
    except ValueError as error:
        raise InvalidRequest(f"{error}. Scopes are: {', '.join(Scope)}.") from None
