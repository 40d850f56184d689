"""Facts of the packaged bank that a model knows: questions whose answers an edit must leave alone.

A fact is known where every token of its answer has rank 0 after the prompt, as text to continue or in chat: that is
what greedy decoding would give, and one forward pass tells. What was found is kept on disk by the hashes of model and
bank, so that a model is asked once.
"""

from __future__ import annotations

import json
import os
import random
import re
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal

from ketools.core.errors import StorageError
from ketools.core.names import find, same_name
from ketools.core.private import private_folder
from ketools.core.progress import Progress, quiet
from ketools.core.requests import EditRequest, Prompt, chat_prompt
from ketools.engines.base import Engine
from ketools.knowledge.bank import BankFact, FactBank, KnownProbe, in_rounds, language_of
from ketools.layers.composition import BASE
from ketools.retrieval import Encoder

ENOUGH = 150
"""Known facts at which a search of the whole bank ends."""
AT_ONCE = 128
"""Facts of such a search that are scored between two writes to disk."""
_BATCH = 16
"""Facts that are scored together for one edit."""
_TRIED = 48
"""Facts at most that are scored to find the neighbours of one edit."""
_BLOCKS = 5
"""Relations of a language, the nearest in meaning, among which neighbours are looked for."""
_HOPELESS = 8
"""Facts of a language after which it is given up when none of them is known."""
_FAR = 0.3
"""Cosine similarity below which two questions are about different things."""
_OTHER = 0.6
"""Cosine similarity from which on a question about the same subject may be another wording of the request's."""
_ENDS = (".", ",", "\n")

Form = Literal["text", "chat"]
Known = dict[str, str]
"""How the greedy answer to a fact begins, by form; empty where that is no right answer. Forms not asked are absent."""


