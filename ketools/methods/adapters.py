"""Training low-rank adapters of several linear modules at once, as one vector of parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ketools.core.errors import InvalidRequest
from ketools.core.requests import EditRequest
from ketools.methods.configs import AdapterConfig, Role
from ketools.methods.support import resolve_layer
from ketools.models.contexts import seeded
from ketools.models.structure import Block, Structure
from ketools.models.tail import Change


def adapted_blocks(config: AdapterConfig, structure: Structure) -> list[int]:
    """The blocks that get adapters, first to last. Raises `InvalidRequest` for one that the model lacks."""
    n = len(structure.blocks)
    return list(range(n)) if config.layers is None else sorted({resolve_layer(i, n, 0.0) for i in config.layers})


def adapted_modules(config: AdapterConfig, structure: Structure) -> list[str]:
    """The names of the modules that get adapters. Raises `InvalidRequest` for a role that the model lacks."""
    blocks = [structure.blocks[i] for i in adapted_blocks(config, structure)]
    return list(dict.fromkeys(_module(block, role) for block in blocks for role in config.roles))


def _module(block: Block, role: Role) -> str:
    name: str | None = getattr(block, role) or (block.qkv if role in ("q", "k", "v") else None)
    if name is None:
        raise InvalidRequest(f"{block.name} has no module for the role {role!r}; choose roles that it has.")
    return name


@dataclass(frozen=True)
class Packing:
    """Where the parts of each module's adapter stand in one vector; `shapes` per module and part."""

    shapes: Mapping[str, Sequence[tuple[int, ...]]]

    def unpack(self, vector: Tensor) -> dict[str, list[Tensor]]:
        """Views of the parts, by module."""
        out: dict[str, list[Tensor]] = {}
        at = 0
        for name, shapes in self.shapes.items():
            out[name] = []
            for shape in shapes:
                size = math.prod(shape)
                out[name].append(vector[at : at + size].view(shape))
                at += size
        return out


def factored_change(a: Tensor, b: Tensor) -> Change:
    """x -> (x A^T) B^T, for A `[r, in]`, B `[out, r]`."""
    return lambda x: (x @ a.T) @ b.T


def random_start(packing: Packing, request: EditRequest) -> Tensor:
    """A uniform within 1 / sqrt(in), B zero: the change starts at zero. The same for the same request."""
    generator = torch.Generator().manual_seed(seeded(request).getrandbits(62))
    parts: list[Tensor] = []
    for a, b in packing.shapes.values():
        parts += [(2 * torch.rand(a, generator=generator) - 1) / a[1] ** 0.5, torch.zeros(b)]
    return torch.cat([part.flatten() for part in parts])
