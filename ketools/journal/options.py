"""How a transaction tells the database what it is for."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any

from sqlalchemy import Connection

KEY = "ketools_writing"


class Writing(Enum):
    """A transaction that writes: DURABLE waits for the disk when it commits, LAZY does not."""

    DURABLE = "durable"
    LAZY = "lazy"


def writing(connection: Connection) -> Writing | None:
    """What the transaction on a connection writes; None when it only reads."""
    mode = connection.get_execution_options().get(KEY)
    return mode if isinstance(mode, Writing) else None


def _dumps(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


OPTIONS: dict[str, Any] = {"json_serializer": _dumps}
