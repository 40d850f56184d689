"""lm-evaluation-harness on a space: its tasks are asked of the engine as a user would ask, notes and all.

Importing this needs the package `lm_eval`, of the extra `harness`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval.api.model import LM
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager

from ketools.core.errors import InvalidRequest, NotFound
from ketools.core.requests import Prompt, chat_prompt
from ketools.engines.base import Engine
from ketools.layers.composition import BASE, EditLayer
from ketools.notes import NoteInjector, ScopedEngine

NEW_TOKENS = 256
"""How long an answer may be when a task does not say."""

FEWSHOT_SEED = 1234
"""The harness' own, by which a task with examples draws them."""

Values = dict[str, dict[str, float]]
"""Per task, the number of documents `n` and each metric's value."""

Marks = dict[str, dict[str, list[float]]]
"""Per task and metric, what each document is worth."""


class ServedSpace(LM):  # type: ignore[misc]
    """What the harness takes for a language model: an engine under a layer.

    `chat`: contexts are asked as chat turns instead of being continued. Raises `InvalidRequest` for sampled
    answers, which engines do not give, and for the perplexity of whole documents, which have no prompt.
    """

    def __init__(self, engine: Engine, injector: NoteInjector, layer: EditLayer = BASE, chat: bool = False) -> None:
        super().__init__()
        self._serving, self._layer, self._chat = ScopedEngine(engine, injector), layer, chat

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Log probability in nats of each continuation, and whether it is the greedy one."""
        pairs = [request.args for request in requests]
        scores = self._serving.score(
            [self._prompt(context) for context, _ in pairs], [c for _, c in pairs], self._layer
        )
        return [(score.total, score.greedy) for score in scores]

    def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
        """Raises `InvalidRequest`."""
        raise InvalidRequest(
            "An engine scores what follows a prompt, and a task of the type loglikelihood_rolling has none. "
            "Leave it out, or use `ketools evaluate --protocol batch --texts FILE` for perplexity."
        )

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Greedy answers up to the first of each request's stops; those that agree on how, in one batch."""
        answers = [""] * len(requests)
        ways = [_way(dict(request.args[1])) for request in requests]
        for way in dict.fromkeys(ways):
            chosen = [i for i, other in enumerate(ways) if other == way]
            prompts = [self._prompt(requests[i].args[0]) for i in chosen]
            stops, longest = way
            made = self._serving.generate(prompts, self._layer, max_new_tokens=longest, stop=stops)
            for i, text in zip(chosen, made, strict=True):
                answers[i] = min((text.partition(stop)[0] for stop in stops), key=len, default=text)
        return answers

    def _prompt(self, context: str) -> Prompt:
        return chat_prompt(context) if self._chat else context


def _way(wanted: dict[str, Any]) -> tuple[tuple[str, ...], int]:
    """The stops and the most tokens of a request's generation arguments."""
    if wanted.get("do_sample") or float(wanted.get("temperature") or 0) > 0:
        raise InvalidRequest("The task wants sampled answers; engines answer greedily. Set do_sample: false.")
    until = wanted.get("until") or ()
    stops = (until,) if isinstance(until, str) else tuple(until)
    return tuple(stop for stop in stops if stop), int(wanted.get("max_gen_toks", NEW_TOKENS))


@dataclass(frozen=True)
class Tasks:
    """The tasks that a folder's YAML files define; their data files are named relative to that folder.

    Raises `NotFound` for a folder without tasks.
    """

    folder: Path

    def __post_init__(self) -> None:
        if not self.names:
            raise NotFound("task", str(self.folder), ())

    @property
    def names(self) -> list[str]:
        """Every task and group of the folder; none of the harness' own, which would be downloaded."""
        return sorted(self._manager().all_tasks)

    def run(self, model: ServedSpace, limit: int | None = None) -> Values:
        """Every task's metrics on the first `limit` documents of each."""
        return {task: _metrics(values) for task, values in self._evaluated(model, limit)["results"].items()}

    def marks(self, model: ServedSpace, limit: int | None = None) -> Marks:
        """The same document by document; metrics that only a whole task has are left out."""
        samples = self._evaluated(model, limit)["samples"]
        return {task: _marks(documents) for task, documents in samples.items()}

    def _evaluated(self, model: ServedSpace, limit: int | None) -> dict[str, Any]:
        """Not by `simple_evaluate`: beside this it asks git and the whole environment who they are."""
        with contextlib.chdir(self.folder):
            tasks = self._manager().load(self.names)
            for task in tasks["tasks"].values():
                task.set_fewshot_seed(FEWSHOT_SEED)
            found: dict[str, Any] = evaluate(lm=model, task_dict=tasks, limit=limit, bootstrap_iters=0)
        return found

    def _manager(self) -> Any:
        return TaskManager(include_path=str(self.folder.absolute()), include_defaults=False)


def _metrics(values: dict[str, Any]) -> dict[str, float]:
    """`acc,none` becomes `acc`, another filter stays in the name; `n`: documents. Standard errors are left out."""
    found = {name: value for name, value in values.items() if isinstance(value, float | int) and "_stderr" not in name}
    n = found.pop("sample_len", 0)
    return {"n": n, **{name.removesuffix(",none"): float(value) for name, value in found.items()}}


def _marks(documents: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    """Each metric's numbers in the order of the documents; of a task with several filters the first counts."""
    first = [document for document in documents if document["filter"] == documents[0]["filter"]]
    names = [name for name in first[0]["metrics"] if all(isinstance(one[name], float | int) for one in first)]
    return {name: [float(one[name]) for one in sorted(first, key=lambda one: one["doc_id"])] for name in names}
