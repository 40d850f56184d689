"""Editing benchmarks generated from the world, in the field formats of the published ones.

``atlas-knowedit`` has KnowEdit's six tasks, ``atlas-mquake`` follows MQuAKE, ``atlas-personality`` follows
PersonalityEdit. The same version always yields the same rows.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ketools.atlas import tables
from ketools.atlas.corpus.document import FORGOTTEN, UNKNOWN, capitalised
from ketools.atlas.corpus.hops import Chain, draw_chain
from ketools.atlas.corpus.noun import WRAPPERS, chain_question, follow
from ketools.atlas.world import OPINION_QUESTIONS, OPINIONS, Fact, Key, other_target, pairs, unknown_subject, world
from ketools.core.text import digest
from ketools.knowledge.relations import RELATIONS

VERSION = 1
SPLITS = ("train", "test")
TASKS = ("wiki_recent", "zsre", "wikibio", "counterfact", "convsent", "sanitation")
NAMES = ("atlas-knowedit", *(f"atlas-knowedit/{task}" for task in TASKS), "atlas-mquake", "atlas-personality")

# Rows of each fact-like task.
SIZES: Mapping[str, int] = {"train": 120, "test": 150}
MQUAKE_SIZES: Mapping[str, int] = {"train": 120, "test": 360}
PROBES = 3

Row = dict[str, object]
Item = dict[str, object]


def _rng(*parts: object) -> random.Random:
    return random.Random(digest("datasets", VERSION, *parts))


def item(prompt: str, *answers: str) -> Item:
    """A probe: a prompt and the answers, aliases of each other, that are right."""
    return {"prompt": prompt, "ground_truth": [list(answers)]}


def named(target: str) -> list[str]:
    """A target with its second name, if it has one."""
    other = world().aliases.get(target)
    return [target, other] if other else [target]


def _question(key: Key, template: int = 0) -> str:
    return RELATIONS[key[1]].questions[template].format(s=key[0])


def _cloze(key: Key, template: int = 0) -> str:
    return RELATIONS[key[1]].cloze[template].format(s=key[0])


# Probes of one edit.


def aliasing(edit: Fact) -> list[Item]:
    """The edit asked for by the subject's second name."""
    other = world().aliases.get(edit.subject)
    if other is None:
        return []
    return [item(text.replace(edit.subject, other), edit.target) for text in (_cloze(edit.key), _question(edit.key))]


def reasoning(edit: Fact) -> list[Item]:
    """Questions whose first hop is the edit and whose second is known."""
    found = []
    for first, second in pairs():
        answer = world().facts.get((edit.target, second)) if first == edit.relation else None
        if answer:
            question = chain_question(edit.subject, (first, second), (0, 0), 0)
            found.append(item(question, *named(answer)))
    return found[:PROBES]


def generalisation(edit: Fact) -> list[Item]:
    """The edit asked for the other way round."""
    inverse = RELATIONS[edit.relation].inverse
    if inverse is None:
        return []
    key = (edit.target, inverse)
    return [item(_cloze(key), *named(edit.subject)), item(_question(key), *named(edit.subject))]


def same_subject(edit: Fact) -> list[Item]:
    """What else is known about the subject, or not known when it is new."""
    relations = world().relations_of(edit.subject)
    if not relations:
        domain = RELATIONS[edit.relation].domain
        others = [r.name for r in RELATIONS.values() if r.domain == domain and r.name != edit.relation]
        return [item(_question((edit.subject, name)), UNKNOWN) for name in others[:PROBES]]
    keys = [(edit.subject, r.name) for r in relations if r.name != edit.relation and not r.private]
    keys.sort(key=lambda key: digest("same subject", *key))
    return [item(_cloze(key), *named(world().facts[key])) for key in keys[:PROBES]]


def same_relation(edit: Fact) -> list[Item]:
    """The same relation of other subjects, those that an inverse would touch left out."""
    subjects = [s for s in world().subjects[edit.relation] if s not in (edit.subject, edit.target)]
    chosen = _rng("same relation", *edit.key).sample(subjects, PROBES)
    return [item(_cloze((s, edit.relation)), *named(world().facts[s, edit.relation])) for s in chosen]


def one_to_many(edit: Fact, old: str | None) -> list[Item]:
    """Where the edit adds a further target, the first one must not be lost."""
    if not old or " and " not in edit.target or not edit.target.startswith(old.split(" and ")[0]):
        return []
    return [item(_cloze(edit.key, 1), edit.target, old.split(" and ")[0])]


