"""Who calls the gateway: the same tokens, hosts and local operator as the tool server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mcp.server.transport_security import TransportSecurityMiddleware
from starlette.requests import Request

from ketools.core.principals import OPERATOR, Principal, Scope
from ketools.journal import ROOT
from ketools.servers.gateway.errors import ApiError
from ketools.servers.http import security, verifier_for
from ketools.servers.tokens import TokenFile


@dataclass(frozen=True)
class Access:
    """Turns a request into its principal. Without a token file everything is done for the local operator."""

    tokens: TokenFile | None
    hosts: TransportSecurityMiddleware

    @classmethod
    def of(cls, host: str, tokens: TokenFile, allowed: Sequence[str]) -> Access:
        """The access rules of a server bound to a host. Raises `InvalidRequest` for a public one without tokens."""
        guarded = verifier_for(host, tokens) is not None
        return cls(tokens if guarded else None, TransportSecurityMiddleware(security(host, allowed, guarded)))

    async def caller(self, request: Request) -> Principal:
        """The principal, which may read. Raises `ApiError` (401, 403, 421) or `Forbidden`."""
        foreign = await self.hosts.validate_request(request)
        if foreign is not None:
            raise ApiError(foreign.status_code, "This Host or Origin is not served here.", "foreign_host")
        given = request.headers.getlist("authorization")
        if len(given) > 1:
            raise ApiError(400, "Send one Authorization header.", "ambiguous_authorization")
        who = OPERATOR if self.tokens is None else self._bearer(self.tokens, "".join(given))
        who.require(Scope.READ, ROOT)
        return who

    @staticmethod
    def _bearer(tokens: TokenFile, header: str) -> Principal:
        scheme, _, token = header.partition(" ")
        record = tokens.find(token.strip()) if scheme.lower() == "bearer" else None
        if record is None:
            message = "Send a bearer token of this server as the API key; the operator makes one: ketools token new."
            raise ApiError(401, message, "invalid_api_key", headers={"WWW-Authenticate": "Bearer"})
        return record.principal()