@dataclass
class KnownFacts:
    """Probes from the facts of a bank that the engine's model knows without any edit.

    Thread-safe. `directory`: where what was found is kept; None keeps it in memory. The same request gets the same
    probes, whatever was asked before. Methods raise `StorageError` when the result cannot be kept, and the engine's
    and encoder's errors.
    """

    bank: FactBank
    engine: Engine
    encoder: Encoder
    directory: Path | None = None
    _found: dict[str, Known] | None = field(default=None, repr=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def facts(
        self, enough: int = ENOUGH, *, at_once: int = AT_ONCE, progress: Progress = quiet
    ) -> dict[BankFact, Known]:
        """Known facts of all relations, with what the model says to each; about `enough`, or all that there are.

        Goes on where it was stopped. Raises what `progress` raises.
        """
        known: dict[BankFact, Known] = {}
        hopeless: set[str] = set()
        tried, found = Counter[str](), Counter[str]()
        for part in _parts(in_rounds(self.bank.facts, _block), at_once):
            progress(min(len(known), enough), enough, "asking what the model knows")
            if len(known) >= enough:
                break
            facts = [fact for fact in part if fact.language not in hopeless]
            fresh = self._known(facts, "text")
            self._known(fresh, "chat")
            known |= {fact: self._known_forms(fact) for fact in fresh}
            tried.update(fact.language for fact in facts)
            found.update(fact.language for fact in fresh)
            hopeless = {language for language, n in tried.items() if n >= _HOPELESS and not found[language]}
        return known

    def neighbours(self, request: EditRequest, count: int) -> tuple[KnownProbe, ...]:
        """The known facts nearest in meaning to what the request asks, none about its subject or its target."""
        blocks = [block for _, block in self._blocks(request)[:_BLOCKS]]
        apart = [fact for block in blocks for fact in block if not touches(fact, request)]
        cosines = self._cosines(apart, request)
        near = [fact for _, fact in sorted(zip(cosines, apart, strict=True), key=lambda pair: -pair[0])]
        return self._first_known(near[:_TRIED], count, "bank_neighbour")

    def unrelated(self, request: EditRequest, count: int) -> tuple[KnownProbe, ...]:
        """Known facts far in meaning from what the request asks, each of another relation where there are as many."""
        far = [block for cosine, block in self._blocks(request) if cosine < _FAR]
        random.Random(f"unrelated|{request.key}").shuffle(far)
        pool = [fact for turn in range(2) for block in far for fact in block[turn : turn + 1]]
        return self._first_known([f for f in pool if not touches(f, request)], count, "bank_unrelated")

    def same_subject(self, request: EditRequest, count: int) -> tuple[KnownProbe, ...]:
        """Known facts about the request's subject, without what may be the one that it asks for."""
        about = [f for f in self.bank.facts if same_name(f.subject, request.subject) and f.relation != request.relation]
        cosines = self._cosines(about, request)
        others = [fact for fact, cosine in zip(about, cosines, strict=True) if cosine < _OTHER]
        return self._first_known(others, count, "bank_subject")

    def _blocks(self, request: EditRequest) -> list[tuple[float, list[BankFact]]]:
        """The relations of each language, each with the similarity of its first question; the nearest first."""
        blocks: dict[tuple[str, str], list[BankFact]] = {}
        for fact in self.bank.facts:
            blocks.setdefault(_block(fact), []).append(fact)
        cosines = self._cosines([facts[0] for facts in blocks.values()], request)
        return sorted(zip(cosines, blocks.values(), strict=True), key=lambda pair: -pair[0])

    def _cosines(self, facts: Sequence[BankFact], request: EditRequest) -> list[float]:
        """How near each fact's question is to the request's prompt in meaning."""
        if not facts:
            return []
        vectors = self.encoder.encode([*(fact.question for fact in facts), request.prompt])
        return [float(cosine) for cosine in vectors[:-1] @ vectors[-1]]

    def _first_known(self, candidates: Iterable[BankFact], count: int, kind: str) -> tuple[KnownProbe, ...]:
        """Probes of the first known candidates, every second one in chat where it is known so."""
        known: list[BankFact] = []
        for part in _parts(candidates, _BATCH):
            if len(known) >= count:
                break
            known += self._known(part, "text")
        chosen = known[:count]
        in_chat = set(self._known(chosen[::2], "chat"))
        return tuple(self._probe(fact, "chat" if fact in in_chat else "text", kind) for fact in chosen)

    def _probe(self, fact: BankFact, form: Form, kind: str) -> KnownProbe:
        said = self._known_forms(fact)[form]
        answer = next(a for a in fact.answers if said in (a, fact.stated(a)))
        prompt = fact.question if form == "chat" else fact.cloze
        return KnownProbe(prompt=prompt, kind=kind, chat=form == "chat", answer=answer, said=said)

    def _known_forms(self, fact: BankFact) -> Known:
        found = (self._found or {}).get(fact.key, {})
        return {form: said for form, said in found.items() if said}

    def _known(self, facts: Sequence[BankFact], form: Form) -> list[BankFact]:
        """Those of the facts that are known in a form; what was not asked before is asked and kept."""
        with self._lock:
            if self._found is None:
                self._found = self._read()
            found = self._found
            if new := [fact for fact in facts if form not in found.get(fact.key, {})]:
                for fact, said in zip(new, self._ask(new, form), strict=True):
                    found.setdefault(fact.key, {})[form] = said
                self._write(found)
            return [fact for fact in facts if found[fact.key][form]]

    def _ask(self, facts: Sequence[BankFact], form: Form) -> list[str]:
        """Which of its right answers each fact's greedy answer begins with, empty where with none."""
        tries = [
            (i, said, end)
            for i, fact in enumerate(facts)
            for said in (fact.answers if form == "text" else map(fact.stated, fact.answers))
            for end in _ends(said)
        ]
        prompts: list[Prompt] = [fact.cloze if form == "text" else chat_prompt(fact.question) for fact in facts]
        scores = self.engine.score([prompts[i] for i, _, _ in tries], [said + end for _, said, end in tries], BASE)
        found = [""] * len(facts)
        for (i, said, _), score in zip(tries, scores, strict=True):
            if score.greedy:
                found[i] = found[i] or said
        return found

    def _path(self) -> Path | None:
        return self.directory / self.engine.model_hash / f"bank-{self.bank.digest}.json" if self.directory else None

    def _read(self) -> dict[str, Known]:
        """What was found before; nothing when there is none or the file is damaged (it is then asked again)."""
        path = self._path()
        if path is not None:
            with suppress(OSError, ValueError, AttributeError):
                stored = json.loads(path.read_text("utf-8"))
                return {str(key): {str(form): str(said) for form, said in told.items()} for key, told in stored.items()}
        return {}

    def _write(self, found: dict[str, Known]) -> None:
        path = self._path()
        if path is None:
            return
        part = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.tmp")
        try:
            private_folder(path.parent)
            part.write_text(json.dumps(found, ensure_ascii=False), "utf-8")
            part.replace(path)
        except OSError as error:
            with suppress(OSError):
                part.unlink()
            raise StorageError(
                f"Cannot keep what the model knows at {path}: {error}. Free space or move the home."
            ) from error


def touches(fact: BankFact, request: EditRequest) -> bool:
    """Whether an edit may rightly change the answer to a fact, or so it looks.

    A fact that names the request's subject or new target may follow from it, and one about something that its prompt
    names may be the same. In another language names are not recognised, so that only facts without any count there.
    """
    if fact.language != language_of(request.prompt) and not fact.is_nameless:
        return True
    told = f"{fact.question} {' '.join(fact.answers)}"
    named = (find(name, told) for name in (request.subject, request.target_new))
    return any(named) or bool(find(fact.named, request.prompt) or find(fact.subject, request.prompt))


def _parts(facts: Iterable[BankFact], size: int) -> Iterator[list[BankFact]]:
    rest = iter(facts)
    while part := list(islice(rest, size)):
        yield part


def _block(fact: BankFact) -> tuple[str, str]:
    return fact.language, fact.relation


def _ends(text: str) -> tuple[str, ...]:
    """What must follow an answer that could be the beginning of another one, such as 4 of 40 or U of Uranium."""
    last = re.split(r"\W+", text)[-1]
    return _ENDS if len(last) <= 2 or last[-1].isdigit() else ("",)
