"""The uncentred covariance of a linear module's inputs, C = E[k k^T] (ROME, Meng et al. 2022, eq. 2).

C says which directions of the input the model already uses; an update that is small under C leaves the rest
of what the module stores alone.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ketools.errors import InvalidRequest, StorageError
from ketools.layer import BASE
from ketools.models import hooks, text
from ketools.models.background import Background
from ketools.models.editable import EditableModel
from ketools.models.solves import null_space
from ketools.progress import Progress, quiet

_ROWS = 16
_ROW_TOKENS = 192


def covariances(
    em: EditableModel,
    modules: Sequence[str],
    texts: Iterable[str],
    *,
    max_tokens: int = 40_000,
    progress: Progress = quiet,
) -> dict[str, Tensor]:
    """C = E[k k^T] of each module over the tokens of `texts`, `[in, in]` in float64, in one pass over the text.

    `k [in]` is the module's input at one token. Stops after `max_tokens` tokens or at the end of the texts.
    Raises `InvalidRequest` when the texts hold no token, and what `progress` raises.
    """
    totals: dict[str, Tensor] = {}
    count = 0
    for ids, mask in _batches(em, texts):
        for name, keys in _inputs(em, modules, ids, mask).items():
            gram = (keys.T @ keys).double().cpu()
            totals[name] = totals[name] + gram if name in totals else gram
        count += int(mask.sum())
        progress(min(count, max_tokens), max_tokens, f"covariance of {', '.join(modules)}")
        if count >= max_tokens:
            break
    if not totals:
        raise InvalidRequest("There is no text to take the covariance from; give a file with some paragraphs.")
    return {name: total / count for name, total in totals.items()}


def _batches(em: EditableModel, texts: Iterable[str]) -> Iterator[tuple[Tensor, Tensor]]:
    stream = iter(texts)
    while batch := list(islice(stream, _ROWS)):
        rows = [text.encode_prompt(em, document)[:_ROW_TOKENS] for document in batch]
        if rows := [row for row in rows if row]:
            yield text.pad(em, rows)


def _inputs(em: EditableModel, modules: Sequence[str], ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Each module's inputs at the real tokens, `[tokens, in]`."""
    with torch.no_grad(), hooks.capture(em, modules, inputs=True) as seen:
        em.model(input_ids=ids, attention_mask=mask, use_cache=False)
    return {name: values[mask.bool()].float() for name, values in seen.items()}


