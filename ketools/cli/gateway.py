"""`ketools gateway`: the OpenAI-compatible door to vLLM, by itself."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ketools.cli.serving import AllowedHosts, TokenPath, address, require_model, token_file
from ketools.cli.session import Adapters, EngineName, JournalPlace, Model, Urls, VLLMPython, session


def gateway(
    context: typer.Context,
    http: Annotated[str, typer.Option(envvar="KETOOLS_HTTP", help="HOST:PORT; a bare port is for this machine only.")],
    allowed_host: AllowedHosts = None,
    token_path: TokenPath = None,
    model: Model = None,
    journal: JournalPlace = None,
    engine: EngineName = None,
    url: Urls = None,
    adapters: Adapters = None,
    vllm_python: VLLMPython = None,
) -> None:
    """Serve BASE and BASE@space over OpenAI's API from vLLM, without the tools."""
    from ketools.servers.gateway import gateway_app
    from ketools.servers.http import listen, verifier_for

    options = (
        session(context)
        .but(model=model, journal=journal, engine=engine, urls=url, adapters=adapters, vllm_python=vllm_python)
        .served()
    )
    host, port = address(http)
    tokens = token_file(options, token_path)
    verifier_for(host, tokens)  # refuse before the engine is opened
    require_model(options)
    with options.service() as service:
        app = gateway_app(service, host=host, tokens=tokens, allowed_hosts=allowed_host or ())
        sys.stderr.write(f"ketools: OpenAI-compatible gateway on http://{host}:{port}/v1\n")
        listen(app, host, port, service.close)
