"""A vLLM server of our own: started with the flags that edits need, watched, started again when it dies."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ketools.core.errors import EngineRefused, MissingExtra
from ketools.core.private import make_private, private_folder, private_opener
from ketools.models.directory import model_name

log = logging.getLogger(__name__)

TARGETS = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")
"""Never lm_head: with it wrapped, two requests with prompt_logprobs in one batch kill vLLM's engine."""
DATA_ONLY = ("--no-trust-remote-code", "--load-format", "safetensors")
"""Last on the command line, so that no flag before them counts: a model directory's code and pickles never run."""
STOP_S = 20.0
RESTARTS_S = (1.0, 2.0, 5.0, 15.0, 60.0)
LOG_TAIL = 2000

# Dies with its parent, however that dies: a server without its supervisor would hold the port and the memory.
_GUARD = (
    "import ctypes, os, signal, sys; "
    "ctypes.CDLL(None).prctl(1, signal.SIGTERM); "
    "sys.exit(1) if os.getppid() != int(sys.argv[1]) else os.execv(sys.argv[2], sys.argv[2:])"
)


@dataclass(frozen=True)
class VLLMFlags:
    """How vLLM is started. `max_rank`: one of vLLM's values; on a CPU every token pays for it.

    `extra`: more flags, passed on as they are.
    """

    max_rank: int = 64
    max_loras: int = 8
    max_cpu_loras: int = 64
    dtype: str = "auto"
    extra: tuple[str, ...] = ()


@dataclass(eq=False)
class VLLMServer:
    """One supervised server on loopback. `python`: the interpreter that has vLLM (and ketools, without its
    dependencies, for the resolver and the worker extension)."""

    model: Path
    adapters: Path
    log_file: Path
    python: Path = Path(sys.executable)
    port: int = 0
    served_name: str | None = None
    flags: VLLMFlags = field(default_factory=VLLMFlags)
    environment: Mapping[str, str] = field(default_factory=dict)
    starts: int = 0
    gave_up: str = ""

    def __post_init__(self) -> None:
        if any(flag.replace("_", "-").startswith("--trust-remote-code") for flag in self.flags.extra):
            raise EngineRefused(
                "ketools never runs code of a model directory. Leave --trust-remote-code out of the vLLM flags, and "
                "serve a model that vLLM knows by itself."
            )
        self.port = self.port or _free_port()
        self._closing = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._has_plugin = inspect_python(self.python)
        # Its own thread starts every process: the guard's signal comes when the *thread* that forked ends.
        self._supervisor = threading.Thread(target=self._supervise, name="vllm supervisor", daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """The running process."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start it in the background; it takes a minute or two until it answers."""
        self._supervisor.start()

    def command(self) -> list[str]:
        """The command line: the module, since `vllm serve` is missing in some builds of the package."""
        flags = self.flags
        command = [str(self.python), "-m", "vllm.entrypoints.openai.api_server", "--model", str(self.model)]
        command += ["--served-model-name", self.served_name or model_name(self.model)]
        command += ["--host", "127.0.0.1", "--port", str(self.port), "--dtype", flags.dtype, "--enable-lora"]
        command += ["--max-lora-rank", str(flags.max_rank), "--max-loras", str(flags.max_loras)]
        command += ["--max-cpu-loras", str(flags.max_cpu_loras), "--lora-target-modules", *TARGETS]
        if self._has_plugin:
            command += ["--worker-extension-cls", "ketools.vllm_plugin.worker.EditWorker"]
        return [*command, *flags.extra, *DATA_ONLY]

    def variables(self) -> dict[str, str]:
        """The environment: adapters at run time, the resolver's store, nothing from a hub."""
        ours = {
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
            "VLLM_PLUGINS": "ketools" if self._has_plugin else "",
            "VLLM_NO_USAGE_STATS": "1",
            "HF_HUB_OFFLINE": "1",
            "KETOOLS_ADAPTERS": str(self.adapters),
        }
        defaults = {"VLLM_CPU_KVCACHE_SPACE": "1"}
        return {**defaults, **os.environ, **ours, **self.environment}

    def tail(self) -> str:
        """The end of its log."""
        try:
            return self.log_file.read_bytes()[-LOG_TAIL:].decode(errors="replace").strip()
        except OSError:
            return ""

    def kill(self) -> None:
        """Kill it at once with everything it started; the supervisor starts it again."""
        if self._process and self._process.poll() is None:
            _signal_group(self._process, signal.SIGKILL)

    def close(self) -> None:
        """Stop it and wait until it is gone."""
        self._closing.set()
        process = self._process
        if process and process.poll() is None:
            _signal_group(process, signal.SIGTERM)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                _signal_group(process, signal.SIGKILL)
                process.wait()
        if self._supervisor.is_alive():
            self._supervisor.join()

    def _supervise(self) -> None:
        failures = 0
        while not self._closing.is_set():
            code = self._run()
            if self._closing.is_set():
                return
            failures += 1
            self.gave_up = f"vLLM ended with code {code}" if failures >= len(RESTARTS_S) else ""
            wait = RESTARTS_S[min(failures, len(RESTARTS_S)) - 1]
            log.warning("vLLM ended with code %s; starting it again in %.0f s (log: %s)", code, wait, self.log_file)
            self._closing.wait(wait)

    def _run(self) -> int:
        private_folder(self.log_file.parent)
        make_private(self.log_file)
        guarded = [sys.executable, "-c", _GUARD, str(os.getpid()), *self.command()]
        with open(self.log_file, "ab", opener=private_opener) as output:
            self._process = subprocess.Popen(
                guarded,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.variables(),
                start_new_session=True,
            )
        self.starts += 1
        if self._closing.is_set():  # in between: whoever closes has looked at the process before
            _signal_group(self._process, signal.SIGKILL)
        code = self._process.wait()
        # Its engine may outlive it, and hold the memory that the next one needs.
        _signal_group(self._process, signal.SIGKILL)
        return code


OTHERWISE = (
    " in an environment of its own, and name its Python by --vllm-python. Or leave --engine vllm out: the engine in "
    "this process serves tools and gateway too."
)


def inspect_python(python: Path) -> bool:
    """Whether that interpreter has ketools beside vLLM. Raises `MissingExtra` without vLLM."""
    code = "import importlib.util as u; print(*(u.find_spec(m) is not None for m in ('vllm', 'ketools')))"
    try:
        found = subprocess.run([str(python), "-c", code], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise EngineRefused(f"{python} does not run: {error}. Name a Python with vLLM by --vllm-python.") from error
    has_vllm, has_ketools = (word == "True" for word in found.stdout.split())
    if not has_vllm:
        raise MissingExtra("vllm", "vllm", OTHERWISE)
    return has_ketools


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return
