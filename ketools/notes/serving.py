"""An engine as users see it: notes in scope stand in the prompt, and routed edits in scope act."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ketools.core.requests import Prompt
from ketools.engines.base import Engine, Layers, Score, layers_of
from ketools.notes.injection import NoteInjector, Prepared


@dataclass(frozen=True)
class ScopedEngine:
    """Generates and scores under a space's layer (one for all prompts, or one for each), edits in scope applied."""

    engine: Engine
    injector: NoteInjector

    def prepare(self, prompts: Sequence[Prompt], layers: Layers) -> list[Prepared]:
        """Each prompt with its notes, and the layer with the routed edits that it asks for."""
        return [
            self.injector.prepare(prompt, layer)
            for prompt, layer in zip(prompts, layers_of(layers, len(prompts)), strict=True)
        ]

    def generate(
        self, prompts: Sequence[Prompt], layers: Layers, *, max_new_tokens: int = 32, stop: Sequence[str] = ()
    ) -> list[str]:
        """Greedy answers; see `Engine.generate`."""
        found = self.prepare(prompts, layers)
        asked, under = [p.prompt for p in found], [p.layer for p in found]
        return self.engine.generate(asked, under, max_new_tokens=max_new_tokens, stop=stop)

    def score(self, prompts: Sequence[Prompt], continuations: Sequence[str], layers: Layers) -> list[Score]:
        """Teacher-forced scores; see `Engine.score`."""
        found = self.prepare(prompts, layers)
        return self.engine.score([p.prompt for p in found], continuations, [p.layer for p in found])
