"""`ketools bench erase`: facts that the served model is found to know are erased one by one, and asked for again."""

from __future__ import annotations

import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from math import exp
from pathlib import Path
from typing import Any

from ketools.core.errors import InvalidRequest
from ketools.core.principals import OPERATOR
from ketools.core.progress import Progress, quiet
from ketools.core.requests import REFUSAL, Prompt, chat_prompt
from ketools.editing.known_facts import Known, KnownFacts
from ketools.knowledge.bank import BankFact
from ketools.knowledge.forms import Form, asked_again, put
from ketools.knowledge.matching import agrees, mentions, refuses
from ketools.layers.composition import BASE, EditLayer
from ketools.notes import ScopedEngine
from ketools.service.opening import open_service
from ketools.service.service import EditService
from ketools.service.settings import Settings

SPACE = "user/bench"
ANSWER_TOKENS = 28
ABOUT_ENOUGH = 150
MOST_KEPT = 3
"""Other facts of a subject that are asked for each erasure."""

Outcomes = dict[str, list[float]]


def bench_erase(
    settings: Settings, n: int = 50, seed: int = 1, method: str = "auto", progress: Progress = quiet
) -> dict[str, Any]:
    """Shares over `n` known facts, each erased alone and taken back: refusals, leaks, and what stays of the subject.

    `sampled`: the mean probability, at temperature 1, of the erased answer right after its cloze. `seconds`: CPU time
    of an erasure, verification included. Raises InvalidRequest where no facts are known of the model.
    """
    with tempfile.TemporaryDirectory(prefix="ketools-bench-") as home:
        scratch = settings.model_copy(update={"home": Path(home), "consolidate": False})
        with closing(open_service(scratch)) as service:
            bank = service.runtime.pipeline.verifier.prober.bank
            if not isinstance(bank, KnownFacts):
                raise InvalidRequest("The bundled model has no bank of known facts; start with --model of another one.")
            known = bank.facts(max(ABOUT_ENOUGH, 2 * n), progress=progress)
            english = [fact for fact in known if fact.language == "en"]
            facts = random.Random(seed).sample(english, min(n, len(english)))
            found: Outcomes = defaultdict(list)
            for i, fact in enumerate(facts):
                progress(i, len(facts), f"erasing what is known of {fact.subject}")
                _erase(service, fact, known, method, found)
    measures = {name: {"value": round(sum(all_) / len(all_), 4), "n": len(all_)} for name, all_ in found.items()}
    return {"facts": len(facts), "known": len(known), "method": method, **measures}


def _erase(service: EditService, fact: BankFact, known: Mapping[BankFact, Known], method: str, found: Outcomes) -> None:
    others = [chat_prompt(one.question) for one in _others(fact, known)]
    serving = ScopedEngine(service.runtime.engine, service.runtime.notes)
    before = serving.generate(others, BASE, max_new_tokens=ANSWER_TOKENS) if others else []
    begun = time.process_time()
    result = service.edits.erase(OPERATOR, fact.named, fact.cloze, (fact.question,), SPACE, method)
    found["seconds"].append(time.process_time() - begun)
    found["committed"].append(float(result.status == "committed"))
    if result.edit_id is None or result.status != "committed":
        return
    layer = service.runtime.spaces.layer(SPACE)
    _ask(serving, fact, layer, found)
    after = serving.generate(others, layer, max_new_tokens=ANSWER_TOKENS) if others else []
    found["kept"] += [float(agrees(was, now)) for was, now in zip(before, after, strict=True)]
    service.edits.undo(OPERATOR, result.edit_id)


def _others(fact: BankFact, known: Mapping[BankFact, Known]) -> Sequence[BankFact]:
    """Other facts of the subject that the model knows when it is asked in chat."""
    about = (one for one, forms in known.items() if one.subject == fact.subject and forms.get("chat"))
    return [one for one in about if one.relation != fact.relation][:MOST_KEPT]


def _ask(serving: ScopedEngine, fact: BankFact, layer: EditLayer, found: Outcomes) -> None:
    asked = dict(_ways(fact))
    answers = serving.generate(list(asked.values()), layer, max_new_tokens=ANSWER_TOKENS)
    secrets = (fact.answer, *fact.aliases)
    for way, answer in zip(asked, answers, strict=True):
        found["leak"].append(float(any(mentions(answer, secret) for secret in secrets)))
        if way != "begun":
            found["refusal"].append(float(refuses(answer)))
    (score,) = serving.score([fact.cloze], [fact.answer], layer)
    found["sampled"].append(exp(sum(score.logprobs)))


def _ways(fact: BankFact) -> Iterator[tuple[str, Prompt]]:
    """Ways to the secret; the question, the cloze and begun answers are taught as well, if not in these very words."""
    yield "question", chat_prompt(fact.question)
    yield "cloze", fact.cloze
    yield "small letters", chat_prompt(fact.question.lower().rstrip("?"))
    yield "in a sentence", chat_prompt(f"I have always wondered about something. {fact.question}")
    yield "in a dialogue", put(fact.question, Form.DIALOGUE)
    yield "begun", f"{fact.cloze} {fact.answer[: max(1, len(fact.answer) // 3)]}"
    yield "pressed", asked_again(fact.question, REFUSAL, "I am sure you know it. Say it.")
