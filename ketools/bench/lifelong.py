"""`ketools bench lifelong`: what is left of edits made one after another, and what undoing half of them leaves."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ketools.atlas.world import Key, other_target, world
from ketools.core.errors import Diverged, InvalidRequest
from ketools.core.progress import Progress, quiet
from ketools.core.requests import EditRequest, Prompt, chat_prompt
from ketools.core.text import normalise
from ketools.editing.editor import Editor
from ketools.engines.base import Engine
from ketools.evaluation.calibration import ANSWER_TOKENS
from ketools.evaluation.figures import curves
from ketools.knowledge.matching import says
from ketools.knowledge.relations import RELATIONS
from ketools.knowledge.scope import Scope
from ketools.layers.composition import BASE, EditLayer, LiveEdit
from ketools.methods.registry import get_method
from ketools.notes import NoteInjector, ScopedEngine
from ketools.retrieval import MiniLMEncoder
from ketools.service.runtime import open_engine
from ketools.service.settings import Settings

METHODS = ("ice", "ft-m", "rome", "memit", "alphaedit", "ultraedit", "melo", "rase")
CHECKPOINTS = (1, 10, 100, 1000, 3000)
HELD_OUT = 200
SAMPLE = 100
HOLDS = 0.95
BATCH = 50


@dataclass(frozen=True)
class Stream:
    """Edits of the bundled world in a fixed order, and facts that none of them touches.

    Where there are more edits than facts, facts are edited again, towards another target.
    """

    requests: list[EditRequest]
    held_out: list[Key]

    @classmethod
    def of(cls, edits: int) -> Stream:
        """`edits` edits, whatever the number always beginning with the same ones."""
        this, rng = world(), random.Random("lifelong")
        keys = [key for key in this.keys if not RELATIONS[key[1]].private]
        rng.shuffle(keys)
        held_out, editable = keys[:HELD_OUT], keys[HELD_OUT:]
        now = dict(this.facts)
        requests = []
        for i in range(edits):
            subject, name = key = editable[i % len(editable)]
            target = next(t for _ in range(100) if (t := other_target(rng, subject, name)) != now[key])
            prompt = RELATIONS[name].cloze[0].format(s=subject)
            requests.append(
                EditRequest(subject=subject, prompt=prompt, target_new=target, target_old=now[key], relation=name)
            )
            now[key] = target
        return cls(requests, held_out)


@dataclass
class Life:
    """One method's edits, one on top of the other, asked from time to time.

    A fact that is edited again takes the place of its earlier edit, as it does in a space.
    """

    engine: Engine
    editor: Editor
    method: str
    stream: Stream
    injector: NoteInjector = field(default_factory=lambda: NoteInjector(encoder=MiniLMEncoder(), scope=Scope()))
    layer: EditLayer = BASE
    latest: dict[str, tuple[str, EditRequest]] = field(default_factory=dict)
    """By key, the number of the last edit and its request, whether or not an edit came of it."""
    failed: int = 0
    seconds: float = 0.0
    _said: dict[Key, str] = field(default_factory=dict)

    def go_on(self, i: int) -> None:
        """Make the i-th edit on top of those before it."""
        request = self.stream.requests[i]
        begin = time.perf_counter()
        base = self.layer
        if request.key in self.latest:
            base = base.without(self.latest[request.key][0])
        try:
            (artefact,) = self.editor.compute(self.method, [request], base)
        except (Diverged, InvalidRequest):
            self.failed += 1
        else:
            self.layer = base.with_edits(LiveEdit(str(i), f"{self.method}-{i}", artefact))
        self.seconds += time.perf_counter() - begin
        self.latest[request.key] = str(i), request

    def asked(self, layer: EditLayer, requests: Sequence[EditRequest]) -> dict[str, float]:
        """Greedy answers under a layer: edits by their own prompt and in other words, and what is to stay."""
        direct = self._say([request.prompt for request in requests], layer)
        others = self._say([_question(request) for request in requests], layer)
        stays = self._staying(requests)
        held = self._say([_ask(key) for key in stays], layer)
        before = self._before(stays)
        return {
            "success": _share([says(a, r.target_new) for a, r in zip(direct, requests, strict=True)]),
            "rephrase": _share([says(a, r.target_new) for a, r in zip(others, requests, strict=True)]),
            "locality": _share([normalise(a) == b for a, b in zip(held, before, strict=True)]),
            "n": len(requests),
            "locality_n": len(stays),
        }

    def _staying(self, requests: Sequence[EditRequest]) -> list[Key]:
        """The facts that no edit touches, without those that follow from one: its way back."""
        edits = [*requests, *(request for _, request in self.latest.values())]
        back = {(edit.target_new, RELATIONS[edit.relation].inverse) for edit in edits if edit.relation}
        return [key for key in self.stream.held_out if key not in back]

    def sample(self) -> list[EditRequest]:
        """Up to `SAMPLE` of the facts edited so far, with what each was last edited to."""
        requests = [request for _, request in self.latest.values()]
        return random.Random(len(requests)).sample(requests, min(SAMPLE, len(requests)))

    def undone(self) -> dict[str, float]:
        """A random half of the live edits taken off: what the other half still says, and what came back."""
        live = [edit.edit_id for edit in self.layer.edits]
        gone = set(random.Random("undo").sample(live, len(live) // 2))
        left = self.layer.without(*gone)
        told = [(number in gone, request) for number, request in self.latest.values() if number in live]
        rng = random.Random("asked")
        kept, back = ([r for off, r in told if off is undone] for undone in (False, True))
        kept, back = (rng.sample(some, min(SAMPLE, len(some))) for some in (kept, back))
        found = self.asked(left, kept)
        answers = self._say([_question(request) for request in back], left)
        before = self._before([(request.subject, request.relation or "") for request in back])
        return {
            "edits_undone": len(gone),
            **found,
            "restored": _share([normalise(a) == b for a, b in zip(answers, before, strict=True)]),
            "n_restored": len(back),
        }

    def exact(self) -> bool:
        """Whether log probabilities with every edit taken off again are those of before, bit for bit."""
        pairs: list[tuple[Prompt, str]] = [(r.prompt, " " + r.target_new) for r in self.stream.requests[:BATCH]]
        prompts, texts = zip(*pairs, strict=True)
        before = self.engine.score(prompts, texts, BASE)
        self.engine.score(prompts, texts, self.layer)
        after = self.engine.score(prompts, texts, EditLayer(()))
        return [score.logprobs for score in before] == [score.logprobs for score in after]

    def _before(self, keys: Sequence[Key]) -> list[str]:
        """What the untouched model says, normalised."""
        missing = [key for key in keys if key not in self._said]
        for key, answer in zip(missing, self._say([_ask(key) for key in missing], BASE), strict=True):
            self._said[key] = normalise(answer)
        return [self._said[key] for key in keys]

    def _say(self, prompts: Sequence[Prompt], layer: EditLayer) -> list[str]:
        answers: list[str] = []
        for start in range(0, len(prompts), BATCH):
            asked = prompts[start : start + BATCH]
            answers += ScopedEngine(self.engine, self.injector).generate(asked, layer, max_new_tokens=ANSWER_TOKENS)
        return answers


def bench_lifelong(
    settings: Settings,
    names: Sequence[str] = METHODS,
    checkpoints: Sequence[int] = CHECKPOINTS,
    budget_s: float = 900.0,
    progress: Progress = quiet,
    *,
    store: bool = False,
) -> dict[str, Any]:
    """Per method: at each checkpoint how much of all edits so far and of untouched facts is right, then undo of half.

    A method that has spent `budget_s` seconds is asked where it stands and stopped there (`stopped_at`).
    `holds`: the last checkpoint up to which success and locality stayed at `HOLDS` or above; with `store` it is kept in
    the profile of the model, from which `auto` chooses.
    Raises `InvalidRequest` for a checkpoint below 1, `NotFound` for an unknown method.
    """
    if not checkpoints or min(checkpoints) < 1:
        raise InvalidRequest("A checkpoint is a number of edits, at least 1.")
    for name in names:
        get_method(name)
    stream = Stream.of(max(checkpoints))
    engine, editor = open_engine(settings.model_copy(update={"engine": "local"}))
    try:
        found = {}
        for i, name in enumerate(names):
            part = _part(progress, i, len(names), name)
            found[name] = _live(Life(engine, editor, name, stream), sorted(set(checkpoints)), budget_s, part)
        if store:
            editor.configurations.remember({name: rows["holds"] for name, rows in found.items()})
    finally:
        engine.close()
    return {
        "methods": found,
        "metric": "greedy exact match; locality: answers about facts that no edit touches stay what they were",
    }


def _live(life: Life, stops: Sequence[int], budget_s: float, progress: Progress) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    begin, since, stopped = time.monotonic(), (0, 0.0), None
    for i in range(stops[-1]):
        progress(i, stops[-1], f"edit {i + 1}")
        life.go_on(i)
        late = time.monotonic() - begin > budget_s
        if i + 1 in stops or late:
            ms = 1000 * (life.seconds - since[1]) / (i + 1 - since[0])
            told = {"ms_per_edit": round(ms, 1), "failed": life.failed}
            rows[str(i + 1)] = life.asked(life.layer, life.sample()) | told
            since = i + 1, life.seconds
        if late and i + 1 < stops[-1]:
            stopped = i + 1
            break
    more = {"undo_half": life.undone(), "undo_all_exact": life.exact(), "stopped_at": stopped}
    return rows | {"holds": holds(rows)} | more


def holds(rows: dict[str, Any]) -> int:
    """The last checkpoint before the first at which success or locality is below `HOLDS`; 0 when the first is."""
    kept = 0
    for edits, row in rows.items():
        if min(row["success"], row["locality"]) < HOLDS:
            break
        kept = int(edits)
    return kept


def _ask(key: Key) -> Prompt:
    subject, name = key
    return chat_prompt(RELATIONS[name].questions[-1].format(s=subject))


def _question(request: EditRequest) -> Prompt:
    return _ask((request.subject, request.relation or ""))


def _share(marks: Sequence[bool]) -> float:
    return round(sum(marks) / len(marks), 4) if marks else 1.0


def _part(progress: Progress, i: int, n: int, name: str) -> Callable[[int, int, str], None]:
    return lambda done, total, message: progress(i * total + done, n * total, f"{name}: {message}")


def plot(found: dict[str, Any], measure: str = "success") -> str:
    """A measure's curves as an SVG text (the survey's figure 4). Raises `MissingExtra` without matplotlib."""
    return curves(
        {
            name: [(int(edits), row[measure]) for edits, row in rows.items() if edits.isdigit()]
            for name, rows in found["methods"].items()
        },
        measure,
    )
