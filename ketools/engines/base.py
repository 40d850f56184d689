"""What every engine can do: generate, chat and score under an edit layer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ketools.core.errors import InvalidRequest
from ketools.core.requests import Prompt
from ketools.layers.composition import EditLayer


@dataclass(frozen=True, slots=True)
class Score:
    """Teacher-forced scores of one continuation.

    `logprobs[i]`: log probability (nats) of the continuation's i-th token given all before it.
    `ranks[i]`: how many tokens were more probable there (0 = the greedy choice).
    """

    logprobs: tuple[float, ...]
    ranks: tuple[int, ...]

    @property
    def greedy(self) -> bool:
        """Whether greedy decoding would produce exactly this continuation."""
        return all(rank == 0 for rank in self.ranks)

    @property
    def token_accuracy(self) -> float:
        """Share of tokens that are the argmax (what the reference code calls edit success)."""
        return sum(rank == 0 for rank in self.ranks) / max(len(self.ranks), 1)

    @property
    def total(self) -> float:
        """Log probability of the whole continuation, in nats."""
        return sum(self.logprobs)


def pieces(texts: Iterable[str]) -> Iterator[str]:
    """What is new in each longer text of an answer under way; together they are the last text, stripped.

    Held back until the end: half a character (decoded as U+FFFD), and space that may turn out to be the end.
    """
    sent = text = ""
    for text in texts:
        ready = text.strip().rstrip("\ufffd").rstrip()
        if len(ready) > len(sent):
            yield ready[len(sent) :]
            sent = ready
    yield from filter(None, [text.strip()[len(sent) :]])


def cut(text: str, stop: Sequence[str]) -> str:
    """The text up to and including the first of the stops that it holds."""
    ends = [text.index(one) + len(one) for one in stop if one in text]
    return text[: min(ends)] if ends else text


@dataclass(frozen=True, slots=True)
class Route:
    """Where a layer is served: the server's address, and the name that it knows the layer's model by."""

    base_url: str
    model: str


@dataclass(frozen=True, slots=True)
class Spoken:
    """One token of an answer. `ends`: whether it ends the turn; `top`: the likeliest tokens, each with its log
    probability.
    """

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]
    ends: bool


class Speaker(Protocol):
    """What an engine in this process offers to a gateway in front of it."""

    @property
    def model_name(self) -> str: ...

    def read(self, prompt: Prompt, tools: Sequence[dict[str, object]] = ()) -> list[int]:
        """The token ids of a prompt. Raises `InvalidRequest` for an empty or too long one."""
        ...

    def speak(self, row: list[int], layer: EditLayer, *, max_new_tokens: int, top: int = 0) -> Iterator[Spoken]:
        """The greedy next tokens, up to the one that ends the turn; at most as many as the model can read."""
        ...

    def text(self, ids: Sequence[int], *, special: bool = False) -> str:
        """Token ids as text; `special`: with special tokens, such as marks of tool calls."""
        ...


class Upstream(Protocol):
    """What an engine of OpenAI-compatible servers offers to a gateway in front of them."""

    @property
    def model_name(self) -> str: ...

    def route(self, layer: EditLayer) -> Route | None:
        """Where to send a request for this layer right now, without waiting; None when `prepare` is needed."""
        ...

    def prepare(self, layer: EditLayer) -> Route:
        """Load what the layer needs and tell the route. Blocks; raises `EngineUnavailable`, `EngineRefused`."""
        ...

    def failed(self, route: Route, *, reachable: bool) -> None:
        """Tell that a request along the route failed: the server is gone, or no longer knows the name."""
        ...


Layers = EditLayer | Sequence[EditLayer]
"""One layer for every prompt of a call, or one for each."""


def layers_of(layers: Layers, n: int) -> Sequence[EditLayer]:
    """The layer of each of `n` prompts. Raises `InvalidRequest` unless there is one for each."""
    found = [layers] * n if isinstance(layers, EditLayer) else layers
    if len(found) != n:
        raise InvalidRequest(f"{n} prompts need {n} layers, not {len(found)}.")
    return found


class Engine(Protocol):
    """A model that is being served. Thread-safe: each call carries its own layer.

    Engines apply a layer's *delta* only; putting its notes into prompts and choosing the routed edits that act is
    `ketools.notes`' work.
    """

    @property
    def model_name(self) -> str: ...

    @property
    def model_hash(self) -> str:
        """Content hash of config and weights: caches and profiles are keyed by it."""
        ...

    def generate(
        self, prompts: Sequence[Prompt], layer: Layers, *, max_new_tokens: int = 32, stop: Sequence[str] = ()
    ) -> list[str]:
        """Greedy answers, stripped, cut at the model's end of turn or behind the first of the `stop`s."""
        ...

    def stream(self, prompt: Prompt, layer: EditLayer, *, max_new_tokens: int = 32) -> Iterator[str]:
        """Pieces of the greedy answer as they are produced."""
        ...

    def chat(
        self,
        messages: Sequence[dict[str, object]],
        layer: EditLayer,
        *,
        tools: Sequence[dict[str, object]] = (),
        max_new_tokens: int = 160,
    ) -> str:
        """The assistant's raw next turn; `tools` in the OpenAI form go through the chat template."""
        ...

    def score(self, prompts: Sequence[Prompt], continuations: Sequence[str], layer: Layers) -> list[Score]:
        """Teacher-forced scores of `continuations[i]` after `prompts[i]`; batched."""
        ...

    def room(self, prompt: Prompt, continuation: str = "") -> int:
        """How many tokens the model can read after the prompt and what continues it; below 1 it cannot go on.

        Raises `InvalidRequest` for an empty prompt.
        """
        ...

    def apply_layer(self, layer: EditLayer) -> float:
        """Make the layer ready to serve (upload an adapter, install hooks); idempotent, may be slow.

        Returns what the engine could not represent of the layer's weight change: the share of its squared
        Frobenius norm that is lost, 0 when it is served exactly.
        """
        ...

    def hold(self, layer: EditLayer) -> None:
        """Tell the engine what the shared space is now; one that can may keep it in the weights themselves."""
        ...

    def close(self) -> None: ...
