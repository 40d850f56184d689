"""The gateway: an OpenAI-compatible door in front of vLLM, through which every space's edits are served.

It is the only way to the engine: a request names `BASE` or `BASE@space`, the gateway finds the space's layer, puts
the notes in scope into the prompt, names the layer's adapter and passes everything else on.
"""

from ketools.servers.gateway.app import gateway_app
from ketools.servers.gateway.settings import GatewaySettings

__all__ = ["GatewaySettings", "gateway_app"]
