"""The whole of a third-party method: a configuration, a computation and the `Method` that names them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from pydantic import Field

from ketools.core.requests import EditRequest, Kind
from ketools.layers.artefacts import Artefact
from ketools.layers.kinds.note import Note
from ketools.methods.base import Capability, EditContext, Method, MethodConfig


class ShoutConfig(MethodConfig):
    """How many exclamation marks follow the target."""

    marks: int = Field(default=1, ge=0, le=3)


def compute(requests: Sequence[EditRequest], context: EditContext) -> list[Artefact]:
    """A note per request, its target in capitals."""
    marks = "!" * cast(ShoutConfig, context.config).marks
    return [
        Note("shout", request.model_copy(update={"target_new": request.target_new.upper() + marks}))
        for request in requests
    ]


METHOD = Method(
    name="shout",
    summary="Puts the fact into the prompt, loudly.",
    phase="recognition",
    source="an example of ketools' plug-in contract",
    kinds=frozenset({Kind.INSERT, Kind.MODIFY}),
    config=ShoutConfig,
    compute=compute,
    capabilities=frozenset({Capability.IN_PROMPTS}),
    needs_model=False,
)
