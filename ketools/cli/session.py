"""What every command needs: the options before the command, the service, progress, output."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ketools.core.progress import Progress
    from ketools.core.results import Result
    from ketools.service.service import EditService
    from ketools.service.settings import Settings

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Space = Annotated[
    str | None,
    typer.Option("--space", "-s", envvar="KETOOLS_SPACE", help="user/NAME, session/ID or global; default user/local."),
]
Method = Annotated[str, typer.Option("--method", "-m", help="auto, or a name that `ketools methods` lists.")]
Model = Annotated[
    Path | None,
    typer.Option(help="A name that `ketools model list` shows, or a model directory."),
]
Home = Annotated[Path | None, typer.Option(help="Journal and artefacts; default ~/.local/share/ketools.")]
EngineName = Annotated[str | None, typer.Option(help="local (in this process, default) or vllm.")]
Device = Annotated[str | None, typer.Option(help="Where the editor and the local engine compute: cpu, cuda, cuda:N.")]
DType = Annotated[str | None, typer.Option(help="How they hold the weights: float32 (default), bfloat16 or float16.")]
Urls = Annotated[
    str | None, typer.Option("--url", help="vLLM replicas, comma-separated; without, `--engine vllm` starts one.")
]
Adapters = Annotated[Path | None, typer.Option(help="The adapter store, under the same path on every replica.")]
VLLMPython = Annotated[Path | None, typer.Option(help="The Python that has vLLM, to start one.")]
FLAGS = {
    "model": "--model",
    "home": "--home",
    "journal": "--journal",
    "engine": "--engine",
    "urls": "--url",
    "adapters": "--adapters",
    "vllm_python": "--vllm-python",
    "device": "--device",
    "dtype": "--dtype",
}
JournalPlace = Annotated[
    str | None, typer.Option("--journal", help="A file, or postgresql://USER@HOST/DATABASE; default in home.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Compute and verify, commit nothing.")]


@dataclass(frozen=True)
class Session:
    """The options that name a model, its engine and its home; before the command, or with `serve` after it."""

    model: Path | None = None
    home: Path | None = None
    engine: str | None = None
    urls: str | None = None
    adapters: Path | None = None
    vllm_python: Path | None = None
    journal: str | None = None
    device: str | None = None
    dtype: str | None = None

    def but(self, **given: Any) -> Session:
        """These options with those overriding them that were given."""
        return replace(self, **{key: value for key, value in given.items() if value is not None})

    def served(self) -> Session:
        """These options, with vLLM where nobody named an engine."""
        return self if self.engine or os.environ.get("KETOOLS_ENGINE") else replace(self, engine="vllm")

    def given(self) -> dict[str, Any]:
        """What was given, by the names of the settings."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    def arguments(self) -> list[str]:
        """The options as words of a command line."""
        return [word for key, value in self.given().items() for word in (FLAGS[key], str(value))]

    def settings(self) -> Settings:
        """The settings: environment, overridden by these options."""
        from ketools.service.settings import Settings

        return Settings(**self.given())

    def home_directory(self) -> Path:
        """Where everything is kept; the model's name is not looked at, which may have to be fetched first."""
        from ketools.models.catalogue import BUNDLED

        return replace(self, model=Path(BUNDLED)).settings().home

    @contextlib.contextmanager
    def service(self) -> Iterator[EditService]:
        """The service, closed afterwards."""
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        from ketools.service.opening import open_service

        with contextlib.closing(open_service(self.settings())) as service:
            yield service

    def run(self, name: str, /, **arguments: Any) -> Result:
        """Run one tool as the local operator, with its progress on stderr."""
        with self.service() as service:
            return run_tool(service, name, arguments)


def names(text: str | None) -> list[str] | None:
    """A comma-separated list; None when nothing was given."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def session(context: typer.Context) -> Session:
    """The session of the running command."""
    found = context.find_root().obj
    return found if isinstance(found, Session) else Session()


def run_tool(service: EditService, name: str, arguments: dict[str, Any]) -> Result:
    """One tool, its arguments checked as for every other client."""
    from ketools.core.principals import OPERATOR
    from ketools.tools.calling import call
    from ketools.tools.schemas import get_tool, input_model
    from ketools.tools.toolbox import Toolbox

    tool = get_tool(name)
    values = input_model(tool)(**arguments).one_level()
    with progress(tool.title) as report:
        return call(tool, Toolbox(service, OPERATOR, report), values).result


@contextlib.contextmanager
def progress(title: str) -> Iterator[Progress]:
    """A bar on stderr while the work lasts; silent when stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda done, total, message: None
        return
    from rich.console import Console
    from rich.progress import Progress as Bars

    with Bars(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(title, total=None)

        def report(done: int, total: int, message: str) -> None:
            bars.update(task, completed=done, total=total, description=message or title)

        yield report


def own_space(space: str | None) -> str:
    """The space that was named, else the local user's own."""
    from ketools.core.principals import OPERATOR

    return space or OPERATOR.home


def show(result: Result, as_json: bool, render: Callable[[Any], str] | None = None) -> None:
    """Print a result: its line for people, or all its fields as JSON."""
    if as_json:
        print(result.model_dump_json())
    else:
        print(render(result) if render else result.line())


def show_json(value: Any) -> None:
    """Print plain data as JSON."""
    print(json.dumps(value, indent=2, default=str))
