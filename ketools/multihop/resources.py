"""What the agents need beside a memory, put together for one model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ketools.core.errors import NotFound
from ketools.core.names import Names
from ketools.core.requests import EditRequest
from ketools.core.text import normalise
from ketools.multihop.auto import Auto
from ketools.multihop.mello import mello
from ketools.multihop.memory import EditMemory
from ketools.multihop.pokemqa import pokemqa
from ketools.multihop.prompts import Prompts
from ketools.multihop.scope import PACKAGED, ScopeDetector
from ketools.multihop.steps import Program
from ketools.retrieval import Encoder, FactView

AGENTS = ("auto", "mello", "pokemqa")


@dataclass(frozen=True)
class MultihopResources:
    """Prompts, encoder and names for one model; the scope detector is read when PokeMQA first needs it.

    `aliases`: other names by subject. `subjects`: known names by domain, for PokeMQA's knowledge prompt.
    """

    prompts: Prompts
    encoder: Encoder
    aliases: Mapping[str, Collection[str]] = field(default_factory=dict)
    subjects: Mapping[str, Sequence[str]] = field(default_factory=dict)
    detector_file: Path = PACKAGED

    def memory(
        self, facts: Sequence[tuple[str, EditRequest]], index: Callable[[], FactView] | None = None
    ) -> EditMemory:
        """A memory of edits, oldest first; `index`: gives a kept index of them."""
        return EditMemory(facts, self.encoder, self.aliases, index)

    def program(self, agent: str, memory: EditMemory, question: str) -> Program:
        """The program of one question. Raises `NotFound` for an unknown agent."""
        match agent:
            case "auto":
                return Auto(memory, self.prompts, self.encoder)(question)
            case "mello":
                return mello(question, memory, self.prompts)
            case "pokemqa":
                return pokemqa(question, memory, self.prompts, self.detector, self.kind_of)
        raise NotFound("multi-hop agent", agent, AGENTS)

    @cached_property
    def detector(self) -> ScopeDetector:
        """The scope detector; the packaged one was trained for the bundled model. Raises `ModelError`."""
        return ScopeDetector.load(self.encoder, self.detector_file)

    def kind_of(self, question: str) -> tuple[str, str] | None:
        """The longest known name in the question, and its domain."""
        spoken = normalise(question)
        named = [name for name in self._domains if normalise(name) in spoken]
        for name in sorted(named, key=len, reverse=True):
            if Names((name,)).stand_in(question):
                return name, self._domains[name]
        return None

    @cached_property
    def _domains(self) -> dict[str, str]:
        return {name: domain for domain, names in self.subjects.items() for name in names}