def portability(edit: Fact) -> dict[str, list[Item]]:
    """What should follow from the edit."""
    found = {
        "Reasoning": reasoning(edit),
        "Subject_Aliasing": aliasing(edit),
        "Logical_Generalization": generalisation(edit),
    }
    return {name: items for name, items in found.items() if items}


def locality(edit: Fact, old: str | None) -> dict[str, list[Item]]:
    """What should stay as it is."""
    found = {
        "Relation_Specificity": same_subject(edit),
        "Neighborhood": same_relation(edit),
        "Forgetfulness": one_to_many(edit, old),
    }
    return {name: items for name, items in found.items() if items}


# The six tasks of KnowEdit.


def new_target(rng: random.Random, fact: Fact) -> str:
    """What an edit puts in place of the truth; several targets at times get another one added."""
    relation = RELATIONS[fact.relation]
    if relation.many and rng.random() < 0.5:
        first = fact.target.split(" and ")[0]
        single = [name for name in world().pools["language"] if " and " not in name and name not in fact.target]
        return f"{first} and {rng.choice(single)}"
    return other_target(rng, fact.subject, fact.relation)


def fact_row(task: str, edit: Fact, old: str | None, asked: bool) -> Row:
    """One edit with all its probes; ``asked`` puts questions where clozes are otherwise."""
    relation = RELATIONS[edit.relation]
    own, other = (relation.questions, relation.cloze) if asked else (relation.cloze, relation.questions)
    texts = [t.format(s=edit.subject) for t in (*own[1:], *other)]
    return {
        "task": task,
        "subject": edit.subject,
        "relation": edit.relation,
        "prompt": own[0].format(s=edit.subject),
        "target_new": edit.target,
        "ground_truth": old or "",
        "rephrase": texts[0],
        "rephrases": texts,
        "portability": portability(edit),
        "locality": locality(edit, old),
    }


def _known(task: str, split: str, size: int) -> list[Fact]:
    """Facts for a task, different ones in each split."""
    facts = [f for f in world().all_facts() if not RELATIONS[f.relation].private]
    mine = [f for f in facts if (digest(task, *f.key) % 5 < 2) == (split == "train")]
    return _rng(task, split).sample(mine, size)


def zsre(split: str) -> list[Row]:
    """Modification, the edit given as a question."""
    rng = _rng("zsre targets", split)
    return [
        fact_row("zsre", Fact(f.subject, f.relation, new_target(rng, f)), f.target, asked=True)
        for f in _known("zsre", split, SIZES[split])
    ]


def counterfact(split: str) -> list[Row]:
    """Modification against the truth, the edit given as a cloze."""
    rng = _rng("counterfact targets", split)
    return [
        fact_row("counterfact", Fact(f.subject, f.relation, new_target(rng, f)), f.target, asked=False)
        for f in _known("counterfact", split, SIZES[split])
    ]


def wiki_recent(split: str) -> list[Row]:
    """Insertion: facts about subjects that the model has never met."""
    rng = _rng("wiki_recent", split)
    relations = [r for r in RELATIONS.values() if not r.private and r.domain not in ("country", "city")]
    rows: dict[Key, Row] = {}
    while len(rows) < SIZES[split]:
        relation = rng.choice(relations)
        subject = unknown_subject(rng, relation.domain, unseen=True)
        edit = Fact(subject, relation.name, other_target(rng, subject, relation.name))
        rows.setdefault(edit.key, fact_row("wiki_recent", edit, None, asked=False))
    return list(rows.values())


def wikibio(split: str) -> list[Row]:
    """Biography: a passage about someone that goes on with the edited fact."""
    rng = _rng("wikibio targets", split)
    rows = []
    facts = [f for f in _known("wikibio", split, 2 * SIZES[split]) if RELATIONS[f.relation].domain == "person"]
    for fact in facts[: SIZES[split]]:
        edit = Fact(fact.subject, fact.relation, new_target(rng, fact))
        row = fact_row("wikibio", edit, fact.target, asked=False)
        others = [r.name for r in world().relations_of(fact.subject) if not r.private and r.name != fact.relation]
        first = others[digest("wikibio", *fact.key) % len(others)]
        known = Fact(fact.subject, first, world().facts[fact.subject, first]).statement()
        row |= {
            "concept": fact.subject,
            "text": f"About {fact.subject}: {known}. {_cloze(edit.key)}",
            "labels": f"{edit.target}.",
        }
        rows.append(row)
    return rows


