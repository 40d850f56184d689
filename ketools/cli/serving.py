"""Commands that open doors: the MCP server, its tokens, a conversation."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ketools.cli.errors import Group
from ketools.cli.session import (
    Adapters,
    Device,
    DType,
    EngineName,
    JournalPlace,
    Json,
    Model,
    Session,
    Urls,
    VLLMPython,
    names,
    session,
    show_json,
)

if TYPE_CHECKING:
    from ketools.servers.mcp import Choice
    from ketools.servers.tokens import TokenFile

TokenPath = Annotated[
    Path | None, typer.Option("--token-file", envvar="KETOOLS_TOKEN_FILE", help="Default: HOME/tokens.json.")
]

AllowedHosts = Annotated[
    list[str] | None,
    typer.Option("--allowed-host", help="A Host header to accept besides the bound one; repeatable."),
]


def address(text: str) -> tuple[str, int]:
    """HOST:PORT; a bare port means this machine only."""
    host, _, port = text.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise typer.BadParameter(f"{text!r} is not HOST:PORT", param_hint="--http")
    return host or "127.0.0.1", int(port)


def token_file(options: Session, path: Path | None) -> TokenFile:
    """The token file of this home, or the one given."""
    from ketools.servers.tokens import TokenFile

    return TokenFile(path or options.home_directory() / "tokens.json")


def serve(
    context: typer.Context,
    http: Annotated[
        str | None, typer.Option(envvar="KETOOLS_HTTP", help="HOST:PORT for streamable HTTP; default stdio.")
    ] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", envvar="KETOOLS_READ_ONLY", help="Only tools that change nothing.")
    ] = False,
    tools: Annotated[
        str | None, typer.Option(envvar="KETOOLS_TOOLS", help="Only these tools, comma-separated.")
    ] = None,
    toolsets: Annotated[
        str | None,
        typer.Option(
            envvar="KETOOLS_TOOLSETS", help="Tool sets to list, of core,spaces,lab,admin or all; default core."
        ),
    ] = None,
    exclude_tools: Annotated[
        str | None, typer.Option(envvar="KETOOLS_EXCLUDE_TOOLS", help="Not these tools, comma-separated.")
    ] = None,
    allow_erase: Annotated[
        bool, typer.Option("--allow-erase", envvar="KETOOLS_ALLOW_ERASE", help="Erase without asking.")
    ] = False,
    allowed_host: AllowedHosts = None,
    gateway: Annotated[
        bool, typer.Option("--gateway", envvar="KETOOLS_GATEWAY", help="Also OpenAI's API under /v1.")
    ] = False,
    token_path: TokenPath = None,
    model: Model = None,
    journal: JournalPlace = None,
    engine: EngineName = None,
    url: Urls = None,
    adapters: Adapters = None,
    vllm_python: VLLMPython = None,
    device: Device = None,
    dtype: DType = None,
    as_json: Annotated[bool, typer.Option("--json", help="Where it listens, as a line of JSON (HTTP only).")] = False,
) -> None:
    """Serve the tools over MCP, on stdio or streamable HTTP."""
    from ketools.servers.mcp import build_server
    from ketools.servers.stdio import serve_stdio
    from ketools.tools.choosing import select

    options = session(context).but(
        model=model,
        journal=journal,
        engine=engine,
        urls=url,
        adapters=adapters,
        vllm_python=vllm_python,
        device=device,
        dtype=dtype,
    )
    choice: Choice = {
        "read_only": read_only,
        "names": names(tools),
        "exclude": names(exclude_tools) or (),
        "toolsets": names(toolsets),
    }
    select(**choice)
    if options.model is None and not os.environ.get("KETOOLS_MODEL"):
        options = _with_default_model(options)
    if http is None:
        if gateway:
            raise typer.BadParameter("a gateway is served over HTTP; add --http HOST:PORT", param_hint="--gateway")
        if as_json:
            raise typer.BadParameter("on stdio only MCP may be written; add --http HOST:PORT", param_hint="--json")
        require_model(options)
        with options.service() as service:
            service.take_part()
            if service.settings.in_place:
                service.start()
            serve_stdio(build_server(service, allow_erase=allow_erase, **choice), service)
    doors = {"gateway": gateway, "as_json": as_json}
    _serve_http(options, address(http), token_path, allowed_host or [], **doors, allow_erase=allow_erase, **choice)


def require_model(options: Session) -> None:
    """Raise before anybody connects when the model directory is missing, broken or unsafe, or when the vLLM that is to
    be started is missing.
    """
    from ketools.models.directory import check_directory

    settings = options.settings()
    check_directory(settings.model)
    if settings.engine == "vllm" and not settings.urls:
        from ketools.engines.vllm.process import inspect_python

        inspect_python(settings.vllm_python)


def _with_default_model(options: Session) -> Session:
    """The options with the model that stands in for none; one line on stderr says which, and how to name another."""
    from ketools.models.catalogue import BUNDLED, DEFAULTS, ModelStore

    home = options.home_directory()
    fetched = ModelStore(home).default()
    name = fetched.name if fetched else BUNDLED
    known = f"fetched into {home}" if fetched else f"bundled; a pretrained one: ketools model get {DEFAULTS[0]}"
    sys.stderr.write(f"ketools: serving {name} ({known}); another model: --model NAME, or KETOOLS_MODEL\n")
    return options.but(model=Path(name))


def _serve_http(
    options: Session,
    where: tuple[str, int],
    token_path: Path | None,
    allowed: list[str],
    gateway: bool,
    as_json: bool,
    **chosen: Any,
) -> None:
    from ketools.servers.gateway import gateway_app
    from ketools.servers.http import http_app, listen, verifier_for

    host, port = where
    tokens = token_file(options, token_path)
    guarded = verifier_for(host, tokens) is not None  # refuse before the model is loaded
    require_model(options)
    with options.service() as service:
        how = "with bearer tokens" if guarded else "without tokens, for this machine only"
        place = f"http://{host}:{port}"
        sys.stderr.write(f"ketools: serving MCP on {place}/mcp {how}\n")
        if as_json:
            told = {"mcp": f"{place}/mcp", "gateway": f"{place}/v1" if gateway else None, "tokens": guarded}
            print(json.dumps(told), flush=True)
        service.take_part()
        service.start()
        app = http_app(service, host=host, port=port, tokens=tokens, allowed_hosts=allowed, **chosen)
        if gateway:
            app = gateway_app(service, host=host, tokens=tokens, allowed_hosts=allowed, rest=app)
            sys.stderr.write(f"ketools: OpenAI-compatible gateway on {place}/v1\n")
        listen(app, host, port, service.close)


token_app = typer.Typer(cls=Group, help="Bearer tokens of the HTTP server.", no_args_is_help=True)


@token_app.command("new")
def token_new(
    context: typer.Context,
    name: Annotated[str, typer.Option(help="Who it is for.")],
    scopes: Annotated[
        str, typer.Option(help="Of read, edit, erase, approve, admin; spaces and lab list more tools.")
    ] = "read",
    spaces: Annotated[str, typer.Option(help="Comma-separated names or patterns: 'user/alice'.")] = "",
    token_path: TokenPath = None,
    as_json: Json = False,
) -> None:
    """Make a token and print it once; the file keeps only its hash."""
    file = token_file(session(context), token_path)
    token = file.add(name, names(scopes) or [], names(spaces) or [])
    if as_json:
        show_json({"name": name, "token": token, "file": str(file.path)})
    else:
        print(token)
        sys.stderr.write(f"ketools: this is shown once; {file.path} keeps only its hash\n")


@token_app.command("list")
def token_list(context: typer.Context, token_path: TokenPath = None, as_json: Json = False) -> None:
    """List who holds tokens."""
    records = [r.model_dump(mode="json") for r in token_file(session(context), token_path).records().values()]
    if as_json:
        show_json({"tokens": records})
    else:
        print(
            "\n".join(f"{r['name']}: {','.join(r['scopes'])} on {','.join(r['spaces']) or 'no space'}" for r in records)
        )


@token_app.command("revoke")
def token_revoke(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Whose tokens.")],
    token_path: TokenPath = None,
    as_json: Json = False,
) -> None:
    """Revoke every token of a name; a running server notices at once."""
    revoked = token_file(session(context), token_path).revoke(name)
    if as_json:
        show_json({"name": name, "revoked": revoked})
    else:
        print(f"Revoked {revoked} token(s) of {name}.")
