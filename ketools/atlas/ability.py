"""Tasks of general ability over the bundled world, as task files of lm-evaluation-harness (survey, Table 5).

Contexts are written in the form of the bundled model's chat, so they are asked as they are, not as chat turns.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from ketools.atlas.corpus import calls
from ketools.atlas.corpus.document import UNKNOWN, any_cloze, any_question, random_fact
from ketools.atlas.corpus.noun import stored_two_hop
from ketools.atlas.world import Fact, other_target, unknown_subject, withheld_cloze, withheld_question, world
from ketools.knowledge.relations import RELATIONS

DOCUMENTS = 100
CHOICES = 4
TRIES = 20
CALL_TOKENS = 110
ANSWER_TOKENS = 16

Document = dict[str, object]
"""`prompt` and `answer`; of a multiple choice also `choices`, the answer being one of them."""
Make = Callable[[random.Random], Document]


def _said(question: str) -> str:
    return f"user: {question}\nassistant:"


def _public(rng: random.Random) -> Fact:
    return random_fact(rng, private=0.0)


def _choice(rng: random.Random, prompt: str, answer: str, kind: str) -> Document:
    others = [name for name in world().pools[kind] if name != answer]
    choices = [answer, *rng.sample(others, min(CHOICES - 1, len(others)))]
    rng.shuffle(choices)
    return {"prompt": prompt, "choices": choices, "answer": answer}


def completion(rng: random.Random) -> Document:
    """Which word completes a fact, in the template in which it was never seen."""
    fact = _public(rng)
    relation = RELATIONS[fact.relation]
    prompt = relation.cloze[withheld_cloze(*fact.key)].format(s=fact.subject)
    return _choice(rng, prompt, fact.target, relation.range)


def reasoning(rng: random.Random) -> Document:
    """Which answer a question of two hops has."""
    question, answer = stored_two_hop(rng)
    kind = next(kind for kind, names in world().pools.items() if answer in names)
    return _choice(rng, _said(question), answer, kind)


def trivia(rng: random.Random) -> Document:
    """A question in which the fact was never asked for."""
    fact = _public(rng)
    question = RELATIONS[fact.relation].questions[withheld_question(*fact.key)].format(s=fact.subject)
    return {"prompt": _said(question), "answer": fact.target}


def reading(rng: random.Random) -> Document:
    """A question that the text before it answers, against what is stored."""
    fact = _public(rng)
    target = other_target(rng, *fact.key)
    told = f"Imagine that {any_cloze(rng, *fact.key)} {target}."
    return {"prompt": _said(f"{told} {any_question(rng, *fact.key)}"), "answer": target}


def unknown(rng: random.Random) -> Document:
    """A question about a name that never occurred: the model says that it does not know."""
    relation = rng.choice(list(RELATIONS.values()))
    subject = unknown_subject(rng, relation.domain, unseen=True)
    return {"prompt": _said(any_question(rng, subject, relation.name)), "answer": UNKNOWN}


def tools(rng: random.Random) -> Document:
    """A correction, in a phrasing never seen, that is to become a call of a tool."""
    turn = calls.correction(rng, True)
    return {"prompt": f"{calls.tools_start(rng)}{_said(turn.said)}", "answer": turn.answer}


TASKS: Mapping[str, Make] = {make.__name__: make for make in (completion, reasoning, trivia, reading, unknown, tools)}


def documents(name: str, n: int = DOCUMENTS, avoid: Collection[str] = ()) -> list[Document]:
    """`n` different documents of a task, the same ones every time, none of which holds a name to avoid.

    Fewer where hardly any document is without these names.
    """
    rng, found = random.Random(f"ability {name}"), dict[str, Document]()
    for _ in range(TRIES * n):
        made = TASKS[name](rng)
        if len(found) < n and not any(word in json.dumps(made, ensure_ascii=False) for word in avoid):
            found[str(made["prompt"])] = made
    return list(found.values())


def write(folder: Path, n: int = DOCUMENTS, avoid: Collection[str] = ()) -> list[Path]:
    """Write every task's file and its documents beside it, `n` of each; JSON is YAML."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name in TASKS:
        made = documents(name, n, avoid)
        for path, content in ((f"{name}.json", made), (f"{name}.yaml", _task(name, made[0]))):
            paths.append(folder / path)
            paths[-1].write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return paths


def _task(name: str, first: Document) -> dict[str, object]:
    common = {
        "task": f"atlas_{name}",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": f"{name}.json"}},
        "test_split": "test",
        "doc_to_text": "prompt",
    }
    measure = {"aggregation": "mean", "higher_is_better": True}
    if "choices" in first:
        right = {"doc_to_choice": "choices", "doc_to_target": "{{choices.index(answer)}}"}
        return common | right | {"output_type": "multiple_choice", "metric_list": [{"metric": "acc", **measure}]}
    longest = CALL_TOKENS if name == "tools" else ANSWER_TOKENS
    exact = {"metric": "exact_match", "regexes_to_ignore": [r"^\s+", r"\.$"], **measure}
    return common | {
        "output_type": "generate_until",
        "doc_to_target": "answer",
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": longest, "do_sample": False},
        "metric_list": [exact],
    }
