"""What is known about a model besides its weights: text it is at home in, and subjects of the same type."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from ketools.core.errors import InvalidRequest
from ketools.core.requests import EditRequest, Prompt
from ketools.knowledge.relations import relation_of


def _no_neighbours(request: EditRequest, count: int) -> Sequence[str]:
    return ()


def _no_prompts() -> Sequence[Prompt]:
    return ()


@dataclass(frozen=True)
class Background:
    """Text for the covariance, and neighbours to preserve.

    `source` names the text in caches; `texts()` yields documents, the same ones at each call.
    `neighbours(request, count)` names at most `count` other subjects for which the request's relation holds;
    none by default. `prompts()`: what the model is asked, about names that it knows and names that it does not; none by
    default.
    """

    source: str
    texts: Callable[[], Iterable[str]]
    neighbours: Callable[[EditRequest, int], Sequence[str]] = _no_neighbours
    prompts: Callable[[], Iterable[Prompt]] = _no_prompts


def background_from_file(path: Path) -> Background:
    """A background whose documents are the blank-line separated paragraphs of a text file.

    Raises `InvalidRequest` when the file cannot be read as UTF-8 or holds no text.
    """
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"Cannot read the text file {path}: {error}. Give a UTF-8 text file.") from error
    if not content.strip():
        raise InvalidRequest(f"The text file {path} is empty; give one with paragraphs of ordinary text.")
    return _background(content, "file")


def packaged_background() -> Background:
    """The background of a model about which nothing else is known: some 60 packaged paragraphs, 6,000 tokens or so.

    Ordinary text of many kinds (articles, news, talk, instructions, stories, code, lists), mostly English, with a
    paragraph in each of ten other languages. A covariance needs no more (arXiv 2506.04226).
    """
    return _background((files("ketools.models") / "data" / "background.txt").read_text(encoding="utf-8"), "prose")


def _background(content: str, kind: str) -> Background:
    paragraphs = [part.strip() for part in content.split("\n\n") if part.strip()]
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    return Background(source=f"{kind}-{digest}", texts=lambda: paragraphs)


def neighbours_from(subjects: Mapping[str, Sequence[str]]) -> Callable[[EditRequest, int], Sequence[str]]:
    """Neighbours drawn from names per domain, always the same ones for a request."""

    def neighbours(request: EditRequest, count: int) -> Sequence[str]:
        relation = relation_of(request)
        named = {request.subject.lower(), request.target_new.lower(), (request.target_old or "").lower()}
        names = [n for n in subjects.get(relation.domain, ()) if n.lower() not in named] if relation else []
        return random.Random(f"neighbours|{request.key}").sample(names, min(count, len(names)))

    return neighbours
