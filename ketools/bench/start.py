"""`ketools bench start`: what a start costs, in CPU seconds of a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ketools.core.progress import Progress, quiet
from ketools.service.settings import Settings

PROTOCOL = "2025-06-18"
HELLO: tuple[Mapping[str, Any], ...] = (
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": PROTOCOL,
            "capabilities": {},
            "clientInfo": {"name": "ketools bench", "version": "1"},
        },
    },
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
    {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
)
"""What an MCP client says up to the list of tools."""


def bench_start(settings: Settings, n: int = 3, progress: Progress = quiet) -> dict[str, float]:
    """CPU seconds, of `n` starts the least, with an empty journal.

    `help_s`: of `ketools --help`; `list_s`, `list_mb`: of `ketools list` and its peak of resident memory in MB;
    `tools_list_s`: of `ketools serve` until a client has the list of tools.
    """
    with tempfile.TemporaryDirectory(prefix="ketools-bench-") as home:
        options = ["--home", home, "--model", str(settings.model)]
        found: list[dict[str, float]] = []
        for turn in range(n):
            progress(turn, n, "starting")
            found.append(_once(options))
    return {name: min(one[name] for one in found) for name in found[0]}


def _once(options: list[str]) -> dict[str, float]:
    listed = _run([*options, "list"])
    return {
        "help_s": _run(["--help"]).seconds,
        "list_s": listed.seconds,
        "tools_list_s": _until_listed([*options, "serve"]),
        "list_mb": listed.mb,
    }


@dataclass(frozen=True)
class Used:
    """What a process used: CPU seconds, and its peak of resident memory in MB."""

    seconds: float
    mb: float


def _run(arguments: list[str]) -> Used:
    """Run a command, which tells at its end what it used; the system's own count includes this process's memory."""
    command = [sys.executable, "-c", _TELLING, *arguments]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True)
    seconds, mb = done.stderr.splitlines()[-1].split()
    return Used(float(seconds), float(mb))


_TELLING = """
import sys, time
from ketools.cli.main import app
try:
    app()
finally:
    from ketools.core.footprint import own_peak
    print(time.process_time(), own_peak() / 2**20, file=sys.stderr)
"""


def _until_listed(arguments: list[str]) -> float:
    """CPU seconds of a server on stdio when its answer to `tools/list` arrives."""
    with subprocess.Popen(
        [sys.executable, "-m", "ketools.cli.main", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        assert server.stdin is not None and server.stdout is not None
        for message in HELLO:
            server.stdin.write(json.dumps(message) + "\n")
        server.stdin.flush()
        _await_answer(server.stdout, 2)
        used = _cpu_seconds(server.pid)
        server.stdin.close()
    return used


def _await_answer(output: IO[str], number: int) -> None:
    for line in output:
        if json.loads(line).get("id") == number:
            return
    raise RuntimeError("the server ended before it answered")


def _cpu_seconds(pid: int) -> float:
    """CPU time of a running process so far (Linux): fields 14 and 15 of its stat, in clock ticks."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
