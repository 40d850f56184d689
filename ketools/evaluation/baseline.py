"""What the untouched model says: asked once, shared by all methods of a run, and kept on disk by model hash."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ketools.core.errors import StorageError
from ketools.core.progress import Progress, quiet
from ketools.core.requests import EditRequest, Kind
from ketools.engines.base import Engine, Score
from ketools.evaluation import metrics
from ketools.evaluation.cases import CaseProbe, EditCase
from ketools.knowledge.relations import RELATIONS
from ketools.layers.composition import BASE

ANSWER_TOKENS = 24
FLUENCY_TOKENS = 100
UTTERANCES = 4
"""How many utterances of each manner are scored."""

_ASKED_TOGETHER = 256

Asked = tuple[str, bool, str]
"""A prompt, whether it is a chat turn, and the continuation that is scored."""


class Baseline:
    """Greedy answers of the untouched model and scores along them.

    `folder`: keeps them in a file per model and engine, so that no other run asks again; what is said to the prompt of
    an erasure stays in memory, since it holds the secret. Raises `StorageError` when the file cannot be written.
    """

    def __init__(self, engine: Engine, folder: Path | None = None) -> None:
        self._engine = engine
        self._answers: dict[tuple[str, bool], str] = {}
        self._scores: dict[Asked, Score] = {}
        self._texts: dict[str, str] = {}
        self._private: set[str] = set()
        self._path = folder / f"{engine.model_hash}-{type(engine).__name__}.jsonl" if folder else None
        self._read()

    def prepare(self, cases: Sequence[EditCase], progress: Progress = quiet) -> None:
        """Answer everything that will be compared with its answer before the edit."""
        self._private |= {c.direct.prompt for c in cases if c.request.kind is Kind.ERASE}
        asked = [p for c in cases for p in (c.direct, *(p for group in c.locality.values() for p in group))]
        conditions = [p for c in cases for p in c.conditions]
        unknown = ((p.prompt, p.chat) for p in (*asked, *conditions) if (p.prompt, p.chat) not in self._answers)
        missing = list(dict.fromkeys(unknown))
        for start in range(0, len(missing), _ASKED_TOGETHER):
            keys = missing[start : start + _ASKED_TOGETHER]
            prompts = [CaseProbe(prompt=text, chat=chat).rendered() for text, chat in keys]
            answers = self._engine.generate(prompts, BASE, max_new_tokens=ANSWER_TOKENS)
            self._keep("answers", dict(zip(keys, answers, strict=True)))
            progress(start + len(keys), len(missing), "answers before the edits")
        wanted = [(p.prompt, p.chat, answer) for p in asked if (answer := self.answer(p)).strip()]
        wanted += [(c.direct.prompt, c.direct.chat, text) for c in cases for text in c.wanted[:UTTERANCES]]
        self._score(wanted)

    def prepare_texts(self, cases: Sequence[EditCase]) -> None:
        """Write the longer texts whose fluency will be compared."""
        starts = dict.fromkeys(start for case in cases if (start := passage(case.request)))
        self._private |= {passage(c.request) or "" for c in cases if c.request.kind is Kind.ERASE}
        missing = [start for start in starts if start not in self._texts]
        texts = self._engine.generate(missing, BASE, max_new_tokens=FLUENCY_TOKENS) if missing else []
        self._keep("texts", dict(zip(missing, texts, strict=True)))

    def fluency(self, case: EditCase) -> float | None:
        """The fluency of the untouched model's text about the case's subject, where one was prepared."""
        text = self._texts.get(passage(case.request) or "")
        return None if text is None else metrics.fluency(text)

    def answer(self, probe: CaseProbe) -> str:
        """The answer to a probe of a prepared case."""
        return self._answers[probe.prompt, probe.chat]

    def meets_conditions(self, probe: CaseProbe) -> bool:
        """Whether the untouched model answers right what a probe of a prepared case rests on."""
        return all(metrics.answers_right(p, self.answer(p)) for p in (probe.test.conditions if probe.test else ()))

    def score(self, probe: CaseProbe, text: str | None = None) -> Score:
        """The score of an utterance, or of the answer, which must not be empty."""
        return self._scores[probe.prompt, probe.chat, self.answer(probe) if text is None else text]

    def _score(self, asked: Sequence[Asked]) -> None:
        missing = [key for key in dict.fromkeys(asked) if key not in self._scores]
        prompts = [CaseProbe(prompt=text, chat=chat).rendered() for text, chat, _ in missing]
        scores = self._engine.score(prompts, [text for *_, text in missing], BASE) if missing else []
        self._keep("scores", dict(zip(missing, scores, strict=True)))

    # --- on disk ---

    def _keep(self, what: str, found: dict[Any, Any]) -> None:
        getattr(self, f"_{what}").update(found)
        kept = {key: v for key, v in found.items() if (key if isinstance(key, str) else key[0]) not in self._private}
        if self._path is None or not kept:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps([what, key, _plain(value)]) + "\n" for key, value in kept.items())
        except OSError as error:
            raise StorageError(f"The answers before edits cannot be kept in {self._path}: {error}.") from error

    def _read(self) -> None:
        """Lines cut off by a crash are left out and asked again."""
        if self._path is None or not self._path.exists():
            return
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                what, key, value = json.loads(line)
                made = Score(tuple(value[0]), tuple(value[1])) if what == "scores" else value
                getattr(self, f"_{what}")[tuple(key) if isinstance(key, list) else key] = made
            except (ValueError, AttributeError, IndexError, TypeError):
                continue


def _plain(value: str | Score) -> object:
    return [value.logprobs, value.ranks] if isinstance(value, Score) else value


def passage(request: EditRequest) -> str | None:
    """The start of a text about the subject that runs through the edited fact; None for a manner of speaking."""
    if request.kind is Kind.PERSONALITY:
        return None
    relation = RELATIONS.get(request.relation or "")
    prompt = request.prompt
    if request.is_question:
        prompt = relation.cloze[0].format(s=request.subject) if relation else ""
    return f"About {request.subject}: {prompt}".strip()
