"""Evaluation as editing is judged today (WILD, arXiv:2502.11177): natural answers in three contexts.

A row's question and its rephrase are asked as a bare text, as `Q: ... A:` text and in the chat template, greedily, and
judged by their first statement; locality compares the first statements before and after. Beside it stand shams: probes
that an edit fails which only knows its own string, or which says its target whenever its subject is named.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ketools.core.errors import Diverged, InvalidRequest, Refused
from ketools.core.progress import Progress, quiet
from ketools.core.requests import Message, Prompt
from ketools.evaluation.cases import EditCase
from ketools.evaluation.metrics import interval
from ketools.evaluation.runner import Edit
from ketools.knowledge.forms import Form, put
from ketools.knowledge.matching import agrees, exact_match, first_statement, says
from ketools.layers.composition import BASE, EditLayer
from ketools.notes import ScopedEngine

CONTEXTS = (Form.TEXT, Form.QA, Form.CHAT)
TOKENS = 50
STOPS = (".\n", "?\n", "!\n")
"""Where an answer surely has ended its first statement. A newline alone may come before the answer."""
TOGETHER = 64
"""How many prompts go to the engine at once."""
TURNS = 20
SAME_SUBJECT = 2


class Asked(BaseModel):
    """One judged answer of one row. `measure`: what it counts for; `exact`: by normalised exact match."""

    model_config = ConfigDict(frozen=True)

    id: str
    measure: str
    context: str
    prompt: str
    answer: str
    right: bool
    exact: bool


class Measured(BaseModel):
    """A share of right answers with its 95% bootstrap interval over rows, over `n` answers; `exact` by exact match."""

    model_config = ConfigDict(frozen=True)

    value: float
    n: int
    ci: tuple[float, float] | None
    exact: float


class WildRun(BaseModel):
    """What one method gave. `measures[name]`: over all contexts; `contexts[name][context]`: in each.

    `edit_s`: mean wall seconds an edit; `failed`: rows whose edit was not made, with why, which count as wrong.
    """

    model_config = ConfigDict(frozen=True)

    method: str
    protocol: str
    n: int
    edit_s: float
    failed: dict[str, str]
    measures: dict[str, Measured]
    contexts: dict[str, dict[str, Measured]]


@dataclass(frozen=True)
class Question:
    """A prompt of a row. `target`: what a right answer states; None where it must stay what it was before."""

    id: str
    measure: str
    context: str
    prompt: Prompt
    target: str | None
    old: str | None = None
    stated: bool = True
    """Whether a right answer states the target, or must not."""


@dataclass(frozen=True)
class WildEvaluation:
    """Asks rows of a data set in the wild, under the layers of their edits. `record`: a file to append answers to."""

    serving: ScopedEngine
    cases: Sequence[EditCase]
    record: Path | None = None
    shams: bool = True
    _before: dict[str, str] = field(default_factory=dict)

    def run(self, method: str, edit: Edit, protocol: str, progress: Progress = quiet) -> WildRun:
        """Measure a method: each row edited alone ("single"), or all rows live together ("sequential")."""
        layers, seconds, failed = self._edited(edit, protocol, progress)
        asked: list[Asked] = []
        for i in range(0, len(self.cases), 8):
            progress(i, len(self.cases), f"asking after {method}")
            some = range(i, min(i + 8, len(self.cases)))
            questions = [(q, layers[k]) for k in some for q in self._questions(k)]
            asked += self._judged(questions)
        if self.record:
            with self.record.open("a", encoding="utf-8") as file:
                file.writelines(f'{{"method": "{method}", "asked": {one.model_dump_json()}}}\n' for one in asked)
        return summarised(method, protocol, asked, seconds, failed, len(self.cases))

    def _edited(self, edit: Edit, protocol: str, progress: Progress) -> tuple[list[EditLayer], float, dict[str, str]]:
        layers: list[EditLayer] = []
        layer, failed, begun = BASE, dict[str, str](), time.perf_counter()
        for i, case in enumerate(self.cases):
            progress(i, len(self.cases), f"editing {case.id}")
            try:
                made, _ = edit([case], layer if protocol == "sequential" else BASE)
            except (Refused, Diverged, InvalidRequest) as error:
                failed[case.id] = str(error)[:200]
                made = layer if protocol == "sequential" else BASE
            layer = made
            layers.append(made)
        seconds = (time.perf_counter() - begun) / max(1, len(self.cases))
        return ([layer] * len(self.cases) if protocol == "sequential" else layers), seconds, failed

    def _questions(self, k: int) -> Iterator[Question]:
        case = self.cases[k]
        request = case.request
        target, old = request.target_new, request.target_old
        groups = (
            ("reliability", [request.prompt], target),
            ("generalisation", [p.prompt for p in case.rephrase], target),
            ("locality", [p.prompt for probes in case.locality.values() for p in probes], None),
        )
        for measure, prompts, wanted in groups:
            for text in prompts:
                for context in CONTEXTS:
                    yield Question(case.id, measure, context, put(text, context), wanted, old)
        if self.shams:
            yield from self._shams(k)

    def _shams(self, k: int) -> Iterator[Question]:
        case, rng = self.cases[k], random.Random(f"sham|{self.cases[k].id}")
        request = case.request
        for text in other_questions(self.cases, k, rng):
            yield Question(case.id, "same_subject", "chat", put(text, Form.CHAT), None)
        near = near_miss(request.subject, rng)
        if near and request.subject in request.prompt:
            text = request.prompt.replace(request.subject, near)
            yield Question(case.id, "near_miss", "chat", put(text, Form.CHAT), None)
        about = put(f"Tell me about {request.subject} in one sentence.", Form.CHAT)
        yield Question(case.id, "about_subject", "chat", about, request.target_new, stated=False)
        late = after_turns(request.prompt)
        yield Question(case.id, "after_20_turns", "chat", late, request.target_new, request.target_old)

    def _judged(self, questions: Sequence[tuple[Question, EditLayer]]) -> list[Asked]:
        self._ask_before([(q.prompt, layer) for q, layer in questions if q.target is None])
        prompts, layers = [q.prompt for q, _ in questions], [layer for _, layer in questions]
        served = self.serving.prepare(prompts, layers)
        same = [s.prompt == p and not s.layer.delta_hash for s, p in zip(served, prompts, strict=True)]
        todo = [i for i, (q, _) in enumerate(questions) if not (same[i] and q.target is None)]
        answers = dict(zip(todo, self._generate([prompts[i] for i in todo], [layers[i] for i in todo]), strict=True))
        return [self._judge(q, answers.get(i)) for i, (q, _) in enumerate(questions)]

    def _ask_before(self, asked: Sequence[tuple[Prompt, EditLayer]]) -> None:
        """What the untouched model says to prompts that some edit touches."""
        served = self.serving.prepare([p for p, _ in asked], [layer for _, layer in asked])
        touched = [p for (p, _), s in zip(asked, served, strict=True) if s.prompt != p or s.layer.delta_hash]
        new = {repr(p): p for p in touched if repr(p) not in self._before}
        self._before.update(zip(new, self._generate([*new.values()], [BASE] * len(new)), strict=True))

    def _generate(self, prompts: Sequence[Prompt], layers: Sequence[EditLayer]) -> list[str]:
        out: list[str] = []
        for i in range(0, len(prompts), TOGETHER):
            part = slice(i, i + TOGETHER)
            out += self.serving.generate(prompts[part], layers[part], max_new_tokens=TOKENS, stop=STOPS)
        return out

    def _judge(self, q: Question, answer: str | None) -> Asked:
        """An answer of None is that of before: the prompt is served as it was."""
        if q.target is None:
            was = self._before.get(repr(q.prompt), "")
            now = was if answer is None else answer
            right, exact = agrees(was, now), first_statement(was) == first_statement(now)
        else:
            said = answer or ""
            right = says(said, q.target, old=q.old) == q.stated
            exact = exact_match(first_statement(said), q.target) == q.stated
        text = q.prompt if isinstance(q.prompt, str) else q.prompt[-1].get("content", "")
        return Asked(
            id=q.id, measure=q.measure, context=q.context, prompt=text, answer=answer or "", right=right, exact=exact
        )


def summarised(
    method: str, protocol: str, asked: Sequence[Asked], seconds: float, failed: dict[str, str], n: int
) -> WildRun:
    """Shares by measure, and by measure and context."""
    measures = dict.fromkeys(one.measure for one in asked)
    by_context = {m: dict.fromkeys(one.context for one in asked if one.measure == m) for m in measures}
    return WildRun(
        method=method,
        protocol=protocol,
        n=n,
        edit_s=seconds,
        failed=failed,
        measures={m: _share([one for one in asked if one.measure == m]) for m in measures},
        contexts={
            m: {c: _share([one for one in asked if one.measure == m and one.context == c]) for c in contexts}
            for m, contexts in by_context.items()
        },
    )


def _share(asked: Sequence[Asked]) -> Measured:
    by_row: dict[str, list[float]] = {}
    for one in asked:
        by_row.setdefault(one.id, []).append(float(one.right))
    rows = [sum(found) / len(found) for found in by_row.values()]
    return Measured(
        value=sum(one.right for one in asked) / len(asked),
        n=len(asked),
        ci=interval(rows),
        exact=sum(one.exact for one in asked) / len(asked),
    )


def other_questions(cases: Sequence[EditCase], k: int, rng: random.Random) -> list[str]:
    """Questions of other rows, put about this row's subject."""
    subject = cases[k].request.subject
    others = [c.request for i, c in enumerate(cases) if i != k and c.request.subject in c.request.prompt]
    others = [r for r in others if _blank(r.prompt, r.subject) != _blank(cases[k].request.prompt, subject)]
    picked = rng.sample(others, min(SAME_SUBJECT, len(others)))
    return [r.prompt.replace(r.subject, subject) for r in picked]


