"""The header of a GGUF file: what model it holds, and whether the file is complete.

The format is specified in ggml's docs/gguf.md. Long lists (the vocabulary) are stepped over, so that reading takes
a moment; the weights are not touched.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from ketools.core.errors import ModelError

VERSIONS = (2, 3)
ALIGNMENT = 32
SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
"""struct formats of the fixed-size value types, by the number that the file gives them."""
STRING, ARRAY = 8, 9
FLOATS = frozenset(("F32", "F16", "BF16"))
MOST_ENTRIES = 2**16


@dataclass(frozen=True)
class GGUFHeader:
    """What a GGUF file says of itself.

    `values`: the metadata without lists. `types`: the storage type of each tensor, such as F32 or Q4_1.
    `matrices`: the tensors with more than one dimension.
    """

    values: Mapping[str, Any]
    types: Mapping[str, str]
    matrices: frozenset[str]

    @property
    def architecture(self) -> str:
        """llama, gemma3, qwen2, ..."""
        return str(self.values.get("general.architecture", "unknown"))

    @property
    def licence(self) -> str:
        """The licence that the file names."""
        return str(self.values.get("general.license") or "not stated")

    @property
    def splitter(self) -> str | None:
        """The rule that splits text before byte-level merges; None where the tokenizer is of another kind."""
        if self.values.get("tokenizer.ggml.model") != "gpt2":
            return None
        return str(self.values.get("tokenizer.ggml.pre") or "gpt-2")

    @property
    def turn_end(self) -> int | None:
        """The id of the token that ends a turn, where the file names one besides the end of text."""
        return self.values.get("tokenizer.ggml.eot_token_id")

    @property
    def plain(self) -> str | None:
        """The float type of all matrices; None where some are quantised or they differ."""
        found = {self.types[name] for name in self.matrices}
        return next(iter(found)) if len(found) == 1 and found <= FLOATS else None


def read_header(file: Path) -> GGUFHeader:
    """The header of a GGUF file. Raises `ModelError` when the file is missing, incomplete or something else."""
    if not file.is_file():
        raise ModelError(f"{file} is not there. Give the path of a GGUF file.")
    try:
        with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _parse(data)
    except (ValueError, struct.error, KeyError, ArithmeticError) as error:
        raise ModelError(f"{file} is not a complete GGUF file ({error}). Fetch it again.") from error


def _parse(data: mmap.mmap) -> GGUFHeader:
    if data[:4] != b"GGUF":
        raise ValueError("it does not begin with GGUF")
    reader = _Reader(data, 4)
    version, tensors, entries = reader.take("<I"), reader.take("<Q"), reader.take("<Q")
    if version not in VERSIONS:
        raise ValueError(f"its version is {version}; known are {VERSIONS}")
    if max(tensors, entries) > MOST_ENTRIES:
        raise ValueError(f"it claims {tensors} tensors and {entries} entries")
    values = dict(reader.entry() for _ in range(entries))
    found = [reader.tensor() for _ in range(tensors)]
    alignment = int(values.get("general.alignment", ALIGNMENT))
    start = -(-reader.at // alignment) * alignment
    end = start + max((tensor.end for tensor in found), default=0)
    if end > len(data):
        raise ValueError(f"it ends after {len(data)} of {end} bytes")
    return GGUFHeader(
        {key: value for key, value in values.items() if value is not None},
        {tensor.name: tensor.kind for tensor in found},
        frozenset(tensor.name for tensor in found if tensor.dimensions > 1),
    )


@dataclass(frozen=True)
class _Tensor:
    """`end`: the first byte behind it, from the start of all tensors' data."""

    name: str
    kind: str
    dimensions: int
    end: int


@dataclass
class _Reader:
    """Reads little-endian values one after another; `struct.error` behind the end of the data."""

    data: mmap.mmap
    at: int

    def take(self, form: str) -> Any:
        (value,) = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return value

    def string(self) -> str:
        start = self._skip(self.take("<Q"))
        return self.data[start : self.at].decode("utf-8")

    def entry(self) -> tuple[str, Any]:
        """A metadata key with its value; None for a list."""
        return self.string(), self._value(self.take("<I"))

    def tensor(self) -> _Tensor:
        """A row of the table of tensors."""
        name, dimensions = self.string(), self.take("<I")
        size = 1
        for length in self._lengths(dimensions):
            size *= length
        kind = GGMLQuantizationType(self.take("<I"))
        block, block_bytes = GGML_QUANT_SIZES[kind]
        return _Tensor(name, kind.name, dimensions, self.take("<Q") + -(-size // block) * block_bytes)

    def _lengths(self, dimensions: int) -> Iterator[int]:
        if dimensions > 8:
            raise ValueError(f"a tensor has {dimensions} dimensions")
        for _ in range(dimensions):
            yield int(self.take("<Q"))

    def _value(self, kind: int) -> Any:
        if kind == STRING:
            return self.string()
        if kind != ARRAY:
            return self.take(SCALARS[kind])
        inner, length = self.take("<I"), self.take("<Q")
        if inner == STRING:
            for _ in range(length):
                self._skip(self.take("<Q"))
        else:
            self._skip(length * struct.calcsize(SCALARS[inner]))
        return None

    def _skip(self, size: int) -> int:
        """Step over that many bytes; returns where they begin."""
        start = self.at
        if size > len(self.data) - start:
            raise ValueError(f"it ends within a value at byte {start}")
        self.at += size
        return start
