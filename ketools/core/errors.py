"""One small hierarchy of errors. Every message says what went wrong and what to do next."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata

_FOLDERS = re.compile(r"(?<![\w.:/])(?:~|[A-Za-z]:)?[/\\](?:[^/\\\n'\":,;()]+[/\\])*(?=[^/\\\s])")
"""The folders of an absolute path, up to its last part."""


def some(shown: Sequence[str], of: int = 0) -> str:
    """Names as a list, which says how many more there are when it stops before the last of `of`."""
    more = f" and {of - len(shown)} more" if of > len(shown) else ""
    return f"{', '.join(shown)}{more}"


class KetoolsError(Exception):
    """Base of every error that ketools raises on purpose; its text may be shown to an agent.

    `which`: the requests of a batch that it is about, counted from 0; none when it is about all, or there is one.
    """

    def __init__(self, *args: object, which: Iterable[int] = ()) -> None:
        super().__init__(*args)
        self.which = tuple(which)

    def told(self) -> str:
        """The message for a caller who is not the operator."""
        return str(self)


class InvalidRequest(KetoolsError):
    """The caller's input is wrong: change it and call again."""


_WHERE = {
    "edit": " list_edits shows those that there are.",
    "job": " The tool that began a job tells its id.",
    "proposal": " list_proposals shows those that wait.",
    "space": " list_spaces shows those that there are.",
}
"""Where to look for names when none are known."""


class NotFound(InvalidRequest):
    """An unknown space, edit, job, method, relation or data set; the message lists near names."""

    def __init__(self, what: str, name: str, known: Iterable[str] = ()) -> None:
        self.what, self.name, self.known = what, name, tuple(known)
        names = sorted(self.known)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        shown = near or names[:12]
        hint = f" Known: {some(shown, len(names) if not near else 0)}." if shown else _WHERE.get(what, "")
        super().__init__(f"There is no {what} named {name!r}.{hint}")

    def among(self, seen: Callable[[str], bool]) -> NotFound:
        """The same error for somebody who may know only some of the names."""
        return NotFound(self.what, self.name, filter(seen, self.known))


class Forbidden(KetoolsError):
    """The principal lacks the scope, or the space belongs to somebody else."""


class ApprovalNeeded(KetoolsError):
    """A person has to approve the change first: nothing was changed. `change` and `because` tell what and why."""

    def __init__(self, message: str, change: str, because: str) -> None:
        super().__init__(message)
        self.change, self.because = change, because


class Conflict(KetoolsError):
    """Somebody else changed the same thing meanwhile: nothing was written; call again."""


class HeadMoved(Conflict):
    """The space got another version meanwhile: what was to be written is looked at again on top of that."""


class Refused(KetoolsError):
    """Verification stayed below the policy's thresholds: nothing was committed."""


class LimitReached(KetoolsError):
    """The principal has as much going on as it may: the message says what to wait for; nothing was begun."""


class Diverged(KetoolsError):
    """An optimisation produced NaN or infinity, or never approached its target: nothing was committed."""


class Cancelled(KetoolsError):
    """The caller cancelled: nothing was committed."""


class _OfTheMachine(KetoolsError):
    """What is the operator's to mend: the message names files, of which others are told the last part alone."""

    def told(self) -> str:
        return _FOLDERS.sub("", str(self))


class ModelError(_OfTheMachine):
    """A model directory cannot be loaded, or its structure is not one that ketools can edit."""


class StorageError(_OfTheMachine):
    """The journal or the artefact store cannot be read or written (locked, corrupt, read-only, full)."""


class StorageUnavailable(StorageError):
    """The database cannot be reached for now: nothing is lost, call again."""


class EngineUnavailable(_OfTheMachine):
    """No serving engine can answer now (unreachable, starting, full): try again after `retry_after_s` seconds."""

    def __init__(self, message: str, retry_after_s: float = 2.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class EngineRefused(_OfTheMachine):
    """The serving engine answers, but cannot serve this: a setting of its own, or the request, is wrong."""


class MissingExtra(KetoolsError):
    """An optional dependency is absent; the message holds the exact install command."""

    def __init__(self, package: str, extra: str, otherwise: str = "") -> None:
        super().__init__(f"{package} is not installed. Run: pip install {requirements(extra)}{otherwise}")


def requirements(extra: str) -> str:
    """What pip is to install for the extra, by this package's own metadata: that works wherever ketools came from."""
    found = [line.split(";") for line in metadata.requires("ketools") or () if f'extra == "{extra}"' in line]
    return " ".join(repr(name.strip()) for name, _ in found) or f"'ketools[{extra}]'"
