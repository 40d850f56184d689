"""The serving engine over vLLM: every version of a space is an adapter under a name of its own."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from ketools.core.errors import EngineUnavailable, InvalidRequest, StorageError
from ketools.core.requests import Prompt
from ketools.engines.base import Layers, Route, Score, cut, layers_of, pieces
from ketools.engines.vllm.adapters import Adapter, AdapterStore
from ketools.engines.vllm.attach import PAIRS, Fingerprints, Limits, check_identity, find_limits, zeros
from ketools.engines.vllm.client import EngineTimeout, ReplicaClient, UnknownName
from ketools.engines.vllm.compiling import compile_deltas, require_served
from ketools.engines.vllm.process import VLLMServer
from ketools.engines.vllm.replicas import Replica, Replicas
from ketools.engines.vllm.speech import Pair, Speech, room_after
from ketools.layers.composition import BASE, EditLayer, by_delta
from ketools.models.outline import Outline
from ketools.models.text import encode_chat, encode_pairs, encode_prompt, length
from ketools.vllm_plugin.names import base_of

T = TypeVar("T")

MIN_RANK = 8
IDLE_S = 900.0
"""An adapter that nobody asked for so long is taken off the replicas; asking loads it again."""
GRACE_S = 3600.0
"""A directory that nobody leased for so long may be deleted, once no replica has it."""
COMPILED = 4096
AT_ONCE = 16
"""How many layers of one call are asked at once."""
"""How many layers' adapters are remembered in memory."""


