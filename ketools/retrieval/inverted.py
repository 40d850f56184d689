"""Approximate search: an inverted file of product-quantised vectors (faiss), for indexes too large to be scanned."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Lock
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from ketools.retrieval.encoders import Vectors

_faiss: Any = faiss
"""Its type stubs do not know the Python conveniences that it adds to its C++ classes."""

TRAINED_ON = 40
"""How many vectors per cell the cells are learnt from."""

MOST_CELLS = 2048
PROBED = 192
"""How many cells are read for a query."""

REFINED = 64
"""How many candidates, at least, are ranked again by their exact cosine."""


class InvertedFile:
    """Rows 0, 1, ... of vectors in cells around centroids; a query reads the nearest cells. Thread-safe."""

    def __init__(self, index: Any) -> None:
        self._index = index
        self._lock = Lock()

    @classmethod
    def trained_on(cls, sample: Vectors, rows: int) -> InvertedFile:
        """An empty file for about `rows` rows whose cells are learnt from a sample, shape [n, d]."""
        cells = cells_for(rows, len(sample))
        size = sample.shape[1]
        code = f"PQ{size // 4}x4fs" if size % 8 == 0 else "SQ8"  # 4 bits for 4 dimensions, read in registers
        index = _faiss.index_factory(size, f"IVF{cells},{code}", faiss.METRIC_INNER_PRODUCT)
        index.cp.niter = 8
        index.train(np.ascontiguousarray(sample))
        return cls(index)

    @classmethod
    def load(cls, path: Path) -> InvertedFile | None:
        """The file, or None when it is absent or damaged."""
        try:
            return cls(faiss.read_index(str(path))) if path.is_file() else None
        except RuntimeError:
            return None

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        part = path.with_suffix(f".{os.getpid()}.tmp")
        with self._lock:
            faiss.write_index(self._index, str(part))
        part.replace(path)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def cells(self) -> int:
        """How many cells there are."""
        return int(self._index.nlist)

    def add(self, vectors: Vectors) -> None:
        """Append rows, shape [n, d]."""
        with self._lock:
            self._index.add(np.ascontiguousarray(vectors))

    def candidates(self, query: Vectors, k: int, allowed: NDArray[np.uint8] | None) -> NDArray[np.int64]:
        """The rows most likely nearest to a query [d], at least `k` if there are.

        `allowed`: one bit per row, lowest first; only rows whose bit is set are proposed.
        """
        options: dict[str, Any] = {"nprobe": min(PROBED, self.cells)}
        if allowed is not None:
            options["sel"] = _faiss.IDSelectorBitmap(allowed)
        parameters = _faiss.SearchParametersIVF(**options)
        with self._lock:
            _, rows = self._index.search(query[None], max(REFINED, 2 * k), params=parameters)
        found: NDArray[np.int64] = rows[0][rows[0] >= 0]
        return found


def cells_for(rows: int, sample: int) -> int:
    """A power of two near four times the root of the number of rows, that the sample can teach."""
    wanted = min(MOST_CELLS, 4 * rows**0.5, max(1, sample // TRAINED_ON))
    return int(2 ** int(np.log2(wanted)))
