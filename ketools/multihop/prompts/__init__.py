"""The prompts of the multi-hop agents: text files that anybody can replace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ketools.core.errors import InvalidRequest, NotFound

PACKAGED = Path(__file__).parent
NAMES = ("mello", "pokemqa", "decompose", "answer")
"""Each is a file `NAME.txt` with the field {question}; `pokemqa` may also hold {entity}."""

MOST_CHARACTERS = 40_000


@dataclass(frozen=True)
class Prompts:
    """The texts by name."""

    texts: Mapping[str, str]

    def fill(self, name: str, question: str, entity: str = "") -> str:
        """The prompt with the question in it; a line that held only an absent entity line goes."""
        text = self.texts[name]
        if not entity:
            text = text.replace("{entity}\n", "").replace("{entity}", "")
        return text.replace("{entity}", entity).replace("{question}", question)


def packaged_sets() -> tuple[str, ...]:
    """The names of the packaged sets: one for large models, one for the bundled model."""
    return tuple(sorted(path.name for path in PACKAGED.iterdir() if (path / "mello.txt").is_file()))


def load_prompts(source: str | Path = "default", rest: str = "default") -> Prompts:
    """A packaged set by name, or a folder; what a folder lacks is taken from the packaged set `rest`.

    Raises NotFound for an unknown set, InvalidRequest for a file without {question}.
    """
    folder = PACKAGED / source if str(source) in packaged_sets() else Path(source)
    if not folder.is_dir():
        raise NotFound("set of prompts or folder", str(source), packaged_sets())
    texts = {}
    for name in NAMES:
        own = folder / f"{name}.txt"
        texts[name] = _read(own if own.is_file() else PACKAGED / rest / f"{name}.txt")
    return Prompts(texts)


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The prompt {path} cannot be read: {error}.") from error
    if "{question}" not in text or len(text) > MOST_CHARACTERS:
        raise InvalidRequest(
            f"The prompt {path} must hold {{question}} and at most {MOST_CHARACTERS} characters; correct the file."
        )
    return text
