"""The uncentred covariance of a linear module's inputs, C = E[k k^T] (ROME, Meng et al. 2022, eq. 2).

C says which directions of the input the model already uses; an update that is small under C leaves the rest
of what the module stores alone. Where a model recalls facts at the prompt's end, the keys that matter are those there:
they can be counted by themselves.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from ketools.core.errors import InvalidRequest
from ketools.core.progress import Progress, quiet
from ketools.core.requests import Prompt
from ketools.layers.composition import BASE
from ketools.models import hooks, text
from ketools.models.background import Background
from ketools.models.editable import EditableModel
from ketools.models.solves import null_space, square_root
from ketools.models.tensor_files import read_tensors, write_tensors

_ROWS = 16
_PROMPTS = 64
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
    batches = ((ids, mask, mask.bool()) for ids, mask in _batches(em, texts))
    found = _means(em, modules, batches, max_tokens, progress)
    if not found:
        raise InvalidRequest("There is no text to take the covariance from; give a file with some paragraphs.")
    return found


def covariances_at_ends(
    em: EditableModel, modules: Sequence[str], prompts: Iterable[Prompt], *, progress: Progress = quiet
) -> dict[str, Tensor]:
    """E[k k^T] of each module at the last tokens of prompts, as `covariances`; zero where there are none.

    Raises what `progress` raises.
    """
    rows = sorted((text.encode_prompt(em, prompt) for prompt in prompts), key=len)
    found = _means(em, modules, _ends(em, rows), max(len(rows), 1), progress)
    widths = {name: em.structure.linear_names[name][0] for name in modules}
    return found or {name: torch.zeros(width, width, dtype=torch.float64) for name, width in widths.items()}


def _ends(em: EditableModel, rows: Sequence[list[int]]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    for start in range(0, len(rows), _PROMPTS):
        ids, mask = text.pad(em, rows[start : start + _PROMPTS])
        yield ids, mask, torch.nn.functional.one_hot(mask.sum(1) - 1, ids.shape[1]).bool()


def _means(
    em: EditableModel,
    modules: Sequence[str],
    batches: Iterable[tuple[Tensor, Tensor, Tensor]],
    most: int,
    progress: Progress,
) -> dict[str, Tensor]:
    """E[k k^T] over the wanted tokens of batches `(ids, mask, wanted)`, each `[n, t]`, until there were `most`."""
    totals: dict[str, Tensor] = {}
    count = 0
    for ids, mask, wanted in batches:
        for name, keys in _inputs(em, modules, ids, mask, wanted).items():
            gram = (keys.T @ keys).double().cpu()
            totals[name] = totals[name] + gram if name in totals else gram
        count += int(wanted.sum())
        progress(min(count, most), most, f"covariance of {', '.join(modules)}")
        if count >= most:
            break
    return {name: total / count for name, total in totals.items()}


def _batches(em: EditableModel, texts: Iterable[str]) -> Iterator[tuple[Tensor, Tensor]]:
    stream = iter(texts)
    while batch := list(islice(stream, _ROWS)):
        rows = [text.encode_document(em, document)[:_ROW_TOKENS] for document in batch]
        if rows := [row for row in rows if row]:
            yield text.pad(em, rows)


def _inputs(em: EditableModel, modules: Sequence[str], ids: Tensor, mask: Tensor, wanted: Tensor) -> dict[str, Tensor]:
    """Each module's inputs at the wanted tokens, `[tokens, in]`."""
    seeing = hooks.capture(em, modules, inputs=True)
    with torch.no_grad(), seeing as seen, hooks.only_until(em, modules):
        em.model(input_ids=ids, attention_mask=mask, use_cache=False)
    return {name: values[wanted].float() for name, values in seen.items()}


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
    _factors: dict[tuple[str, float, float], Tensor] = field(default_factory=dict, repr=False)
    _roots: dict[str, Tensor] = field(default_factory=dict, repr=False)
    _bases: dict[tuple[str, float], Tensor] = field(default_factory=dict, repr=False)

    def prepare(
        self, em: EditableModel, modules: Sequence[str], progress: Progress = quiet, *, ends: bool = False
    ) -> None:
        """Have the covariances of several modules at hand, with `ends` also those at the ends of prompts.

        Those that are not known yet take one pass together over the text, and one over the prompts.
        Raises `StorageError` when they cannot be stored, and what `progress` raises.
        """
        background = self.background
        with self._lock, em.switch.use(BASE):  # what is cached under the model's hash belongs to no space
            if missing := self._missing(em, modules):
                texts = background.texts()
                self._keep(em, covariances(em, missing, texts, max_tokens=self.max_tokens, progress=progress))
            if ends and (missing := self._missing(em, modules, ends=True)):
                self._keep(em, covariances_at_ends(em, missing, background.prompts(), progress=progress), ends=True)

    def covariance(self, em: EditableModel, module: str, progress: Progress = quiet) -> Tensor:
        """C `[in, in]` in float64, from memory, else from disk, else computed and stored; see `prepare`."""
        with self._lock:
            self.prepare(em, [module], progress)
            return self._known[_key(em, module)]

    def at_ends(self, em: EditableModel, module: str, progress: Progress = quiet) -> Tensor:
        """E[k k^T] `[in, in]` at the ends of the background's prompts, as `covariance`."""
        with self._lock:
            self.prepare(em, [module], progress, ends=True)
            return self._known[_key(em, module, ends=True)]

    def root_at_ends(self, em: EditableModel, module: str, progress: Progress = quiet) -> Tensor:
        """Rows X `[in, in]` with X^T X = `at_ends`, in float64."""
        key = _key(em, module, ends=True)
        with self._lock:
            if key not in self._roots:
                self._roots[key] = square_root(self.at_ends(em, module, progress))
            return self._roots[key]

    def factor(
        self, em: EditableModel, module: str, ridge: float, prompts: float = 0.0, progress: Progress = quiet
    ) -> Tensor:
        """The Cholesky factor L of C + `prompts` C_ends + lambda I, `[in, in]` lower triangular in float64.

        lambda = `ridge` times the mean of C's diagonal.
        """
        key = (_key(em, module), ridge, prompts)
        with self._lock:
            if key not in self._factors:
                more = prompts * self.at_ends(em, module, progress) if prompts else None
                self._factors[key] = cholesky(self.covariance(em, module, progress), ridge, more)
            return self._factors[key]

    def null_space(self, em: EditableModel, module: str, share: float, progress: Progress = quiet) -> Tensor:
        """The basis `[in, d]` of the directions that hold at most `share` of C's trace; see `solves.null_space`."""
        key = (_key(em, module), share)
        with self._lock:
            if key not in self._bases:
                self._bases[key] = null_space(self.covariance(em, module, progress), share)
            return self._bases[key]

    def _missing(self, em: EditableModel, modules: Sequence[str], ends: bool = False) -> list[str]:
        """Those that are not in memory, where what is on disk is brought."""
        for name in modules:
            key, path = _key(em, name, ends), self._path(em, name, ends)
            if key not in self._known and path is not None and (stored := read_tensors(path)) is not None:
                self._known[key] = stored["covariance"]
        return [name for name in modules if _key(em, name, ends) not in self._known]

    def _keep(self, em: EditableModel, computed: Mapping[str, Tensor], ends: bool = False) -> None:
        for name, c in computed.items():
            self._known[_key(em, name, ends)] = c
            if (path := self._path(em, name, ends)) is not None:
                write_tensors(path, {"covariance": c})

    def _path(self, em: EditableModel, module: str, ends: bool) -> Path | None:
        if self.directory is None:
            return None
        told = f"{self.background.source}|" + ("ends" if ends else str(self.max_tokens))
        told += "" if em.model.dtype == torch.float32 else f"|{em.model.dtype}"
        what = hashlib.sha256(told.encode()).hexdigest()[:12]
        return self.directory / em.model_hash / f"{module}-{what}.safetensors"


def _key(em: EditableModel, module: str, ends: bool = False) -> str:
    return f"{em.model_hash}/{module}" + ("@ends" if ends else "")


def cholesky(c: Tensor, ridge: float, more: Tensor | None = None) -> Tensor:
    """L with L L^T = C + `more` + lambda I, lambda = `ridge` * mean(diag C); C, `more` `[in, in]` in float64."""
    lam = ridge * c.diagonal().mean().clamp_min(1e-12)
    whole = c + lam * torch.eye(len(c), dtype=c.dtype)
    factor: Tensor = torch.linalg.cholesky(whole if more is None else whole + more)
    return factor
