"""The replicas of a served model: which of them are ready, and which serves a name."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ketools.core.errors import EngineRefused, EngineUnavailable, KetoolsError
from ketools.engines.vllm.attach import Limits
from ketools.engines.vllm.client import ReplicaClient

log = logging.getLogger(__name__)
HEALTH_S = 2.0
TOLD_AFTER_S = 3.0
"""How long a wait for a first replica goes on before it is told."""
UNFIT_WAITS = 15
"""An unfit server is looked at again after so many looks: somebody may have restarted it."""


@dataclass(eq=False)
class Replica:
    """One server and what is known of it; `limits` is None until it has been checked (again)."""

    client: ReplicaClient
    limits: Limits | None = None
    loaded: set[str] = field(default_factory=set)
    problem: str = "not checked yet"
    refused: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def ready(self) -> bool:
        """Whether requests may be sent."""
        return self.limits is not None

    def lost(self, problem: str) -> None:
        """Forget what was known: whatever comes back under this address is checked anew."""
        # Without the lock, which a load may hold for long; a load under way adds to the set that it began with.
        self.limits, self.problem, self.loaded = None, problem, set()


class Replicas:
    """Watches servers in the background: one that dies is left out, one that comes (back) is checked, then used.

    `check` proves a server and tells its limits; see `ketools.engines.vllm.attach`.
    """

    def __init__(self, urls: Sequence[str], check: Callable[[Replica], Limits], *, health_s: float = HEALTH_S) -> None:
        self.all = tuple(Replica(ReplicaClient(url)) for url in dict.fromkeys(urls))
        self._check, self._health_s = check, health_s
        self._stop, self._changed = threading.Event(), threading.Condition()
        self._watchers = [
            threading.Thread(target=self._watch, args=(replica,), name=f"watch {replica.client.url}", daemon=True)
            for replica in self.all
        ]

    def start(self) -> None:
        """Begin to watch."""
        for watcher in self._watchers:
            watcher.start()

    def wait_ready(self, timeout_s: float, give_up: Callable[[], str] = str) -> None:
        """Return when a replica is ready, or `give_up` tells why waiting is of no use.

        Raises `EngineRefused` when every server was reached and found unfit, `EngineUnavailable` with what is
        wrong with each when none is ready in time.
        """
        with self._changed:
            begin, told = time.monotonic(), False
            while not (self._ready() or all(r.refused for r in self.all) or give_up()):
                waited = time.monotonic() - begin
                if waited >= timeout_s:
                    break
                if waited > TOLD_AFTER_S and not told:
                    told = True
                    log.warning("%s Waiting up to %.0f s (KETOOLS_WAIT_S).", self.unavailable(), timeout_s)
                self._changed.wait(0.5)
        if why := give_up():
            raise EngineUnavailable(why)
        if not self._ready():
            unavailable = self.unavailable()
            raise EngineRefused(str(unavailable)) if all(r.refused for r in self.all) else unavailable

    def _ready(self) -> bool:
        return any(r.ready for r in self.all)

    def ranked(self, key: str) -> list[Replica]:
        """The ready replicas in the order in which they should serve a name (rendezvous hashing).

        The same name goes to the same replica as long as that is ready, which keeps its prefix cache warm.
        """
        ready = [r for r in self.all if r.ready]
        if len(ready) < 2:
            return ready
        return sorted(ready, key=lambda r: hashlib.blake2b(f"{key} {r.client.url}".encode()).digest())

    def pick(self, key: str) -> Replica:
        """The replica that serves a name now. Raises `EngineUnavailable`."""
        ranked = self.ranked(key)
        if not ranked:
            raise self.unavailable()
        return ranked[0]

    def unavailable(self) -> EngineUnavailable:
        """That nothing can serve now, and why."""
        told = "; ".join(f"{r.client.url}: {r.problem}" for r in self.all if not r.ready)
        return EngineUnavailable(f"No vLLM replica is ready ({told}). Requests go on as soon as one is.")

    def close(self) -> None:
        """Stop watching and close the connections."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        for watcher in self._watchers:
            if watcher.is_alive():
                watcher.join(timeout=10.0)
        for replica in self.all:
            replica.client.close()

    def _watch(self, replica: Replica) -> None:
        failures = 0
        while not self._stop.is_set():
            try:
                replica.client.health()
                failures = 0
                if not replica.ready:
                    self._admit(replica)
            except EngineUnavailable as error:
                failures += 1
                # A busy server may miss one look; one that refuses connections is gone.
                if replica.ready and (failures > 1 or "cannot be reached" in str(error)):
                    log.warning("%s", error)
                    replica.lost(str(error))
                elif not replica.ready:
                    replica.problem = str(error)
            self._stop.wait(self._health_s * (UNFIT_WAITS if replica.refused else 1))

    def _admit(self, replica: Replica) -> None:
        try:
            limits = self._check(replica)
        except KetoolsError as error:
            if str(error) != replica.problem:
                log.warning("%s", error)
            with self._changed:
                replica.problem, replica.refused = str(error), isinstance(error, EngineRefused)
                self._changed.notify_all()
            return
        with self._changed:
            replica.limits, replica.refused = limits, False
            self._changed.notify_all()
