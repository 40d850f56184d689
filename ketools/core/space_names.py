"""Names of spaces (`global`, `user/alice`, `session/42`) and the patterns that grant them."""

from __future__ import annotations

import re
from functools import lru_cache

from ketools.core.errors import InvalidRequest

ROOT = "global"
MAX_NAME = 120
_NAME = re.compile(r"[a-z0-9._-]+(/[a-z0-9._-]+)*")
_WILD = re.compile(r"\*\*|\*|\?")


def check_space_name(name: str) -> str:
    """The name, if it is one. Raises InvalidRequest."""
    if len(name) > MAX_NAME or not _NAME.fullmatch(name) or any(part in (".", "..") for part in name.split("/")):
        raise InvalidRequest(
            f"{name[:130]!r} is not a space name. Use at most {MAX_NAME} of a-z, 0-9, '.', '_', '-', "
            "in segments separated by '/', e.g. 'user/alice'."
        )
    return name


def parent_of(name: str) -> str:
    """Under which space a self-made one stands: `session/alice/42` under `user/alice`, every other under `global`."""
    parts = name.split("/")
    return f"user/{parts[1]}" if parts[0] == "session" and len(parts) > 2 else ROOT


def matches(name: str, pattern: str) -> bool:
    """Whether a pattern grants a space: `*` and `?` stop at `/`, `**` does not; all else is literal."""
    return _compiled(pattern).fullmatch(name) is not None


def spells_out(pattern: str, segments: int) -> bool:
    """Whether the first segments of a pattern are literal, so that who wrote it named what they name."""
    parts = pattern.split("/")
    return len(parts) >= segments and not _WILD.search("/".join(parts[:segments]))


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    wild = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    pieces = re.split(f"({_WILD.pattern})", pattern)
    return re.compile("".join(wild[piece] if piece in wild else re.escape(piece) for piece in pieces))
