"""The facts of the packaged bank that a model knows: questions whose answers an edit must leave alone.

What a model knows is found once, by scoring: a fact is known where every token of its answer has rank 0 after the
prompt, as text to continue or in chat, which is what greedy decoding would give. The result is kept on disk by the
hashes of model and bank.
"""

from __future__ import annotations

import json
import os
import random
import re
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from ketools.core.errors import StorageError
from ketools.core.progress import Progress, quiet
from ketools.core.requests import EditRequest, Prompt, chat_prompt
from ketools.core.text import normalise
from ketools.engines.base import Engine
from ketools.knowledge.bank import BankFact, FactBank, KnownProbe, in_rounds, language_of
from ketools.layers.composition import BASE
from ketools.retrieval import Encoder

ENOUGH = 150
"""Known facts at which the search ends."""
AT_ONCE = 128
"""Facts scored between two writes to disk."""
_TRIED = 8
"""Facts of a language that are tried before it is given up because none is known."""
_FAR = 0.3
"""Cosine similarity below which two questions are about different things."""
_OTHER = 0.6
"""Cosine similarity from which on a question about the same subject may be another wording of the request's."""
_ENDS = (".", ",", "\n")

Known = dict[str, str]
"""What the model says to a fact by form: `text` (after the cloze), `chat` (after the question)."""


@dataclass
class KnownFacts:
    """Probes from the facts of a bank that the engine's model knows without any edit.

    Thread-safe. `directory`: where the result is kept; None keeps it in memory. The search runs at the first use, is
    resumed where it was stopped, and ends when `enough` facts are known or all have been asked, `at_once` at a time.
    """

    bank: FactBank
    engine: Engine
    encoder: Encoder
    directory: Path | None = None
    enough: int = ENOUGH
    at_once: int = AT_ONCE
    _asked: dict[str, Known] | None = field(default=None, repr=False)
    _more: dict[str, Known] = field(default_factory=dict, repr=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def facts(self, progress: Progress = quiet) -> dict[BankFact, Known]:
        """The known facts with what the model says to them, in the bank's order.

        Raises `StorageError` when the result cannot be kept, what `progress` raises, and the engine's errors.
        """
        with self._lock:
            if self._asked is None:
                self._asked = self._read()
            while chosen := self._next(self._asked):
                progress(min(self._count(), self.enough), self.enough, "asking what the model knows")
                self._asked |= self._ask(chosen)
                self._write(self._asked)
            return {fact: told for fact in self.bank.facts if (told := self._asked.get(fact.key))}

    def neighbours(self, request: EditRequest, count: int, progress: Progress = quiet) -> tuple[KnownProbe, ...]:
        """The known facts nearest in meaning to what the request asks, none about its subject or its target."""
        known, near = self._ranked(request, progress)
        return _probes(known, [fact for _, fact in near], "neighbour", count)

    def unrelated(self, request: EditRequest, count: int, progress: Progress = quiet) -> tuple[KnownProbe, ...]:
        """Known facts far in meaning from what the request asks, each of another relation where there are as many."""
        known, near = self._ranked(request, progress)
        far = [fact for cosine, fact in near if cosine < _FAR]
        random.Random(f"unrelated|{request.key}").shuffle(far)
        return _probes(known, in_rounds(far, lambda fact: fact.relation), "unrelated", count)

    def same_subject(self, request: EditRequest, count: int) -> tuple[KnownProbe, ...]:
        """Known facts of the bank about the request's subject, without what may be the one that it asks for.

        What the search has not come to is asked now.
        """
        subject = normalise(request.subject)
        about = [f for f in self.bank.facts if normalise(f.subject) == subject and f.relation != request.relation]
        if not about:
            return ()
        cosines = self._cosines(about, request)
        others = [fact for fact, cosine in zip(about, cosines, strict=True) if cosine < _OTHER]
        with self._lock:
            asked = self._asked or self._read()
            if new := [fact for fact in others if fact.key not in asked and fact.key not in self._more]:
                self._more |= self._ask(new)
            known = {fact: told for fact in others if (told := asked.get(fact.key) or self._more.get(fact.key))}
        return _probes(known, known, "same_subject", count)

    def _next(self, asked: dict[str, Known]) -> list[BankFact]:
        if self._count() >= self.enough:
            return []
        tried, found = Counter[str](), Counter[str]()
        for fact in self.bank.facts:
            tried[fact.language] += fact.key in asked
            found[fact.language] += bool(asked.get(fact.key))
        hopeless = {language for language, n in tried.items() if n >= _TRIED and not found[language]}
        order = in_rounds(self.bank.facts, lambda fact: (fact.language, fact.relation))
        left = (f for f in order if f.key not in asked and f.language not in hopeless)
        return list(islice(left, self.at_once))

    def _count(self) -> int:
        return sum(map(bool, (self._asked or {}).values()))

    def _ask(self, facts: Sequence[BankFact]) -> dict[str, Known]:
        """What is known of some facts, by key. Only what is known as text is asked in chat, which costs more."""
        said = self._greedy([(fact.cloze, fact.answers) for fact in facts])
        known = {fact: {"text": text} for fact, text in zip(facts, said, strict=True) if text}
        stated = [(chat_prompt(fact.question), [fact.stated(a) for a in fact.answers]) for fact in known]
        for told, text in zip(known.values(), self._greedy(stated), strict=True):
            told |= {"chat": text} if text else {}
        return {fact.key: known.get(fact, {}) for fact in facts}

    def _greedy(self, asked: Sequence[tuple[Prompt, Sequence[str]]]) -> list[str | None]:
        """Of each prompt's possible answers the one with which the model's greedy answer begins, if it is one."""
        tries = [(i, text, end) for i, (_, texts) in enumerate(asked) for text in texts for end in _ends(text)]
        scores = self.engine.score([asked[i][0] for i, _, _ in tries], [text + end for _, text, end in tries], BASE)
        found: list[str | None] = [None] * len(asked)
        for (i, text, _), score in zip(tries, scores, strict=True):
            if score.greedy:
                found[i] = found[i] or text
        return found

    def _ranked(
        self, request: EditRequest, progress: Progress
    ) -> tuple[dict[BankFact, Known], list[tuple[float, BankFact]]]:
        """The known facts, and those an edit must not touch with their similarity to its prompt, the nearest first."""
        known = self.facts(progress)
        language = language_of(request.prompt)
        apart = [fact for fact in known if not touches(fact, request, language)]
        pairs = zip(self._cosines(apart, request), apart, strict=True)
        return known, sorted(pairs, key=lambda pair: -pair[0])

    def _cosines(self, facts: Sequence[BankFact], request: EditRequest) -> list[float]:
        """How near each fact's question is to the request's prompt in meaning."""
        if not facts:
            return []
        vectors = self.encoder.encode([*(fact.question for fact in facts), request.prompt])
        return [float(cosine) for cosine in vectors[:-1] @ vectors[-1]]

    def _path(self) -> Path | None:
        return self.directory / self.engine.model_hash / f"bank-{self.bank.digest}.json" if self.directory else None

    def _read(self) -> dict[str, Known]:
        """What was found before; nothing when there is none or the file is damaged (it is then asked again)."""
        path = self._path()
        if path is not None:
            with suppress(OSError, ValueError, AttributeError):
                stored = json.loads(path.read_text("utf-8"))
                return {str(key): {str(form): str(text) for form, text in told.items()} for key, told in stored.items()}
        return {}

    def _write(self, asked: dict[str, Known]) -> None:
        path = self._path()
        if path is None:
            return
        temporary = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(asked, ensure_ascii=False), "utf-8")
            temporary.replace(path)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            raise StorageError(
                f"Cannot keep what the model knows at {path}: {error}. Free space or move the home."
            ) from error