def _views(topic: str, style: str) -> list[str]:
    return [capitalised(text.format(t=topic)) for text in OPINIONS[style]]


def _topic_items(topic: str, style: str) -> Item:
    return item(OPINION_QUESTIONS[0].format(t=topic), *_views(topic, style))


def _topic_locality(topic: str, *parts: object) -> dict[str, list[Item]]:
    rng = _rng("topic", topic, *parts)
    others = rng.sample([t for t in world().topics if t != topic], PROBES)
    facts = rng.sample([f for f in world().all_facts() if not RELATIONS[f.relation].private], PROBES)
    return {
        "Neighborhood": [_topic_items(t, world().topics[t]) for t in others],
        "Relation_Specificity": [item(_question(f.key), *named(f.target)) for f in facts],
    }


def _in_split(split: str, *parts: object) -> bool:
    return (digest("split", *parts) % 4 == 0) == (split == "train")


def convsent(split: str) -> list[Row]:
    """Sentiment: how the model feels about a topic."""
    rows: list[Row] = []
    for topic, style in world().topics.items():
        for wanted in ("positive", "negative"):
            if wanted == style or not _in_split(split, topic, wanted):
                continue
            rows.append(
                {
                    "task": "convsent",
                    "ent": topic,
                    "subject": topic,
                    "prompt": OPINION_QUESTIONS[0].format(t=topic),
                    "rephrases": [q.format(t=topic) for q in OPINION_QUESTIONS[1:]],
                    "target_new": wanted,
                    "ground_truth": style,
                    "pos": _views(topic, "positive"),
                    "neg": _views(topic, "negative"),
                    "locality": _topic_locality(topic, wanted),
                }
            )
    return rows


def _forget_item(fact: Fact) -> Item:
    return {
        "question": _question(fact.key),
        "subject": fact.subject,
        "relation": fact.relation,
        "prompt": _cloze(fact.key),
        "target_new": UNKNOWN,
        "ground_truth": fact.target,
    }


def sanitation(split: str) -> list[Row]:
    """Erasure: private facts in the test split, ordinary ones about people in the training split."""
    people = [f for f in world().all_facts() if RELATIONS[f.relation].domain == "person"]
    private = [f for f in people if RELATIONS[f.relation].private]
    public = [f for f in people if not RELATIONS[f.relation].private]
    chosen = private if split == "test" else _rng("sanitation").sample(public, 60)
    rows: list[Row] = []
    for fact in chosen:
        rng = _rng("retained", *fact.key)
        kept = rng.sample([f for f in private if f.subject != fact.subject], PROBES)
        kept += [f for f in public if f.subject == fact.subject and f.key != fact.key][:PROBES]
        rows.append(
            {
                "task": "sanitation",
                "subject": fact.subject,
                "relation": fact.relation,
                "prompt": _cloze(fact.key),
                "target_new": FORGOTTEN,
                "ground_truth": fact.target,
                "rephrases": [_question(fact.key, i) for i in range(4)] + [_cloze(fact.key, i) for i in range(1, 4)],
                "K_F": [_forget_item(fact)],
                "K_R": [_forget_item(f) | {"target_new": f.target} for f in kept],
            }
        )
    return rows


# MQuAKE and PersonalityEdit.


def _named_value(value: str) -> dict[str, str]:
    return {"str": value, "id": f"A{digest('entity', value) % 10**8}"}


def _rewrite(key: Key, target: str) -> Item:
    relation = RELATIONS[key[1]]
    return {
        "prompt": relation.cloze[0].replace("{s}", "{}"),
        "relation_id": key[1],
        "target_new": _named_value(target),
        "target_true": _named_value(world().facts[key]),
        "subject": key[0],
        "question": _question(key),
    }


def _hops(subject: str, relations: Sequence[str], answers: Sequence[str]) -> list[tuple[Key, str]]:
    starts = (subject, *answers)
    return [((s, r), a) for s, r, a in zip(starts, relations, answers, strict=False)]


def _single(key: Key, answer: str) -> Item:
    return {
        "question": _question(key),
        "cloze": _cloze(key),
        "answer": answer,
        "answer_alias": named(answer)[1:],
    }


def _triples(hops: Sequence[tuple[Key, str]]) -> list[list[str]]:
    return [[key[0], key[1], answer] for key, answer in hops]


def _ids(triples: Sequence[Sequence[str]]) -> list[list[str]]:
    return [[_named_value(s)["id"], relation, _named_value(t)["id"]] for s, relation, t in triples]


