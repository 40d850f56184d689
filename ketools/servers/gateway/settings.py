"""The gateway's bounds, each with an environment twin `KETOOLS_GATEWAY_...`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class GatewaySettings(BaseSettings):
    """How much a request may bring, and how long it may take."""

    model_config = SettingsConfigDict(env_prefix="KETOOLS_GATEWAY_", extra="ignore", frozen=True)

    body_bytes: Annotated[int, Field(ge=1024, le=2**30, description="The largest request body.")] = 8 * 2**20
    wait_s: Annotated[
        float, Field(ge=0, le=600, description="How long a request waits for an engine that is away, before 503.")
    ] = 30.0
    timeout_s: Annotated[
        float, Field(gt=0, le=86400, description="The longest time to the answer's beginning, and again to its end.")
    ] = 600.0
    connect_s: Annotated[float, Field(gt=0, le=60, description="The longest time to reach the engine.")] = 2.0
    requests: Annotated[int, Field(ge=1, le=65536, description="The most requests under way at the engines.")] = 1024
