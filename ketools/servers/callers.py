"""Who calls the MCP server: the local operator, or the bearer token of the very message."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken, TokenVerifier
from mcp.server.mcpserver import Context

from ketools.core.errors import KetoolsError
from ketools.core.principals import Principal, Scope, agent_of, principal
from ketools.servers.tokens import TokenFile

Caller = Callable[[Context[Any, Any]], Principal]


class FileTokens(TokenVerifier):
    """Verifies bearer tokens against a token file."""

    def __init__(self, file: TokenFile) -> None:
        self.file = file

    async def verify_token(self, token: str) -> AccessToken | None:
        """The token's owner, scopes and spaces, or None."""
        record = self.file.find(token)
        if record is None:
            return None
        return AccessToken(
            token=token,
            client_id=record.name,
            subject=record.name,
            scopes=[str(scope) for scope in record.scopes],
            claims={"spaces": list(record.spaces)},
        )


def reader(caller: Principal) -> Principal:
    """The same caller with nothing but the right to read what it could read before."""
    spaces = (*caller.spaces, "**") if Scope.ADMIN in caller.scopes else caller.spaces
    return dataclasses.replace(caller, scopes=frozenset({Scope.READ}), spaces=spaces)


def token_principal(context: Context[Any, Any]) -> Principal | None:
    """The principal of this very message's bearer token, not of the connection that carries it."""
    request = context.request_context.request
    user = request.scope.get("user") if request is not None else None
    token = user.access_token if isinstance(user, AuthenticatedUser) else get_access_token()
    if token is None:
        return None
    return principal(token.subject or token.client_id, token.scopes, (token.claims or {}).get("spaces", ()))


def client_of(context: Context[Any, Any]) -> str:
    """The client's name and version, as it tells them."""
    params = context.request_context.session.client_params
    info = params.client_info if params is not None else None
    return f"{info.name} {info.version}".strip()[:200] if info is not None else "mcp"


def can_ask(context: Context[Any, Any]) -> bool:
    """Whether the client has declared that it can show a form to its user."""
    capabilities = context.client_capabilities
    elicitation = capabilities.elicitation if capabilities is not None else None
    return elicitation is not None and (elicitation.form is not None or elicitation.url is None)


def whoami_of(fixed: Principal | None, read_only: bool) -> Caller:
    """Tells each call's principal, an agent in its client: the fixed one, else the message's token's.

    `read_only` leaves it only that right.
    """

    def whoami(context: Context[Any, Any]) -> Principal:
        found = fixed or token_principal(context)
        if found is None:
            raise KetoolsError("This call carries no bearer token; ask the operator for one.")
        who = agent_of(found, client_of(context), can_ask(context))
        return reader(who) if read_only else who

    return whoami