def sampled_texts(em: EditableModel, *, documents: int = 256, tokens: int = 96, seed: int = 0) -> Iterator[str]:
    """Text written by the model itself at temperature 1, from its first token; the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(0, documents, _ROWS):
        for row in _sample(em, _ROWS, tokens, generator).tolist():
            yield em.tokenizer.decode(row, skip_special_tokens=True)


def _sample(em: EditableModel, rows: int, tokens: int, generator: torch.Generator) -> Tensor:
    """Sampled token ids `[rows, tokens]`, each row after a start token, or a random one if there is none."""
    start = em.tokenizer.bos_token_id
    shape = (rows, 1)
    first = torch.randint(len(em.tokenizer), shape, generator=generator)
    ids = first if start is None else torch.full(shape, start)
    cache, step, out = None, ids.to(em.device), []
    with torch.no_grad():
        for _ in range(tokens):
            result = em.model(input_ids=step, use_cache=True, **{em.cache_name: cache})
            cache = getattr(result, em.cache_name)
            chances = result.logits[:, -1].float().softmax(-1).cpu()
            out.append(torch.multinomial(chances, 1, generator=generator))
            step = out[-1].to(em.device)
    return torch.cat(out, dim=1)


def sampled_background(em: EditableModel) -> Background:
    """The background of a model about which nothing else is known: its own sampled text."""
    return Background(source="sampled-0", texts=lambda: sampled_texts(em))


@dataclass
class CovarianceStore:
    """Covariances of one background, on disk per model hash and module, and their factorisations in memory.

    Thread-safe. `directory` None keeps everything in memory.
    """

    background: Background
    directory: Path | None = None
    max_tokens: int = 40_000
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    _known: dict[str, Tensor] = field(default_factory=dict, repr=False)
    _factors: dict[tuple[str, float], Tensor] = field(default_factory=dict, repr=False)
    _bases: dict[tuple[str, float], Tensor] = field(default_factory=dict, repr=False)

    def prepare(self, em: EditableModel, modules: Sequence[str], progress: Progress = quiet) -> None:
        """Have the covariances of several modules at hand; those that are not known yet take one pass together.

        Raises `StorageError` when they cannot be stored, and what `progress` raises.
        """
        with self._lock:
            missing = [name for name in modules if not self._recall(em, name)]
            if not missing:
                return
            with em.switch.use(BASE):  # what is cached under the model's hash belongs to no space
                texts = self.background.texts()
                computed = covariances(em, missing, texts, max_tokens=self.max_tokens, progress=progress)
            for name, c in computed.items():
                self._known[f"{em.model_hash}/{name}"] = c
                if (path := self._path(em, name)) is not None:
                    _write(path, c)

    def covariance(self, em: EditableModel, module: str, progress: Progress = quiet) -> Tensor:
        """C `[in, in]` in float64, from memory, else from disk, else computed and stored; see `prepare`."""
        with self._lock:
            self.prepare(em, [module], progress)
            return self._known[f"{em.model_hash}/{module}"]

    def factor(self, em: EditableModel, module: str, ridge: float, progress: Progress = quiet) -> Tensor:
        """The Cholesky factor L of C + lambda I, `[in, in]` lower triangular in float64.

        lambda = `ridge` times the mean of C's diagonal.
        """
        key = (f"{em.model_hash}/{module}", ridge)
        with self._lock:
            if key not in self._factors:
                self._factors[key] = cholesky(self.covariance(em, module, progress), ridge)
            return self._factors[key]

    def null_space(self, em: EditableModel, module: str, share: float, progress: Progress = quiet) -> Tensor:
        """The basis `[in, d]` of the directions that hold at most `share` of C's trace; see `solves.null_space`."""
        key = (f"{em.model_hash}/{module}", share)
        with self._lock:
            if key not in self._bases:
                self._bases[key] = null_space(self.covariance(em, module, progress), share)
            return self._bases[key]

    def _recall(self, em: EditableModel, module: str) -> bool:
        """Whether the module's covariance is in memory, where one on disk is brought."""
        key, path = f"{em.model_hash}/{module}", self._path(em, module)
        if key not in self._known and path is not None and (stored := _read(path)) is not None:
            self._known[key] = stored
        return key in self._known

    def _path(self, em: EditableModel, module: str) -> Path | None:
        if self.directory is None:
            return None
        what = hashlib.sha256(f"{self.background.source}|{self.max_tokens}".encode()).hexdigest()[:12]
        return self.directory / em.model_hash / f"{module}-{what}.safetensors"


def cholesky(c: Tensor, ridge: float) -> Tensor:
    """L with L L^T = C + lambda I, lambda = `ridge` * mean(diag C); C `[in, in]` in float64."""
    lam = ridge * c.diagonal().mean().clamp_min(1e-12)
    factor: Tensor = torch.linalg.cholesky(c + lam * torch.eye(len(c), dtype=c.dtype))
    return factor


def _read(path: Path) -> Tensor | None:
    """The stored covariance; None when there is none or the file is damaged (it is then computed again)."""
    if not path.exists():
        return None
    with suppress(SafetensorError, OSError, KeyError):
        stored: Tensor = load_file(path)["covariance"]
        return stored
    return None


def _write(path: Path, c: Tensor) -> None:
    """Write next to the final place, then rename: a reader never sees half a file."""
    temporary = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"covariance": c.contiguous()}, temporary)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StorageError(f"Cannot store the covariance at {path}: {error}. Free space or move the cache.") from error
