"""One vLLM server over HTTP: what it is asked, and what its refusals mean."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from ketools.core.errors import EngineRefused, EngineUnavailable, InvalidRequest

CONNECT_S, READ_S = 5.0, 120.0
ATTEMPTS = 3


class UnknownName(EngineRefused):
    """The server does not know the model or adapter of that name (any more)."""


class EngineTimeout(EngineUnavailable):
    """The server is there but did not answer in time; the same request is not sent again."""


class ReplicaClient:
    """A vLLM server's OpenAI-compatible routes and its adapter routes; thread-safe, connections are pooled.

    Every call is safe to repeat (greedy or scoring), so a connection that breaks is tried again with backoff.
    Raises `EngineUnavailable` when the server cannot be reached, is not ready or does not answer in time,
    `UnknownName`, `InvalidRequest` when it finds the request wrong, `EngineRefused` for any other refusal.
    """

    def __init__(self, url: str, *, read_s: float = READ_S) -> None:
        self.url = url.rstrip("/")
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=32)
        timeout = httpx.Timeout(read_s, connect=CONNECT_S)
        self._http = httpx.Client(base_url=self.url, limits=limits, timeout=timeout, trust_env=False)

    def completions(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST /v1/completions."""
        return self._json("POST", "/v1/completions", body)

    def stream_completions(self, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """POST /v1/completions with `stream`: one parsed chunk after the other; close it to abort."""
        with self._caught(), self._http.stream("POST", "/v1/completions", json={**body, "stream": True}) as response:
            if response.status_code >= 400:
                response.read()
                raise self._refusal(response)
            for line in response.iter_lines():
                data = line.removeprefix("data: ")
                if data != line and data != "[DONE]":
                    chunk = json.loads(data)
                    if "error" in chunk:
                        raise EngineRefused(f"vLLM stopped in mid-stream: {chunk['error'].get('message', chunk)}")
                    yield chunk

    def models(self) -> list[dict[str, Any]]:
        """GET /v1/models: the base models (`parent` None) and every registered adapter."""
        return list(self._json("GET", "/v1/models", None)["data"])

    def load(self, name: str, folder: Path) -> None:
        """Register an adapter from this directory; one of that name and directory being there is success.

        A name that is registered from another directory (a store that moved) is taken off first: vLLM would read
        that directory again some day, and die if it was gone.
        """
        body = {"lora_name": name, "lora_path": str(folder)}
        try:
            self._json("POST", "/v1/load_lora_adapter", body)
        except InvalidRequest as error:
            if "already been loaded" not in str(error):
                raise EngineRefused(f"vLLM at {self.url} refused an adapter: {error}") from error
            if self._root_of(name) != str(folder):
                self.unload(name)
                self._json("POST", "/v1/load_lora_adapter", body)

    def _root_of(self, name: str) -> str | None:
        return next((model.get("root") for model in self.models() if model["id"] == name), None)

    def unload(self, name: str) -> None:
        """Take an adapter off; one that is not there is success."""
        try:
            self._json("POST", "/v1/unload_lora_adapter", {"lora_name": name})
        except (UnknownName, InvalidRequest):
            return

    def has_plugin(self) -> bool:
        """Whether ketools' plug-in runs in the server."""
        try:
            return "held" in self._json("GET", "/ketools", None)
        except (EngineRefused, InvalidRequest):
            return False

    def health(self, timeout_s: float = 5.0) -> None:
        """Return when the server is up and its engine alive, else raise `EngineUnavailable`."""
        with self._caught():
            response = self._http.get("/health", timeout=timeout_s)
        if response.status_code != 200:
            raise EngineUnavailable(f"vLLM at {self.url} is not healthy (HTTP {response.status_code}).")

    def in_place(self, file: Path | None, held: str) -> None:
        """Change the served weights to the checkpoint's plus a file's changes; every adapter is forgotten."""
        body = {"file": str(file) if file else "", "held": held}
        answer = self._json("POST", "/ketools/in_place", body)
        if answer.get("held") != held:
            raise EngineRefused(f"vLLM at {self.url} did not change its weights in place: {answer}")

    def close(self) -> None:
        """Close the pooled connections."""
        self._http.close()

    def _json(self, method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        for attempt in range(ATTEMPTS):
            try:
                with self._caught():
                    response = self._http.request(method, path, json=body)
                break
            except EngineUnavailable as error:
                if attempt == ATTEMPTS - 1 or isinstance(error, EngineTimeout):
                    raise
                time.sleep(0.1 * 4**attempt)
        if response.status_code >= 400:
            raise self._refusal(response)
        try:
            parsed = response.json()
        except ValueError:
            return {}
        return parsed if isinstance(parsed, dict) else {"results": parsed}

    def _caught(self) -> _Caught:
        return _Caught(self.url, self._http)

    def _refusal(self, response: httpx.Response) -> Exception:
        text = message_of(response.content) or f"HTTP {response.status_code}"
        if response.status_code == 404 and response.json().get("detail") == "Not Found":
            return EngineRefused(f"vLLM at {self.url} has no route {response.request.url.path}.")
        if response.status_code == 404:
            return UnknownName(f"vLLM at {self.url}: {text}")
        if response.status_code in (429, 502, 503, 504):
            return EngineUnavailable(f"vLLM at {self.url} is not ready: {text}")
        if response.status_code < 500:
            return InvalidRequest(text)
        return EngineRefused(f"vLLM at {self.url} failed: {text}")


class _Caught:
    """Turns httpx's errors, and a request after `close`, into `EngineUnavailable`."""

    def __init__(self, url: str, http: httpx.Client) -> None:
        self._url, self._http = url, http

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, httpx.ReadTimeout):
            raise EngineTimeout(f"vLLM at {self._url} did not answer in time; call again.", 5.0) from error
        if isinstance(error, httpx.HTTPError):
            raise EngineUnavailable(
                f"vLLM at {self._url} cannot be reached ({error or type(error).__name__}). Is it started there?"
            ) from error
        if isinstance(error, RuntimeError) and self._http.is_closed:
            raise EngineUnavailable(f"The connections to vLLM at {self._url} are closed.") from error


def message_of(content: bytes) -> str:
    """The text of an error body, in whichever of vLLM's forms."""
    try:
        parsed = json.loads(content)
    except ValueError:
        return content[:500].decode(errors="replace")
    if isinstance(parsed, dict):
        inner = parsed.get("error", parsed)
        found = inner.get("message") if isinstance(inner, dict) else inner
        return str(found or parsed.get("detail") or parsed)
    return str(parsed)