class VLLMEngine:
    """Greedy generation and scoring on vLLM servers of one model (see `ketools.engines.base`).

    `urls`: the replicas; they see the adapter store under the same path. `server`: one that this engine starts
    and stops. `fingerprints` proves that they serve the editor's model. Opening waits up to `wait_s` for the first
    replica and raises `EngineRefused` when each is unfit, `EngineUnavailable` when none can be reached. Calls
    raise `EngineUnavailable` while no replica is ready, `InvalidRequest` for bad input. A layer of which no part
    changes weights is the base model's name; any other is compiled to an adapter, loaded where it is needed,
    never changed.
    """

    def __init__(
        self,
        urls: Sequence[str],
        outline: Outline,
        store: AdapterStore,
        fingerprints: Fingerprints,
        *,
        server: VLLMServer | None = None,
        in_place: bool = False,
        wait_s: float = 300.0,
        min_rank: int = MIN_RANK,
        idle_s: float = IDLE_S,
        grace_s: float = GRACE_S,
    ) -> None:
        if in_place and (server is None or urls):
            raise InvalidRequest(
                "Changes in place need a vLLM of their own: leave --url out, so that one is started for this server."
            )
        if server:
            urls = [*urls, server.url]
        if not urls:
            raise InvalidRequest("No vLLM server was named; give --url http://HOST:PORT.")
        self.outline, self.store = outline, store
        self.model_hash = outline.model_hash
        self._fingerprints, self._min_rank, self._idle_s, self._grace_s = fingerprints, min_rank, idle_s, grace_s
        self._speech, self._name = Speech(outline), outline.name
        self._compiled: OrderedDict[tuple[str, int, str], Adapter] = OrderedDict()
        self._used: dict[str, float] = {}
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="adapter keeper", daemon=True)
        self.server, self._in_place = server, in_place
        self._held, self._holding = BASE, threading.RLock()
        self.replicas = Replicas(urls, self._admit)
        try:
            if server:
                server.start()
            self.replicas.start()
            self.replicas.wait_ready(wait_s, give_up=lambda: server.gave_up if server else "")
        except BaseException:
            self.close()
            raise
        self._keeper.start()

    @property
    def model_name(self) -> str:
        """The name that the servers give the base model; while none is ready, the one that they gave it last."""
        self._name = next((r.limits.served_name for r in self.replicas.all if r.limits), self._name)
        return self._name

    # --- what every engine does ---

    def generate(
        self,
        prompts: Sequence[Prompt],
        layer: Layers = BASE,
        *,
        max_new_tokens: int = 32,
        stop: Sequence[str] = (),
    ) -> list[str]:
        """Greedy answers, stripped, cut at the model's end of turn or behind the first of the `stop`s."""
        rows = [encode_prompt(self.outline, prompt) for prompt in prompts]

        def answers(one: EditLayer, places: Sequence[int]) -> list[str]:
            found = self._answers([rows[i] for i in places], one, max_new_tokens, stop)
            return [cut(self._speech.text(ids), stop).strip() for ids in found]

        return self._by_layer(layer, len(rows), answers)

    def _by_layer(self, layer: Layers, n: int, call: Callable[[EditLayer, Sequence[int]], Sequence[T]]) -> list[T]:
        """What `call` returns for the prompts of each layer, in the order of the prompts; layers run side by side."""
        groups = by_delta(layers_of(layer, n))
        found: dict[int, T] = {}
        with ThreadPoolExecutor(max(1, min(len(groups), AT_ONCE))) as pool:
            for (_, places), results in zip(groups, pool.map(lambda group: call(*group), groups), strict=True):
                found.update(zip(places, results, strict=True))
        return [found[i] for i in range(n)]

    def stream(self, prompt: Prompt, layer: EditLayer = BASE, *, max_new_tokens: int = 32) -> Iterator[str]:
        """Pieces of the greedy answer; together they are what `generate` returns. Close it to abort upstream."""
        row = encode_prompt(self.outline, prompt)
        room, (route, client) = self._room(row, max_new_tokens), self._reach(layer)
        yield from pieces(map(self._speech.text, self._speech.stream(client, route.model, row, room)))

    def chat(
        self,
        messages: Sequence[dict[str, Any]],
        layer: EditLayer = BASE,
        *,
        tools: Sequence[dict[str, Any]] = (),
        max_new_tokens: int = 160,
    ) -> str:
        """The assistant's raw next turn, tool-call markers included."""
        (ids,) = self._answers([encode_chat(self.outline, messages, tools)], layer, max_new_tokens)
        return self._speech.text(ids, skip_special=False).strip()

    def score(self, prompts: Sequence[Prompt], continuations: Sequence[str], layer: Layers = BASE) -> list[Score]:
        """Teacher-forced scores of `continuations[i]` after `prompts[i]`."""
        pairs = self._pairs(prompts, continuations)

        def scores(one: EditLayer, places: Sequence[int]) -> list[Score]:
            some = [pairs[i] for i in places]
            return self._with_route(one, lambda client, model: self._speech.scores(client, model, some))

        return self._by_layer(layer, len(pairs), scores)

    def room(self, prompt: Prompt, continuation: str = "") -> int:
        """How many tokens the model can read after the prompt and what continues it; below 1 it cannot go on."""
        return self._window - length(self.outline, prompt, continuation)

    def apply_layer(self, layer: EditLayer) -> float:
        """Compile the layer and load it where it will be asked for. Returns what the rank limit cut off."""
        with self._holding:
            self.prepare(layer)
            adapter = self._adapter(layer.beyond(self._held), self._limits())
        return adapter.residual if adapter else 0.0

    def close(self) -> None:
        """Stop watching, and stop the server that was started for this engine; others stay as they are."""
        self._closing.set()
        self.replicas.close()
        if self._keeper.is_alive():
            self._keeper.join(timeout=10.0)
        if self.server:
            self.server.close()

    def hold(self, layer: EditLayer) -> None:
        """Keep the shared space's weight change in the served weights themselves, exactly, whatever its rank.

        Only with `in_place`; other layers, the untouched model among them, are then adapters on top that take
        away what they do not have. A server that dies meanwhile holds it when it comes back.
        """
        if not self._in_place or layer.delta_hash == self._held.delta_hash:
            return
        with self._holding:
            self._held = layer
            for replica in self.replicas.all:
                if replica.ready:
                    try:
                        self._hold_on(replica)
                    except EngineUnavailable as error:
                        replica.lost(str(error))

    def _hold_on(self, replica: Replica) -> None:
        held = self._held.delta_hash
        file = self.store.write_changes(held, {n: d.matrix() for n, d in self._held.deltas.items()}) if held else None
        replica.loaded.clear()
        replica.client.in_place(file, held)

    # --- what a gateway needs (see `Upstream`) ---

    def route(self, layer: EditLayer) -> Route | None:
        """Where to send a request now, without waiting; None when `prepare` is needed."""
        layer = layer.beyond(self._held)
        for replica in self.replicas.ranked(layer.delta_hash)[:1]:
            limits = replica.limits
            if limits and limits.plugin and not layer.delta_hash:
                return Route(replica.client.url, limits.served_name)
            adapter = self._compiled.get(self._key(layer, limits)) if limits else None
            if adapter and adapter.name in replica.loaded:
                self._used[adapter.name] = time.monotonic()
                return Route(replica.client.url, adapter.name)
        return None

    def prepare(self, layer: EditLayer) -> Route:
        """Load what the layer needs on the replica that serves it, and tell the route."""
        with self._holding:
            return self._prepare(layer.beyond(self._held))

    def _prepare(self, layer: EditLayer) -> Route:
        while True:
            replica = self.replicas.pick(layer.delta_hash)
            limits = replica.limits
            if limits is None:
                continue  # lost between picking and looking
            adapter = self._adapter(layer, limits)
            if adapter is None:
                return Route(replica.client.url, limits.served_name)
            try:
                self._load(replica, adapter)
            except EngineUnavailable as error:
                replica.lost(str(error))
                continue
            except StorageError:  # deleted under us: compile it again
                with self._lock:
                    self._compiled.pop(self._key(layer, limits), None)
                self._load(replica, self._stored(layer, limits))
                continue
            return Route(replica.client.url, adapter.name)

    def failed(self, route: Route, *, reachable: bool) -> None:
        """A request along the route failed: its server is gone, or no longer knows the name."""
        for replica in self.replicas.all:
            if replica.client.url == route.base_url:
                if reachable:
                    replica.loaded.discard(route.model)
                else:
                    replica.lost("a request could not reach it")

    # --- adapters ---

    def _limits(self) -> Limits:
        limits = self.replicas.pick("").limits
        if limits is None:
            raise self.replicas.unavailable()
        return limits

    def _adapter(self, layer: EditLayer, limits: Limits) -> Adapter | None:
        """The layer's adapter in the store, compiled when it is not there yet; None for the base model."""
        if not layer.delta_hash and limits.plugin:
            return None
        key = self._key(layer, limits)
        with self._lock:
            adapter = self._compiled.get(key)
            if adapter is None:
                adapter = self._stored(layer, limits)
                self._compiled[key] = adapter
                while len(self._compiled) > COMPILED:
                    self._compiled.popitem(last=False)
        return adapter

    def _key(self, layer: EditLayer, limits: Limits) -> tuple[str, int, str]:
        return layer.delta_hash, limits.max_rank, self._held.delta_hash

    def _stored(self, layer: EditLayer, limits: Limits) -> Adapter:
        base = base_of(self.model_hash, self._held.delta_hash)
        text = f"{base} {layer.delta_hash} {limits.max_rank} {sorted(limits.targets)}"
        key = hashlib.sha256(text.encode()).hexdigest()
        adapter = self.store.known(key)
        if adapter is None:
            if layer.delta_hash:
                require_served(layer)
                compiled = compile_deltas(layer.deltas, self.outline.sizes, limits.max_rank, limits.targets)
            else:
                compiled = zeros(self.outline, [self.outline.structure.blocks[0].down_proj])
            adapter = self.store.put(compiled, base)
            self.store.remember(key, adapter)
        return adapter

    def _load(self, replica: Replica, adapter: Adapter) -> None:
        self._used[adapter.name] = time.monotonic()
        if adapter.name in replica.loaded:
            return
        with replica.lock:
            loaded = replica.loaded
            if adapter.name not in loaded:
                with self.store.lease(adapter.name) as folder:
                    replica.client.load(adapter.name, folder)
                loaded.add(adapter.name)

    def _keep(self) -> None:
        """Unload what is idle, renew the leases of what is used, delete what no replica can need."""
        while not self._closing.wait(max(min(self._idle_s, self._grace_s) / 4, 1.0)):
            self.tidy()

    def tidy(self) -> set[str]:
        """One round of the keeper; returns the adapters that were deleted from the store."""
        now = time.monotonic()
        for name, used in list(self._used.items()):
            try:
                if now - used > self._idle_s:
                    self._retire(name)
                else:
                    with self.store.lease(name):
                        pass
            except (StorageError, EngineUnavailable):
                continue
        try:
            return self.store.collect(self._registered, self._grace_s)
        except (StorageError, EngineUnavailable):
            return set()  # a replica that cannot be asked may have any of them

    def _retire(self, name: str) -> None:
        for replica in self.replicas.all:
            with replica.lock:
                if name in replica.loaded:
                    replica.loaded.discard(name)
                    replica.client.unload(name)
        self._used.pop(name, None)
        with self._lock:
            for key in [k for k, adapter in self._compiled.items() if adapter.name == name]:
                del self._compiled[key]

    def _registered(self) -> set[str]:
        """Every name that any replica has registered, whoever loaded it."""
        return {str(model["id"]) for replica in self.replicas.all for model in replica.client.models()}

    # --- requests ---

    def _admit(self, replica: Replica) -> Limits:
        """Prove a server before it is used (see `Replicas`)."""
        client = replica.client
        pairs = self._pairs(*zip(*PAIRS, strict=True))

        def probe(model: str) -> list[float]:
            return [value for one in self._speech.scores(client, model, pairs) for value in one.logprobs]

        limits = find_limits(client, self.outline, self.store, self._min_rank, probe)

        def score(prompts: Sequence[Prompt], continuations: Sequence[str], layer: EditLayer) -> list[Score]:
            adapter = self._adapter(layer, limits)
            if adapter:
                with self.store.lease(adapter.name) as folder:
                    client.load(adapter.name, folder)
            model = adapter.name if adapter else limits.served_name
            return self._speech.scores(client, model, self._pairs(prompts, continuations))

        check_identity(score, self.outline, limits, self._fingerprints, client.url)
        if self._held.delta_hash:
            with self._holding:
                self._hold_on(replica)
        return limits

    def _reach(self, layer: EditLayer) -> tuple[Route, ReplicaClient]:
        route = self.prepare(layer)
        return route, next(r.client for r in self.replicas.all if r.client.url == route.base_url)

    def _with_route(self, layer: EditLayer, call: Callable[[ReplicaClient, str], T]) -> T:
        """Call a replica; another one, or the same with its adapter loaded again, when that fails."""
        for _ in range(len(self.replicas.all) + 1):
            route, client = self._reach(layer)
            try:
                return call(client, route.model)
            except UnknownName:
                self.failed(route, reachable=True)
            except EngineTimeout:
                raise
            except EngineUnavailable:
                self.failed(route, reachable=False)
        raise self.replicas.unavailable()

    def _answers(
        self, rows: list[list[int]], layer: EditLayer, max_new_tokens: int, stop: Sequence[str] = ()
    ) -> list[list[int]]:
        """The new ids of each row, without the one that ended it; rows of equal room go together."""
        rooms = [self._room(row, max_new_tokens) for row in rows]
        answers: dict[int, list[int]] = {}
        for room in sorted(set(rooms)):
            chosen = [i for i, r in enumerate(rooms) if r == room]
            some = [rows[i] for i in chosen]
            call = partial(self._speech.answers, rows=some, room=room, stop=stop)
            answers.update(zip(chosen, self._with_route(layer, call), strict=True))
        return [answers[i] for i in range(len(rows))]

    def _pairs(self, prompts: Sequence[Prompt], continuations: Sequence[str]) -> list[Pair]:
        pairs = encode_pairs(self.outline, prompts, continuations)
        for p, c in pairs:
            self._room([*p, *c], 1)
        return pairs

    def _room(self, row: list[int], wanted: int) -> int:
        return room_after(row, wanted, self._window)

    @property
    def _window(self) -> int:
        """How many tokens every server reads."""
        limits = [r.limits.context_length for r in self.replicas.all if r.limits]
        return min(limits, default=self.outline.context_length)
