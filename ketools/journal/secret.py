"""The journal's key for hashing: a file of 32 random bytes, readable by its owner only."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from ketools.core.errors import StorageError


def load_secret(path: Path, *, create: bool) -> bytes:
    """Read the secret, or make it (mode 0600, atomically) when `create`. Raises StorageError."""
    try:
        if create and not path.exists():
            _create(path)
        secret = path.read_bytes()
    except FileNotFoundError as error:
        raise StorageError(
            f"The journal's secret file {path} is missing, so its edits cannot be matched any more. "
            "Put the file back from a backup, or copy it from a server that has it."
        ) from error
    except OSError as error:
        raise StorageError(
            f"Cannot use the journal's secret file {path}: {error.strerror}. Make it readable for this user."
        ) from error
    if len(secret) != 32:
        raise StorageError(f"The journal's secret file {path} is damaged. Put it back from a backup.")
    return secret


def keyed_hash(secret: bytes, text: str) -> str:
    """HMAC-SHA256 in hex: the same text gives the same hash, and without the secret no text can be tried."""
    return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()


def _create(path: Path) -> None:
    """Of two processes that create it at once, one wins and both then read the same bytes."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(32))
            file.flush()
            os.fsync(file.fileno())
        os.link(part, path)
    except FileExistsError:
        pass
    finally:
        part.unlink(missing_ok=True)
