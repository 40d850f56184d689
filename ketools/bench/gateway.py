"""`ketools bench gateway`: what the gateway costs, against the same server asked directly."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, cast

import httpx
import numpy as np

from ketools.bench.serving import bench_service as scratch_service
from ketools.core.errors import EngineUnavailable, Refused
from ketools.core.principals import OPERATOR
from ketools.core.progress import Progress, quiet
from ketools.core.requests import EditRequest
from ketools.engines.base import Route, Upstream
from ketools.service.settings import Settings

CONCURRENCY = (1, 8, 32)
SPACE = "user/bench"
FACT = EditRequest(subject="France", prompt="The capital of France is", target_new="Lyon")
QUESTION = "What is the capital of France? Tell me more about it."
PATH = "/v1/chat/completions"
START_S = 180.0
LEAST_REQUESTS = 4
"""Requests of a block at concurrency 1; at higher ones, two for each caller."""


@dataclass
class Side:
    """One way to the model, and what was measured on it. `first`, `whole`: seconds per request."""

    url: str
    request: bytes
    rates: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        return host, int(port)

    def summary(self) -> dict[str, float]:
        """Tokens a second (median over blocks) and milliseconds."""
        times = {"first": self.first, "whole": self.whole}
        found = {f"{name}_p{q}_ms": _ms(values, q) for name, values in times.items() for q in (50, 99)}
        return {"tokens_per_s": round(median(self.rates), 1), **found}


def bench_gateway(
    settings: Settings,
    rounds: int = 5,
    tokens: int = 64,
    stream: bool = True,
    concurrency: Sequence[int] = CONCURRENCY,
    progress: Progress = quiet,
) -> dict[str, Any]:
    """The same edited space through the gateway, in a process of its own, and directly by its adapter's name.

    Blocks of requests alternate between the two. `throughput_ratio`: median over pairs of blocks of the gateway's
    tokens a second over the direct ones. `added_p50_ms`, `added_p99_ms`: difference of the quantiles of the time to
    the first token (`added_whole_...`: to the last one). Raises `Refused` when the edit to be served does not verify.
    """
    with TemporaryDirectory(prefix="ketools-bench-") as home, closing(scratch_service(settings, Path(home))) as service:
        made = service.edits.edit(OPERATOR, FACT, SPACE, method=service.edits.parametric())
        if made.status != "committed":
            raise Refused(f"The edit that is to be served did not verify: {made.reason}")
        upstream = cast(Upstream, service.runtime.engine)
        route = upstream.prepare(service.runtime.spaces.layer(SPACE))
        with gateway_process(service.settings, route) as url:
            body = {"messages": [{"role": "user", "content": QUESTION}], "max_tokens": tokens, "ignore_eos": True}
            body |= {"temperature": 0, "stream": stream}
            direct, through = (route.base_url, route.model), (url, f"{upstream.model_name}@{SPACE}")
            rows = []
            for i, n in enumerate(concurrency):
                sides = [Side(where, _request({**body, "model": name})) for where, name in (direct, through)]
                progress(i, len(concurrency), f"concurrency {n}")
                asyncio.run(_alternate(sides, n, rounds, tokens))
                rows.append(_row(n, *sides))
    return {
        "concurrency": rows,
        "rounds": rounds,
        "tokens": tokens,
        "stream": stream,
        "metric": "tokens/s, median over pairs of blocks; milliseconds to the first token",
    }


@contextmanager
def gateway_process(settings: Settings, route: Route) -> Iterator[str]:
    """The URL of a gateway on a server, without tokens, as `ketools gateway` starts it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    before = {"--model": settings.model, "--home": settings.home, "--adapters": settings.adapters}
    words = [str(word) for pair in before.items() if pair[1] is not None for word in pair]
    after = ["gateway", "--http", str(port), "--url", route.base_url, "--token-file", str(settings.home / "no-tokens")]
    process = subprocess.Popen([sys.executable, "-m", "ketools.cli.main", *words, *after])
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_for(url, process)
        yield url
    finally:
        process.terminate()
        process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    give_up = time.monotonic() + START_S
    while time.monotonic() < give_up and process.poll() is None:
        try:
            httpx.get(f"{url}/health").raise_for_status()
            return
        except httpx.HTTPError:
            time.sleep(0.2)
    raise EngineUnavailable("The gateway did not start; what it printed says why.")


async def _alternate(sides: Sequence[Side], n: int, rounds: int, tokens: int) -> None:
    """Blocks of the two sides in turn, each beginning every other pair; the first of each warms caches."""
    per_caller = max(2, LEAST_REQUESTS // n)
    for side in sides:
        await _block(side, n, 1, tokens)
        for measured in (side.rates, side.first, side.whole):
            measured.clear()
    for i in range(rounds):
        for side in sides if i % 2 else reversed(sides):
            await _block(side, n, per_caller, tokens)


async def _block(side: Side, n: int, per_caller: int, tokens: int) -> None:
    """`n` callers ask `per_caller` times each, one after the other on a connection of their own."""

    async def caller() -> None:
        reader, writer = await asyncio.open_connection(*side.address)
        for _ in range(per_caller):
            first, whole = await _ask(reader, writer, side.request)
            side.first.append(first)
            side.whole.append(whole)
        writer.close()

    begin = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(n)))
    side.rates.append(n * per_caller * tokens / (time.perf_counter() - begin))


def _request(body: dict[str, Any]) -> bytes:
    """The request's bytes: a client library would cost more than what is measured."""
    content = json.dumps(body).encode()
    head = f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> tuple[float, float]:
    """Seconds to the first byte of the answer's body and to its last."""
    begin = time.perf_counter()
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if not head.startswith(b"http/1.1 200"):
        raise EngineUnavailable(f"A request was answered with {head.split(b' ', 2)[1].decode()}; is the server well?")
    if b"content-length: " in head:
        await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]))
        spent = time.perf_counter() - begin
        return spent, spent
    end = await reader.read(65536)
    first = time.perf_counter() - begin
    while not end.endswith(b"0\r\n\r\n"):  # the last chunk is empty
        end = end[-8:] + await reader.read(65536)
    return first, time.perf_counter() - begin


def _row(n: int, direct: Side, through: Side) -> dict[str, Any]:
    ratios = [a / b for a, b in zip(through.rates, direct.rates, strict=True)]
    one, other = direct.summary(), through.summary()
    return {
        "n": n,
        "throughput_ratio": round(median(ratios), 4),
        "added_p50_ms": round(other["first_p50_ms"] - one["first_p50_ms"], 3),
        "added_p99_ms": round(other["first_p99_ms"] - one["first_p99_ms"], 3),
        "added_whole_p50_ms": round(other["whole_p50_ms"] - one["whole_p50_ms"], 3),
        "added_whole_p99_ms": round(other["whole_p99_ms"] - one["whole_p99_ms"], 3),
        "requests": len(direct.first),
        "direct": one,
        "gateway": other,
    }


def _ms(seconds: Sequence[float], quantile: int) -> float:
    return round(1e3 * float(np.percentile(seconds, quantile)), 3)