def touches(fact: BankFact, request: EditRequest, language: str) -> bool:
    """Whether an edit may rightly change the answer to a fact, or so it looks. `language`: that of its prompt.

    A fact that names the request's subject or new target may follow from it, and one about something that its prompt
    names may be the same. In another language names are not recognised, so that only facts without any count there.
    """
    if fact.language != language and not fact.is_nameless:
        return True
    told = f"{fact.question} {' '.join(fact.answers)}"
    named = (_names(told, name) for name in (request.subject, request.target_new))
    return any(named) or _names(request.prompt, fact.named) or _names(request.prompt, fact.subject)


def _names(text: str, name: str) -> bool:
    """Whether a text holds a name, as a word of its own where the script has words."""
    text, name = normalise(text), normalise(name)
    border = r"(?<![a-z0-9]){}(?![a-z0-9])"
    return bool(name) and re.search(border.format(re.escape(name)), text) is not None


def _ends(text: str) -> tuple[str, ...]:
    """What must follow an answer that could be the beginning of another one, such as 4 of 40 or U of Uranium."""
    last = re.split(r"\W+", text)[-1]
    return _ENDS if len(last) <= 2 or last[-1].isdigit() else ("",)


def _probes(known: dict[BankFact, Known], facts: Iterable[BankFact], kind: str, count: int) -> tuple[KnownProbe, ...]:
    """One probe a fact, in text and in chat by turns where both are known."""
    return tuple(_probe(fact, known[fact], kind, i % 2 == 0) for i, fact in enumerate(islice(facts, count)))


def _probe(fact: BankFact, told: Known, kind: str, prefer_chat: bool) -> KnownProbe:
    form = "chat" if "chat" in told and (prefer_chat or "text" not in told) else "text"
    prompt, said = fact.question if form == "chat" else fact.cloze, told[form]
    answer = next(a for a in fact.answers if said in (a, fact.stated(a)))
    return KnownProbe(prompt=prompt, kind=kind, chat=form == "chat", answer=answer, said=said)
