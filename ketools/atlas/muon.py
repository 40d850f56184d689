"""Muon: momentum whose every update of a matrix is made orthogonal, shared out over processes."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist


def orthogonal(matrices: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """Newton-Schulz iteration towards the nearest orthogonal matrices."""
    x = matrices / (matrices.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    tall = x.size(-2) > x.size(-1)
    x = x.mT if tall else x
    for _ in range(steps):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    done: torch.Tensor = x.mT if tall else x
    return done


class Muon:
    """The optimiser for matrices; those of one shape are treated as one stack."""

    def __init__(self, matrices: Iterable[torch.nn.Parameter], momentum: float = 0.95) -> None:
        self.momentum = momentum
        self.groups: dict[tuple[int, ...], list[torch.nn.Parameter]] = {}
        for matrix in matrices:
            self.groups.setdefault(tuple(matrix.shape), []).append(matrix)
        self.buffers = {shape: torch.zeros(len(g), *shape) for shape, g in self.groups.items()}

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One update from the gradients that lie in the parameters."""
        for shape, group in self.groups.items():
            gradients = torch.stack([p.grad for p in group if p.grad is not None])
            buffer = self.buffers[shape].lerp_(gradients, 1 - self.momentum)
            update = self._shared(gradients.lerp(buffer, self.momentum))
            scale = max(1.0, shape[0] / shape[1]) ** 0.5
            for parameter, change in zip(group, update, strict=True):
                parameter.add_(change, alpha=-rate * scale)

    def _shared(self, stack: torch.Tensor) -> torch.Tensor:
        """Each process does its part of the stack."""
        world = dist.get_world_size() if dist.is_initialized() else 1
        if world == 1:
            return orthogonal(stack)
        part = len(stack) // world
        rank = dist.get_rank()
        mine = slice(rank * part, len(stack) if rank == world - 1 else (rank + 1) * part)
        update = torch.zeros_like(stack)
        update[mine] = orthogonal(stack[mine])
        dist.all_reduce(update)
        return update
