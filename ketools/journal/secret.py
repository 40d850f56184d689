"""The journal's key for hashing: a file of 32 random bytes, readable by its owner only."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from base64 import b64decode, b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ketools.core.errors import StorageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from ketools.core.private import private_folder, private_opener

_SIZE = 32


def load_secret(path: Path, wait_s: float = 0.0) -> bytes:
    """Read the secret. `wait_s`: for how long another opener may be about to put it there. Raises StorageError."""
    deadline = time.monotonic() + wait_s
    while wait_s and not path.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    try:
        secret = path.read_bytes()
    except FileNotFoundError as error:
        raise StorageError(
            f"The journal's secret file {path} is missing, so its edits cannot be matched any more. "
            "Put the file back from a backup, or copy it from a server that has it."
        ) from error
    except OSError as error:
        raise _unusable(path, error) from error
    if len(secret) != _SIZE:
        raise StorageError(f"The journal's secret file {path} is damaged. Put it back from a backup.")
    return secret


def keyed_hash(secret: bytes, text: str) -> str:
    """HMAC-SHA256 in hex: the same text gives the same hash, and without the secret no text can be tried."""
    return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()


def seal(secret: bytes, text: str) -> str:
    """The text, encrypted and authenticated (AES-SIV, RFC 5297), in base64: equal texts give equal seals."""
    return b64encode(_cipher(secret).encrypt(text.encode(), None)).decode()


def unseal(secret: bytes, sealed: str) -> str:
    """The text of `seal`. Raises StorageError when it was changed, or sealed under another secret."""
    from cryptography.exceptions import InvalidTag

    try:
        return _cipher(secret).decrypt(b64decode(sealed, validate=True), None).decode()
    except (InvalidTag, ValueError) as error:
        raise StorageError(
            "What an erasure guards cannot be read: it was changed, or sealed under another journal's secret. "
            "Restore it from a backup, or undo the erasure."
        ) from error


def _cipher(secret: bytes) -> AESSIV:
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV  # slow to import, and seldom needed

    return AESSIV(hmac.new(secret, b"seal", hashlib.sha512).digest())


@dataclass(frozen=True)
class SecretDraft:
    """A new secret under a name that nobody reads, until the journal has written down which one is its own.

    So a secret under its real name always has a journal; where it stands without one, the journal is lost.
    """

    path: Path
    file: Path
    secret: bytes

    @classmethod
    def make(cls, path: Path) -> SecretDraft:
        """A fresh one beside its future place, mode 0600 and on disk. Raises StorageError."""
        draft = cls(path, path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp"), secrets.token_bytes(_SIZE))
        try:
            private_folder(path.parent)
            with open(draft.file, "xb", opener=private_opener) as file:
                file.write(draft.secret)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _unusable(path, error) from error
        return draft

    def settle(self) -> None:
        """Put it in its place, unless another opener has."""
        try:
            self.file.replace(self.path)
        except OSError as error:
            if not self.path.exists():
                raise _unusable(self.path, error) from error

    def discard(self) -> None:
        """Another opener was faster."""
        self.file.unlink(missing_ok=True)


def settle_left(path: Path, check: str, text: str) -> None:
    """Put a draft in its place whose opener died just before: that with which `text` has the hash `check`."""
    for file in path.parent.glob(f".{path.name}.*.tmp"):
        secret = file.read_bytes()
        if len(secret) == _SIZE and hmac.compare_digest(keyed_hash(secret, text), check):
            SecretDraft(path, file, secret).settle()
            return


def _unusable(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"Cannot use the journal's secret file {path}: {error.strerror}. Make it readable for this user."
    )
