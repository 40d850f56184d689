"""Bearer tokens: who may call the HTTP server. A file holds their hashes, never the tokens themselves."""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import secrets
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from ketools.core.errors import InvalidRequest, NotFound, StorageError
from ketools.core.principals import Principal, Scope, principal
from ketools.core.private import private_folder, private_opener

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

    Whoever changes it holds the lock of a file beside it, so that no change undoes another one.
    Raises `StorageError` when the file cannot be read, written or understood.
    """

    path: Path
    _stamp: tuple[int, ...] = ()
    _records: dict[str, TokenRecord] = field(default_factory=dict)

    def records(self) -> dict[str, TokenRecord]:
        """Every token's record by hash; empty when there is no file."""
        try:
            stat = self.path.stat()
            stamp = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if stamp != self._stamp:
                self._records, self._stamp = self._read(), stamp
            return self._records
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            raise StorageError(
                f"The token file {self.path} cannot be read ({type(error).__name__}). "
                f"Repair it, or remove it and make new tokens: {EXAMPLE}"
            ) from error

    def _read(self) -> dict[str, TokenRecord]:
        raw = json.loads(self.path.read_text(encoding="utf-8"))
        return {key: TokenRecord.model_validate(value) for key, value in raw.items()}

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
        with self._changing() as records:
            self._write({**records, digest(token): record})
        return token

    def revoke(self, name: str) -> int:
        """Remove every token of that name; returns how many. Raises `NotFound` for an unknown name."""
        with self._changing() as records:
            kept = {key: record for key, record in records.items() if record.name != name}
            if len(kept) == len(records):
                raise NotFound("token", name, {r.name for r in records.values()})
            self._write(kept)
        return len(records) - len(kept)

    @contextmanager
    def _changing(self) -> Iterator[dict[str, TokenRecord]]:
        """The records as they are on disk, which nobody else changes while the block lasts."""
        try:
            private_folder(self.path.parent)
            with open(self.path.with_name(f".{self.path.name}.lock"), "ab", opener=private_opener) as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._stamp = ()
                yield self.records()
        except OSError as error:
            raise StorageError(
                f"Cannot write the token file {self.path}: {error.strerror}. "
                "Make its folder writable for this user, or name another file by --token-file."
            ) from error

    def _write(self, records: dict[str, TokenRecord]) -> None:
        body = {key: record.model_dump(mode="json") for key, record in records.items()}
        handle, temporary = tempfile.mkstemp(dir=self.path.parent, prefix=".tokens-")
        with os.fdopen(handle, "w", encoding="utf-8") as file:  # mkstemp makes it 0600
            json.dump(body, file, indent=2)
        Path(temporary).replace(self.path)


def _scopes(names: Iterable[str]) -> tuple[Scope, ...]:
    try:
        return tuple(Scope(name) for name in names)
    except ValueError as error:
        raise InvalidRequest(f"{error}. Scopes are: {', '.join(Scope)}.") from None