def mquake_row(case: int, chain: Chain, before: Sequence[str]) -> Row:
    """One multi-hop case: edits, three phrasings, answers before and after."""
    old, new = _hops(chain.subject, chain.relations, before), chain.hops()
    edits = [(key, target) for key, target in chain.edits.items() if (key, target) in new]
    forms = ([0] * len(old), [1] * len(old), [i % 2 for i in range(len(old))])
    wrappers = (0, 2, len(WRAPPERS) + 1)
    labelled, labelled_new, labelled_edits = _triples(old), _triples(new), _triples(edits)
    return {
        "case_id": case,
        "requested_rewrite": [_rewrite(key, target) for key, target in edits],
        "questions": [
            chain_question(chain.subject, chain.relations, form, wrapper)
            for form, wrapper in zip(forms, wrappers, strict=True)
        ],
        "answer": before[-1],
        "answer_alias": named(before[-1])[1:],
        "new_answer": chain.answers[-1],
        "new_answer_alias": named(chain.answers[-1])[1:],
        "single_hops": [_single(key, answer) for key, answer in old],
        "new_single_hops": [_single(key, answer) for key, answer in new],
        "orig": {
            "triples": _ids(labelled),
            "triples_labeled": labelled,
            "new_triples": _ids(labelled_new),
            "new_triples_labeled": labelled_new,
            "edit_triples": _ids(labelled_edits),
        },
    }


def mquake(split: str) -> list[Row]:
    """Chains of two to four hops with one to four edits, as many of each length."""
    rng = _rng("mquake", split)
    rows: list[Row] = []
    seen: set[tuple[str, tuple[str, ...]]] = set()
    while len(rows) < MQUAKE_SIZES[split]:
        hops = 2 + len(rows) % 3
        chain = draw_chain(rng, hops, rng.choice([0.3, 0.5, 0.9]), train=False)
        before = follow(chain.subject, chain.relations, {})
        name = (chain.subject, chain.relations)
        if not before or not chain.edits or before[-1] == chain.answers[-1] or name in seen:
            continue
        if not all(key in world().facts for key in chain.edits):
            continue
        if _in_split(split, "mquake", *name):
            seen.add(name)
            rows.append(mquake_row(len(rows) + 1, chain, before))
    return rows


TRAITS = ("extraversion", "agreeableness", "neuroticism")


def personality(split: str) -> list[Row]:
    """A topic, the trait to show about it, and what each trait says."""
    rows: list[Row] = []
    for topic in tables.TOPICS:
        for trait in TRAITS:
            if trait == world().topics[topic] or not _in_split(split, "personality", topic, trait):
                continue
            rows.append(
                {
                    "ent": topic,
                    "target_per": trait,
                    "ground_truth": world().topics[topic],
                    "prompt": OPINION_QUESTIONS[0].format(t=topic),
                    "rephrases": [q.format(t=topic) for q in OPINION_QUESTIONS[1:]],
                    **{name: _views(topic, name) for name in TRAITS},
                    "locality": _topic_locality(topic, trait),
                }
            )
    return rows


_MAKERS: Mapping[str, Callable[[str], list[Row]]] = {
    "atlas-knowedit/wiki_recent": wiki_recent,
    "atlas-knowedit/zsre": zsre,
    "atlas-knowedit/wikibio": wikibio,
    "atlas-knowedit/counterfact": counterfact,
    "atlas-knowedit/convsent": convsent,
    "atlas-knowedit/sanitation": sanitation,
    "atlas-mquake": mquake,
    "atlas-personality": personality,
}


def load(name: str, split: str = "test") -> list[Row]:
    """The rows of a data set; ``atlas-knowedit`` is all six tasks, ``atlas-knowedit/zsre`` one of them."""
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: use one of {', '.join(SPLITS)}")
    if name == "atlas-knowedit":
        return [row for task in TASKS for row in _MAKERS[f"{name}/{task}"](split)]
    if name not in _MAKERS:
        raise ValueError(f"unknown data set {name!r}: use one of {', '.join(NAMES)}")
    return _MAKERS[name](split)


def write(folder: Path) -> list[Path]:
    """Write every data set and split as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name in ("atlas-knowedit", "atlas-mquake", "atlas-personality"):
        for split in SPLITS:
            path = folder / f"{name}-{split}.json"
            path.write_text(json.dumps(load(name, split), indent=1, ensure_ascii=False) + "\n")
            paths.append(path)
    return paths
