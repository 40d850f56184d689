"""What methods' configurations are built of. Importing this imports neither torch nor transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from ketools.methods.base import MethodConfig
from ketools.models.options import Breadth, FactToken, Schedule

Layers = Annotated[tuple[Annotated[int, Field(ge=0, le=512)], ...], Field(min_length=1, max_length=512)]
"""Blocks by number."""

WITH_IMPLIED = {"steps": 120, "relations": 12, "neighbours": 16, "answer": 3, "preservation": 3.0}
"""The least of each when a change is also taught what follows from the fact: several targets at once, and other
subjects among them."""


class ContextConfig(MethodConfig):
    """What every method that looks at contexts may vary.

    `preservation`: how much the subject's other relations and neighbours count; 0 leaves them out. `answer`:
    tokens of a preserved answer that are held. The rest is `ketools.models.contexts.Breadth`.
    """

    preservation: float = Field(default=1.0, ge=0, le=1000)
    answer: int = Field(default=1, ge=1, le=16)
    templates: int = Field(default=3, ge=0, le=8)
    conversations: bool = True
    prefixes: int = Field(default=1, ge=0, le=16)
    relations: int = Field(default=4, ge=0, le=32)
    neighbours: int = Field(default=4, ge=0, le=64)

    @property
    def breadth(self) -> Breadth:
        """How many contexts to use."""
        return Breadth(self.templates, self.conversations, self.prefixes, self.relations, self.neighbours)


class OptimisedConfig(ContextConfig):
    """Hyper-parameters of every method that optimises towards a target.

    `confidence`: stop once every target token has this probability and nothing preserved has changed.
    `preservation` weighs a KL term in nats; `decay` the method's own penalty.
    """

    steps: int = Field(default=25, ge=1, le=500)
    lr: float = Field(default=5e-4, gt=0, le=10)
    confidence: float = Field(default=0.9, gt=0, lt=1)
    decay: float = Field(default=0.0, ge=0, le=1000)

    @property
    def schedule(self) -> Schedule:
        """How to optimise."""
        return Schedule(self.steps, self.lr, self.confidence, self.preservation, self.decay)


class OneLayerConfig(OptimisedConfig):
    """`layer`: block whose down projection changes; None: the paper's depth, scaled to the model."""

    layer: Annotated[int, Field(ge=0, le=512)] | None = None


class LocatedConfig(OptimisedConfig):
    """Hyper-parameters of locate-then-edit. `lr` is Adam's step relative to the root mean square of the value
    that it starts from.

    `clamp`: bound on the offset's norm, as a multiple of the value's. `ridge`: lambda added to the covariance,
    as a multiple of its mean diagonal.
    `fact_token`: at which token the fact is written, see `ketools.models.sites`; the papers' is the subject's last.
    `spare`: how much the keys of what is preserved, and the differences between contexts, count beside the covariance
    (`ketools.models.keys`); 0, as in the papers, leaves them out. `prompts`: how much the keys at the ends of the
    background's prompts count beside it.
    """

    lr: float = Field(default=0.5, gt=0, le=10)
    decay: float = Field(default=1e-3, ge=0, le=1000)
    clamp: float = Field(default=4.0, gt=0, le=1000)
    ridge: float = Field(default=1e-2, gt=0, le=1000)
    fact_token: FactToken = "subject_last"
    spare: float = Field(default=0.0, ge=0, le=1000)
    prompts: float = Field(default=0.0, ge=0, le=1000)


PROMPT_END: Mapping[str, Any] = {"fact_token": "prompt_last", "spare": 1.0, "prompts": 10.0, "prefixes": 0}
"""For models that recall a fact at the prompt's end: what a search tries beside the papers' way."""

STRETCHES = ((0.4, 0.8), (0.4, 1.0), (0.6, 1.0))
"""First and last block, as shares of the last block's number, for writing at the prompt's end."""


def stretch(n_layers: int, shares: tuple[float, float]) -> tuple[int, ...]:
    """The blocks from one share of the depth to another."""
    first, last = (round(share * (n_layers - 1)) for share in shares)
    return tuple(range(first, last + 1))


def at_depths(n_layers: int, *shares: float) -> list[int]:
    """Blocks at shares of the depth, each once."""
    return sorted({round(share * (n_layers - 1)) for share in shares})


class JointConfig(LocatedConfig):
    """`layers`: blocks whose down projections change together; None: the paper's depths, scaled to the model.

    The papers bound the offset by four times the norm of the hidden state; `clamp` is in norms of what the down
    projection puts out, which is several times smaller.
    `rounds`: how often at most what the writing left undone is aimed at anew, facts that have it all sparing the rest.
    The papers write once; a small model cannot take a thousand facts in at once.
    """

    steps: int = Field(default=40, ge=1, le=500)
    clamp: float = Field(default=12.0, gt=0, le=1000)
    layers: Layers | None = None
    rounds: int = Field(default=1, ge=1, le=50)


Role = Literal["q", "k", "v", "attn_out", "down_proj"]


class AdapterConfig(OptimisedConfig):
    """Hyper-parameters of every method that trains adapters.

    `roles`: which modules of a block get one (a fused projection stands for q, k and v). `layers`: which blocks;
    None: all. `alpha`: adapters are scaled by alpha / rank.
    """

    steps: int = Field(default=70, ge=1, le=500)
    lr: float = Field(default=5e-3, gt=0, le=1)
    rank: int = Field(default=8, ge=1, le=256)
    alpha: float = Field(default=32.0, gt=0, le=1024)
    roles: Annotated[tuple[Role, ...], Field(min_length=1, max_length=5)] = ("q", "v")
    layers: Layers | None = None


class RoutedConfig(ContextConfig):
    """`reach`: how far a key reaches, as a share of the way to the nearest query that must be left alone.

    Those are the prompts that other methods preserve, with `answer` tokens of their answers; none of them can get the
    edit, so `preservation` has nothing left to weigh.
    """

    reach: float = Field(default=0.7, gt=0, lt=1)
    answer: int = Field(default=3, ge=1, le=16)
