"""What the gateway counts, for Prometheus. No label tells a space, a principal or a prompt."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
"""Seconds: from a cached first token to a long answer on a busy machine."""


@dataclass
class Metrics:
    """One gateway's counters, in a registry of their own."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        name, registry = "ketools_gateway_", self.registry
        self.requests = Counter(f"{name}requests", "Requests answered.", ["route", "status"], registry=registry)
        self.running = Gauge(f"{name}running", "Requests under way.", registry=registry)
        self.first = Histogram(
            f"{name}first_byte_seconds", "To the answer's first byte.", ["route"], registry=registry, buckets=BUCKETS
        )
        self.whole = Histogram(f"{name}seconds", "To the answer's end.", ["route"], registry=registry, buckets=BUCKETS)
        self.hang_ups = Counter(f"{name}hang_ups", "Callers that left before the answer's end.", registry=registry)
        self.retries = Counter(f"{name}retries", "Attempts repeated while an engine was away.", registry=registry)
        self.with_notes = Counter(f"{name}noted", "Requests of spaces that have notes.", registry=registry)

    def page(self) -> tuple[bytes, str]:
        """The page that Prometheus reads, and its content type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST


class Measured:
    """ASGI middleware that counts and times the requests of known routes."""

    def __init__(self, app: ASGIApp, metrics: Metrics, routes: frozenset[str]) -> None:
        self.app, self.metrics, self.routes = app, metrics, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"] not in self.routes:
            await self.app(scope, receive, send)
            return
        route, begin, status = scope["path"], time.perf_counter(), 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif status and message.get("body"):
                self._first(route, begin, status)
                status = 0
            await send(message)

        with self.metrics.running.track_inprogress():
            await self.app(scope, receive, noting)
        self.metrics.whole.labels(route).observe(time.perf_counter() - begin)

    def _first(self, route: str, begin: float, status: int) -> None:
        self.metrics.requests.labels(route, str(status)).inc()
        self.metrics.first.labels(route).observe(time.perf_counter() - begin)
