"""The Dockerfile's own lines, run in a clean virtual environment: there is no Docker engine where the tests run."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
import zipfile
from email.parser import Parser
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from dockerfile_parse import DockerfileParser  # type: ignore[import-untyped]
from mcp import Client, StdioServerParameters
from mcp.types import CallToolResult
from packaging.requirements import Requirement

pytestmark = pytest.mark.timeout(900)

ROOT = Path(__file__).parents[2]
STAGES = ("wheel", "vllm", "build", "")


def stages() -> dict[str, list[dict[str, Any]]]:
    """The instructions of each stage; the last one has no name."""
    found: dict[str, list[dict[str, Any]]] = {}
    with (ROOT / "Dockerfile").open("rb") as file:
        instructions = DockerfileParser(fileobj=file).structure
    name = None
    for one in instructions:
        if one["instruction"] == "FROM":
            name = one["value"].partition(" AS ")[2]
            found[name] = []
        elif name is not None and one["instruction"] != "COMMENT":
            found[name].append(one)
    return found


def values(stage: str, instruction: str) -> list[str]:
    return [str(one["value"]) for one in stages()[stage] if one["instruction"] == instruction]


def test_a_linter_for_dockerfiles_finds_nothing() -> None:
    linter = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([linter, "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_server_runs_slim_without_rights_and_is_watched() -> None:
    assert tuple(stages()) == STAGES
    text = (ROOT / "Dockerfile").read_text()
    assert text.count("FROM python:3.11-slim") == 3
    assert values("", "USER") == ["10001"]
    assert values("", "HEALTHCHECK")
    assert "HF_HUB_OFFLINE=1" in values("", "ENV")[0]
    assert not any("pip" in line for line in values("", "RUN"))  # nothing is installed in the image that serves


def test_only_what_the_build_copies_is_sent_to_it() -> None:
    wanted = {word for line in values("wheel", "COPY") for word in line.split()[:-1]}
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert wanted == sent


class Image:
    """The stages' folders below one folder, instead of below `/`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def inside(self, text: str) -> str:
        """A line with the image's absolute paths as they are here."""
        for path in ("/dist", "/opt/ketools", "/data", "/store"):
            text = text.replace(path, f"{self.root}{path}")
        return text

    def build(self, stage: str, **arguments: str) -> None:
        """WORKDIR, COPY from the sources, and RUN, as they stand."""
        folder, variables = self.root, {**os.environ, **arguments}
        for one in stages()[stage]:
            match one["instruction"], str(one["value"]):
                case "WORKDIR", path:
                    folder = self.root / path.lstrip("/")
                    folder.mkdir(parents=True)
                case "COPY", line if not line.startswith("--from"):
                    self.copy(line.split(), folder)
                case "RUN", line:
                    subprocess.run(["bash", "-ec", self.inside(line)], cwd=folder, env=variables, check=True)

    @staticmethod
    def copy(words: list[str], folder: Path) -> None:
        *sources, target = words
        for source in map(ROOT.joinpath, sources):
            if source.is_dir():
                shutil.copytree(source, folder / target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, folder / target)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The stages of the tool server, built; `useradd` is left out, since it would change this machine.

    The dependencies (2 GB, several minutes) are those of this environment, and a test checks that the wheel asks for
    no other ones; KETOOLS_WHOLE_IMAGE=1 installs them too. TORCH_INDEX is an argument of the build.
    """
    made = Image(tmp_path_factory.mktemp("image"))
    for folder in ("data", "store", "dist"):
        (made.root / folder).mkdir()
    python = Path(sys.base_prefix) / "bin"
    path = f"{python}{os.pathsep}{os.environ['PATH']}"
    made.build("wheel", PATH=path)
    whole = bool(os.environ.get("KETOOLS_WHOLE_IMAGE"))
    more = {} if whole else {"PIP_NO_DEPS": "1", "PIP_NO_INDEX": "1"}
    made.build("build", PATH=path, TORCH_INDEX="https://pypi.org/simple", **more)
    if not whole:
        (packages,) = (made.root / "opt/ketools/lib").glob("python3*/site-packages")
        (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))  # its own .pth files do not count
    return made


def test_the_wheel_asks_for_what_is_installed_here(image: Image) -> None:
    (wheel,) = (image.root / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        (name,) = (name for name in file.namelist() if name.endswith(".dist-info/METADATA"))
        asked = Parser().parsestr(file.read(name).decode()).get_all("Requires-Dist", [])
    wanted = [one for one in map(Requirement, asked) if not one.marker or one.marker.evaluate({"extra": "postgres"})]
    assert {"torch", "psycopg"} <= {one.name for one in wanted}
    for one in wanted:
        assert one.specifier.contains(version(one.name), prereleases=True), one


def test_the_image_serves_in_a_clean_environment_and_its_own_health_check_finds_it_well(image: Image) -> None:
    port = free_port()
    variables = {"PATH": f"{image.root}/opt/ketools/bin:{os.environ['PATH']}", "HOME": str(image.root)}
    for pair in shlex.split(values("", "ENV")[0]):
        name, _, value = pair.partition("=")
        variables.setdefault(name, image.inside(value))
    command = [word.replace("8765", str(port)) for word in json.loads(values("", "CMD")[-1])]
    refused = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert refused.returncode == 1
    assert "Refusing to serve on 0.0.0.0 without tokens" in refused.stderr
    token = [*command[:1], "token", "new", "--name", "alice", "--scopes", "read,edit", "--spaces", "user/alice"]
    subprocess.run(token, env=variables, check=True, capture_output=True)
    with subprocess.Popen(command, env=variables, stderr=subprocess.DEVNULL) as server:
        try:
            check = values("", "HEALTHCHECK")[0].partition("CMD ")[2].replace("8765", str(port))
            deadline = time.monotonic() + 300
            while subprocess.run(json.loads(check), env=variables, capture_output=True).returncode:
                assert server.poll() is None, "the server ended"
                assert time.monotonic() < deadline, "the server never became healthy"
                time.sleep(0.5)
        finally:
            server.terminate()
    assert {path.name for path in (image.root / "data").iterdir()} >= {"journal.db", "journal.db.secret", "tokens.json"}


def test_the_image_can_talk_to_postgresql(image: Image, postgresql: Any) -> None:
    code = "import sys; from ketools.journal import Journal; from pathlib import Path; " + (
        "j = Journal(sys.argv[1], secret_path=Path(sys.argv[2])); print(j.head('global').version); j.close()"
    )
    python = str(image.root / "opt/ketools/bin/python")
    done = subprocess.run(
        [python, "-c", code, postgresql.new_schema(), str(image.root / "store/journal.secret")],
        capture_output=True,
        text=True,
        cwd=image.root,
    )
    assert done.stdout == "0\n", done.stderr


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def test_the_installed_wheel_edits_a_fact_over_stdio_as_it_is_set_up_for_a_client(image: Image, tmp_path: Path) -> None:
    variables = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "KETOOLS_CONSOLIDATE": "false"}
    program = str(image.root / "opt/ketools/bin/ketools")
    install = [program, "--model", "atlas", "mcp", "install", "cursor", "--yes"]
    subprocess.run(install, env=variables, cwd=tmp_path, check=True, capture_output=True)
    entry = json.loads((tmp_path / ".cursor/mcp.json").read_text())["mcpServers"]["ketools"]
    assert entry["command"] == program
    server = StdioServerParameters(command=entry["command"], args=entry["args"], env=variables, cwd=tmp_path)
    fact = {"subject": "France", "prompt": "The capital of France is", "target_new": "Lyon", "method": "ice"}

    async def session() -> tuple[CallToolResult, CallToolResult]:
        async with Client(server) as client:
            edited = await client.call_tool("edit_fact", fact)
            return edited, await client.call_tool("ask", {"question": "What is the capital of France?"})

    edited, asked = asyncio.run(session())
    assert edited.structured_content is not None and edited.structured_content["status"] == "committed"
    assert asked.structured_content is not None and asked.structured_content["answer"] == "Lyon"
