"""Notes: facts as text. Importing this imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ketools.core.requests import EditRequest
from ketools.layers.artefacts import Acts, Scoped, Served

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Note(Scoped):
    """A fact to be put into the prompt when in scope (ICE, IKE, MemPrompt). No weights change."""

    form: ClassVar[str] = "note"
    acts: ClassVar[Acts] = Acts.PROMPT
    vllm: ClassVar[Served] = Served.PROMPT
    method: str
    request: EditRequest

    def header(self) -> dict[str, Any]:
        """The request."""
        return {"request": self.request.model_dump(mode="json")}

    @classmethod
    def read(cls, method: str, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Note:
        """The note of a file's content."""
        return cls(method, EditRequest.model_validate(header["request"]))


KIND = Note
