"""Where the server is that keeps the shared space's changes in its weights, so that other processes can tell.

It dies with the process that started it, which follows the journal; so while it answers, whoever writes the journal
need not tell it.
"""

from __future__ import annotations

import json
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from ketools.core.errors import EngineUnavailable

FILE = "in_place.json"
TIMEOUT_S = 5.0


def note_server(home: Path, url: str) -> None:
    """Note the address of the server that keeps changes in place for a home."""
    home.mkdir(parents=True, exist_ok=True)
    (home / FILE).write_text(json.dumps({"url": url}), encoding="utf-8")


def require_server(home: Path) -> None:
    """Raise `EngineUnavailable` unless the server of a home answers."""
    try:
        url = json.loads((home / FILE).read_text(encoding="utf-8"))["url"]
        with urlopen(f"{url}/health", timeout=TIMEOUT_S):
            return
    except (OSError, ValueError, KeyError, TypeError, URLError, HTTPException):
        raise EngineUnavailable(
            "The global space's changes are kept in a server's weights (in_place), and no server answers that would "
            "follow. Start `ketools serve`, or unset KETOOLS_IN_PLACE, and call again."
        ) from None