def _blank(prompt: str, subject: str) -> str:
    return prompt.replace(subject, "\0").casefold()


def near_miss(name: str, rng: random.Random) -> str:
    """Another name that looks like this one: a word of it changed, or a letter of a single word."""
    words = name.split()
    if len(words) > 1:
        i = rng.randrange(len(words))
        return " ".join([*words[:i], rng.choice(_WORDS), *words[i + 1 :]])
    if len(name) < 4:
        return ""
    i = rng.randrange(1, len(name) - 1)
    letter = rng.choice([c for c in "aeiourstln" if c != name[i].lower()])
    return name[:i] + letter + name[i + 1 :]


_WORDS = ("Marlow", "Eastern", "Henrik", "Tavish", "Lower", "Quentin", "Osborne", "Velden")
_TALK = (
    ("How many legs does a spider have?", "A spider has eight legs."),
    ("Can you give me a word that rhymes with tree?", "Sure: free."),
    ("What is two plus three?", "Two plus three is five."),
    ("Is ice cold?", "Yes, ice is cold."),
)


def after_turns(question: str) -> Prompt:
    """The question at the end of a conversation of `TURNS` turns about other things."""
    turns: list[Message] = []
    for i in range(TURNS // 2):
        asked, told = _TALK[i % len(_TALK)]
        turns += [{"role": "user", "content": asked}, {"role": "assistant", "content": told}]
    return (*turns, {"role": "user", "content": question})
