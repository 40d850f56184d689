"""Train the bundled model from nothing: ``python -m ketools.atlas.train``.

The schedule counts tokens and every batch follows from the seed and the step, so the run can be stopped,
resumed and repeated. Two single-thread processes share each step.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn
from torch.nn.functional import cross_entropy
from transformers import GenerationConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from ketools.atlas.corpus import mix
from ketools.atlas.model import new_model
from ketools.atlas.muon import Muon
from ketools.atlas.packing import Batch, batch
from ketools.atlas.tokenizer import tokenizer

AVERAGE = 0.98


@dataclass(frozen=True)
class TrainingPlan:
    """Everything that the result depends on."""

    tokens: int = 25_500_000
    warmup_steps: int = 40
    # The factor on the learning rates after this many million tokens, straight lines between them.
    knots: tuple[tuple[float, float], ...] = (
        (0.0, 1.0),
        (6.263, 1.0),
        (9.052, 0.54),
        (10.968, 0.27),
        (13.4, 0.01),
        (13.408, 0.22),
        (14.3, 0.01),
        (14.45, 0.5),
        (16.4, 0.36),
        (17.2, 0.24),
        (18.14, 0.174),
        (19.05, 0.094),
        (19.55, 0.01),
        (19.7, 0.5),
        (25.5, 0.01),
    )
    matrix_rate: float = 0.012
    other_rate: float = 2.5e-3
    rows: int = 6
    length: int = 320
    processes: int = 2
    seed: int = 3

    def rate(self, tokens: int, step: int) -> float:
        """The factor on the learning rates after this many tokens."""
        done = tokens / 1e6
        warm = min(1.0, (step + 1) / self.warmup_steps)
        for (start, high), (end, low) in pairwise(self.knots):
            if done < end:
                return warm * (high + (low - high) * (done - start) / (end - start))
        return warm * self.knots[-1][1]


class Trainer:
    """One process's part of the training."""

    def __init__(self, plan: TrainingPlan, folder: Path) -> None:
        self.plan = plan
        self.folder = folder
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.tokenizer: PreTrainedTokenizerFast = tokenizer()
        self.model = new_model(self.tokenizer, plan.seed)
        matrices = [p for n, p in self.model.named_parameters() if p.ndim == 2 and "embed" not in n]
        others = [p for n, p in self.model.named_parameters() if p.ndim != 2 or "embed" in n]
        self.muon = Muon(matrices)
        self.adam = torch.optim.AdamW(others, lr=plan.other_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
        self.average = {n: p.detach().clone() for n, p in self.model.named_parameters()}
        self.step = 0
        self.tokens = 0

    def loss(self, data: Batch) -> torch.Tensor:
        """Weighted cross-entropy; the output head runs only where there is something to learn."""
        hidden = self.model.model(
            input_ids=data.ids,
            attention_mask=data.allowed,
            position_ids=data.positions,
            use_cache=False,
        ).last_hidden_state[:, :-1]
        weights, targets = data.weights[:, 1:], data.ids[:, 1:]
        chosen = weights > 0
        losses = cross_entropy(self.model.lm_head(hidden[chosen]), targets[chosen], reduction="none")
        return (losses * weights[chosen]).sum() / weights.sum()

    def advance(self) -> float:
        """One optimiser step; returns this process's loss."""
        seed = f"{self.plan.seed}-{self.rank}-{self.step}"
        data = batch(self.tokenizer, mix.shares_after(self.tokens), seed, self.plan.rows, self.plan.length)
        loss = self.loss(data)
        torch.autograd.backward(loss)
        count = self._reduce(data.tokens)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        rate = self.plan.rate(self.tokens, self.step)
        for group in self.adam.param_groups:
            group["lr"] = self.plan.other_rate * rate
        self.adam.step()
        self.muon.step(self.plan.matrix_rate * rate)
        self.model.zero_grad(set_to_none=True)
        self._follow()
        self.step += 1
        self.tokens += count
        return loss.item()

    def _reduce(self, count: int) -> int:
        """Average gradients over processes and add up their tokens."""
        if not dist.is_initialized():
            return count
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        flat = torch.cat([*(g.view(-1) for g in gradients), torch.tensor([float(count)])])
        dist.all_reduce(flat)
        start = 0
        for gradient in gradients:
            size = gradient.numel()
            gradient.copy_(flat[start : start + size].view_as(gradient) / dist.get_world_size())
            start += size
        return int(flat[-1].item())

    @torch.no_grad()
    def _follow(self) -> None:
        """The moving average is what previews are made of: it stands in for the decay still to come."""
        for name, parameter in self.model.named_parameters():
            self.average[name].lerp_(parameter, 1 - AVERAGE)

    def save(self) -> None:
        """Write what a resumed run needs, in one rename."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average,
            "muon": self.muon.buffers,
            "adam": self.adam.state_dict(),
            "step": self.step,
            "tokens": self.tokens,
        }
        partial = self.folder / "state.partial"
        torch.save(state, partial)
        partial.replace(self.folder / "state.pt")

    def resume(self) -> None:
        """Go on from the last saved state, if there is one."""
        path = self.folder / "state.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average = state["average"]
        self.muon.buffers = state["muon"]
        self.adam.load_state_dict(state["adam"])
        self.step, self.tokens = state["step"], state["tokens"]

    def averaged(self) -> LlamaForCausalLM:
        """A copy of the model with the averaged weights."""
        copy = new_model(self.tokenizer, self.plan.seed)
        copy.load_state_dict(self.average, strict=False)
        return copy


def export(model: LlamaForCausalLM, words: PreTrainedTokenizerFast, folder: Path, half: bool = True) -> None:
    """Write the model as a Hugging Face folder; half precision on disk, loaded as fp32."""
    folder.mkdir(parents=True, exist_ok=True)
    model.generation_config = GenerationConfig(
        bos_token_id=words.bos_token_id, eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id
    )
    (model.half() if half else model).save_pretrained(folder)
    words.save_pretrained(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["dtype"] = "float32"
    path.write_text(json.dumps(config, indent=2) + "\n")


def _work(rank: int, plan: TrainingPlan, folder: Path, until: int | None) -> None:
    torch.set_num_threads(1)
    if plan.processes > 1:
        meeting = (folder / "meeting").absolute().as_uri()
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=plan.processes)
    trainer = Trainer(plan, folder)
    trainer.resume()
    began, saved, start = time.monotonic(), time.monotonic(), trainer.tokens
    losses: list[float] = []
    while trainer.tokens < min(plan.tokens, until or plan.tokens):
        losses.append(trainer.advance())
        if rank:
            continue
        if trainer.step % 25 == 0:
            speed = (trainer.tokens - start) / (time.monotonic() - began)
            print(
                f"step {trainer.step} tokens {trainer.tokens / 1e6:.3f}M {speed:.0f}/s "
                f"loss {sum(losses) / len(losses):.4f}",
                flush=True,
            )
            losses = []
        if time.monotonic() - saved > 240:
            trainer.save()
            saved = time.monotonic()
            export(trainer.averaged(), trainer.tokenizer, folder / "average")
    if rank == 0:
        trainer.save()
        export(trainer.model, trainer.tokenizer, folder / "final")
        (folder / "plan.json").write_text(json.dumps(asdict(plan), indent=2) + "\n")


def train(plan: TrainingPlan, folder: Path, until: int | None = None) -> Path:
    """Run the plan in the folder, resuming what lies there; returns the folder of the finished model."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "meeting").unlink(missing_ok=True)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if plan.processes == 1:
        _work(0, plan, folder, until)
    else:
        spawn(_work, args=(plan, folder, until), nprocs=plan.processes)  # type: ignore[no-untyped-call]
    return folder / "final"


def main() -> None:
    """Command line: where to work, and optionally where to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(".cache/atlas"))
    parser.add_argument("--until", type=int, help="stop (resumably) after this many tokens")
    parser.add_argument("--tokens", type=int, default=TrainingPlan.tokens, help="token budget of the schedule")
    options = parser.parse_args()
    print(train(TrainingPlan(tokens=options.tokens), options.folder, options.until))


if __name__ == "__main__":
    main()
