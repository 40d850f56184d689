"""Answers of the model as it is in a space."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ketools.core.principals import Principal
from ketools.core.progress import Progress, quiet
from ketools.core.requests import FACTS, EditRequest, Kind, Message, Prompt, chat_prompt
from ketools.core.results import Answer, MultihopAnswer
from ketools.methods.registry import AUTO
from ketools.service.backend import Backend
from ketools.service.spaces import readable
from ketools.service.visibility import for_caller

if TYPE_CHECKING:
    from ketools.layers.composition import EditLayer
    from ketools.multihop import EditMemory

MEMORIES = 8


class Asking:
    """Ask a question, take a turn of a conversation, walk a question of several hops. Thread-safe."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._memories: dict[tuple[str, ...], EditMemory] = {}
        """What sets of live edits say, by their ids; a few, since thousands of edits take seconds to read."""

    @for_caller
    def ask(
        self,
        who: Principal,
        question: str,
        space: str,
        chat: bool = True,
        max_new_tokens: int = 64,
        fingerprint: bool = False,
        progress: Progress = quiet,
    ) -> Answer:
        """The greedy answer of the model as it is in a space."""
        layer, version = self.layer(who, space, progress)
        runtime = self._backend.runtime()
        prompt: Prompt = chat_prompt(question) if chat else question
        put = runtime.notes.prepare(prompt, layer)
        answer = runtime.engine.generate([put.prompt], put.layer, max_new_tokens=max_new_tokens)[0]
        return Answer(
            answer=answer,
            space=space,
            version=version,
            notes_used=put.used,
            notes_why=put.reasons,
            fingerprint=self._fingerprint(put.prompt, answer, put.layer) if fingerprint else None,
        )

    def _fingerprint(self, prompt: Prompt, answer: str, layer: EditLayer) -> str:
        """SHA-256 over the answer's token log probabilities as float64: equal bits, equal model."""
        engine = self._backend.runtime().engine
        logprobs = engine.score([prompt], [answer], layer)[0].logprobs if answer else ()
        return hashlib.sha256(struct.pack(f"<{len(logprobs)}d", *logprobs)).hexdigest()

    @for_caller
    def respond(
        self,
        who: Principal,
        messages: Sequence[Message],
        space: str,
        tools: Sequence[dict[str, object]] = (),
        max_new_tokens: int = 160,
    ) -> str:
        """The assistant's raw next turn in a conversation in a space, tool calls included."""
        layer, _ = self.layer(who, space)
        runtime = self._backend.runtime()
        put = runtime.notes.prepare(tuple(messages), layer)
        turns: list[dict[str, object]] = [dict(m) for m in put.prompt if not isinstance(m, str)]
        return runtime.engine.chat(turns, put.layer, tools=tools, max_new_tokens=max_new_tokens)

    def stream(
        self, who: Principal, messages: Sequence[Message], space: str, max_new_tokens: int = 256
    ) -> Iterator[str]:
        """The assistant's next turn in pieces as they are made, notes of the space included. Close it to cancel.

        Raises `InvalidRequest` before the first piece when the model cannot read that much.
        """
        layer, _ = self.layer(who, space)
        runtime = self._backend.runtime()
        put = runtime.notes.prepare(tuple(messages), layer)
        yield from runtime.engine.stream(put.prompt, put.layer, max_new_tokens=max_new_tokens)

    @for_caller
    def layer(self, who: Principal, space: str, progress: Progress = quiet) -> tuple[EditLayer, int]:
        """The layer that serves a space now, with the space's version.

        A user or session space that was never edited serves its parent's layer, as version 0.
        """
        name = readable(self._backend, who, space)
        spaces = self._backend.runtime(progress).spaces
        state = spaces.state(name)
        return spaces.layer_of(state), state.head.version if name == space else 0

    @for_caller
    def multihop(
        self, who: Principal, question: str, space: str, agent: str = AUTO, progress: Progress = quiet
    ) -> MultihopAnswer:
        """Answer a question of several hops over a space's edits; a chain that breaks off is a result."""
        memory, layer, version = self.memory(who, space, progress)
        runtime = self._backend.runtime()
        found = runtime.answer_multihop(agent, memory, question, layer, progress)
        return found.model_copy(update={"space": space, "version": version})

    @for_caller
    def memory(self, who: Principal, space: str, progress: Progress = quiet) -> tuple[EditMemory, EditLayer, int]:
        """What a space's live edits say, whether notes or weights serve them, with the layer and its version."""
        layer, version = self.layer(who, space, progress)
        ids = tuple(edit.edit_id for edit in layer.edits)
        made = self._memories.get(ids)
        if made is None:  # one without facts is false
            self._memories[ids] = made = self._memory_of(layer, ids)
        if len(self._memories) > MEMORIES:
            self._memories.pop(next(iter(self._memories)), None)
        return made, layer, version

    def _memory_of(self, layer: EditLayer, ids: tuple[str, ...]) -> EditMemory:
        """Erasures are told by what serves them alone: the journal does not keep what they erase."""
        runtime = self._backend.runtime()
        records = self._backend.journal.records(ids)
        scoped = {edit_id: runtime.notes.request(made) for edit_id, made in layer.scoped}
        erased = {edit_id: request for edit_id, request in scoped.items() if request.kind is Kind.ERASE}
        told = [r for r in records if r.kind in FACTS or r.id in erased]
        facts = [(r.id, erased.get(r.id) or EditRequest.model_validate(r.request)) for r in told]
        return runtime.multihop.memory(facts, lambda: runtime.recall.of(ids))
