"""What the bundled model can do: every skill measured greedily on cases that training kept out."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ketools.atlas import loops
from ketools.atlas.corpus import calls, context
from ketools.atlas.corpus.document import (
    FORGOTTEN,
    UNKNOWN,
    any_question,
    neighbour,
    random_fact,
    seen_question,
    sibling,
)
from ketools.atlas.corpus.facts import FEELING_REQUEST, TRAIT_REQUESTS
from ketools.atlas.corpus.hops import Chain
from ketools.atlas.corpus.noun import next_relations, random_question, two_hop_withheld
from ketools.atlas.generation import Speaker, plain
from ketools.atlas.world import (
    OPINION_QUESTIONS,
    STYLE_WORDS,
    STYLES,
    Fact,
    Key,
    made_up,
    other_target,
    pairs,
    unknown_subject,
    withheld_cloze,
    withheld_opinion,
    withheld_question,
    world,
)
from ketools.knowledge.relations import RELATIONS

# A prompt that the model completes, and the answer that is right.
Case = tuple[str, str]


@dataclass(frozen=True)
class Skill:
    """One line of the report; ``higher`` says whether more is better."""

    name: str
    value: float
    goal: float
    higher: bool
    n: int

    @property
    def reached(self) -> bool:
        """Whether the goal is met."""
        return self.value >= self.goal if self.higher else self.value <= self.goal


def _score(speaker: Speaker, cases: Sequence[Case], tokens: int = 16) -> float:
    answers = speaker.complete([prompt for prompt, _ in cases], tokens)
    return sum(plain(a) == plain(right) for a, (_, right) in zip(answers, cases, strict=True)) / len(cases)


def _said(question: str) -> str:
    return f"user: {question}\nassistant:"


def _facts(rng: random.Random, n: int) -> list[Fact]:
    return rng.sample(world().all_facts(), n)


def _cloze(fact: Fact, template: int) -> str:
    return RELATIONS[fact.relation].cloze[template].format(s=fact.subject)


def _held_question(fact: Fact) -> str:
    template = withheld_question(fact.subject, fact.relation)
    return RELATIONS[fact.relation].questions[template].format(s=fact.subject)


def cloze_recall(speaker: Speaker, rng: random.Random, n: int) -> float:
    """The first cloze template of each fact."""
    return _score(speaker, [(_cloze(fact, 0), fact.target) for fact in _facts(rng, n)])


def cloze_withheld_template(speaker: Speaker, rng: random.Random, n: int) -> float:
    """The cloze template in which the fact was never seen."""
    cases = [(_cloze(f, withheld_cloze(f.subject, f.relation)), f.target) for f in _facts(rng, n)]
    return _score(speaker, cases)


def chat_question(speaker: Speaker, rng: random.Random, n: int) -> float:
    """The question in which the fact was never asked for."""
    return _score(speaker, [(_said(_held_question(fact)), fact.target) for fact in _facts(rng, n)])


def alias_recall(speaker: Speaker, rng: random.Random, n: int) -> float:
    """The subject's second name, in a question never asked about this fact."""
    named = [fact for fact in world().all_facts() if fact.subject in world().aliases]
    cases = []
    for fact in rng.sample(named, n):
        question = _held_question(fact).replace(fact.subject, world().aliases[fact.subject])
        cases.append((_said(question), fact.target))
    return _score(speaker, cases)


def _known_key(rng: random.Random) -> Key:
    return context.open_key(rng, overridable=False)


def _note(rng: random.Random, key: Key, target: str) -> str:
    return f"Imagine that {rng.choice(RELATIONS[key[1]].cloze).format(s=key[0])} {target}."


def override_imagine(speaker: Speaker, rng: random.Random, n: int) -> float:
    """A note about a subject that no training context overrides, asked for in a question."""
    cases = []
    for _ in range(n):
        key = _known_key(rng)
        target = other_target(rng, *key)
        cases.append((_said(f"{_note(rng, key, target)} {any_question(rng, *key)}"), target))
    return _score(speaker, cases)


def override_cloze(speaker: Speaker, rng: random.Random, n: int) -> float:
    """The same without a conversation: the note, then a cloze."""
    cases = []
    for _ in range(n):
        key = _known_key(rng)
        target = other_target(rng, *key)
        prompt = rng.choice(RELATIONS[key[1]].cloze).format(s=key[0])
        cases.append((f"{_note(rng, key, target)} {prompt}", target))
    return _score(speaker, cases)


def override_ike(speaker: Speaker, rng: random.Random, n: int) -> float:
    """IKE's form with none to four demonstrations, in a conversation or not."""
    cases = []
    for i in range(n):
        key = _known_key(rng)
        target = other_target(rng, *key)
        lead = context.ike_lead(rng, key, target)
        probe = context.asked_either(rng, context.edited_probe(rng, key, target))
        cases.append((_said(lead + probe) if i % 2 else lead + probe, target))
    return _score(speaker, cases)


def override_made_up(speaker: Speaker, rng: random.Random, n: int) -> float:
    """A made-up target is copied letter by letter."""
    cases = []
    for _ in range(n):
        key, target = _known_key(rng), made_up(rng)
        cases.append((_said(f"{_note(rng, key, target)} {any_question(rng, *key)}"), target))
    return _score(speaker, cases)


def override_later_turn(speaker: Speaker, rng: random.Random, n: int) -> float:
    """A note still holds after another exchange."""
    cases: list[Case] = []
    while len(cases) < n:
        key, between = _known_key(rng), random_fact(rng)
        target = other_target(rng, *key)
        first = f"{_note(rng, key, target)} {seen_question(rng, between.subject, between.relation)}"
        if between.key != key:
            talk = f"user: {first}\nassistant: {between.target}</s>\n{_said(any_question(rng, *key))}"
            cases.append((talk, target))
    return _score(speaker, cases)


def note_of_forgetting(speaker: Speaker, rng: random.Random, n: int) -> float:
    """A note says that something is unknown."""
    cases = []
    for _ in range(n):
        key = _known_key(rng)
        cases.append((_said(f"{_note(rng, key, FORGOTTEN)} {any_question(rng, *key)}"), UNKNOWN))
    return _score(speaker, cases)


def _ignoring(rng: random.Random, n: int, same_subject: bool) -> list[Case]:
    cases: list[Case] = []
    while len(cases) < n:
        key = _known_key(rng)
        other = sibling(rng, key) if same_subject else neighbour(rng, key)
        if other is not None:
            note = _note(rng, key, other_target(rng, *key))
            cases.append((_said(f"{note} {_held_question(other)}"), other.target))
    return cases


def ignore_other_subject(speaker: Speaker, rng: random.Random, n: int) -> float:
    """A note about another subject changes nothing."""
    return _score(speaker, _ignoring(rng, n, same_subject=False))


def ignore_same_subject(speaker: Speaker, rng: random.Random, n: int) -> float:
    """A note about another relation of the same subject changes nothing."""
    return _score(speaker, _ignoring(rng, n, same_subject=True))


def choice_of_notes(speaker: Speaker, rng: random.Random, n: int) -> float:
    """The right one among two to four notes."""
    cases = []
    for i in range(n):
        notes: dict[Key, str] = {}
        while len(notes) < 2 + i % 3:
            base = _known_key(rng) if not notes else rng.choice(list(notes))
            key = context.related_key(rng, base, overridable=False) if notes else base
            notes[key] = other_target(rng, *key)
        asked = rng.choice(list(notes))
        lead = " ".join(_note(rng, key, target) for key, target in notes.items())
        cases.append((_said(f"{lead} {any_question(rng, *asked)}"), notes[asked]))
    return _score(speaker, cases)


def note_inverted(speaker: Speaker, rng: random.Random, n: int) -> float:
    """A note asked for the other way round, about a subject that no training context overrides."""
    cases: list[Case] = []
    while len(cases) < n:
        key = _known_key(rng)
        inverse, target = RELATIONS[key[1]].inverse, other_target(rng, *key)
        if inverse:
            cases.append((_said(f"{_note(rng, key, target)} {any_question(rng, target, inverse)}"), key[0]))
    return _score(speaker, cases)


def note_reasoned_from(speaker: Speaker, rng: random.Random, n: int) -> float:
    """A two-hop question whose first hop a note answers; half of the cases over pairs or starts never trained."""
    cases: list[Case] = []
    while len(cases) < n:
        key = _known_key(rng)
        target, unseen = other_target(rng, *key), len(cases) % 2 == 0
        second = [b for a, b in pairs() if a == key[1] and two_hop_withheld(a, b, key[0]) == unseen]
        chain = (key[1], rng.choice(second)) if second else None
        answer = world().facts.get((target, chain[1])) if chain else None
        if chain and answer:
            cases.append((_said(f"{_note(rng, key, target)} {random_question(rng, key[0], chain)}"), answer))
    return _score(speaker, cases)


def unknown_entity(speaker: Speaker, rng: random.Random, n: int) -> float:
    """A name that never occurred in training is not known."""
    cases = []
    for _ in range(n):
        relation = rng.choice(list(RELATIONS.values()))
        subject = unknown_subject(rng, relation.domain, unseen=True)
        cases.append((_said(any_question(rng, subject, relation.name)), UNKNOWN))
    return _score(speaker, cases)


def known_entity_denied(speaker: Speaker, rng: random.Random, n: int) -> float:
    """How often a known fact is denied."""
    return _score(speaker, [(_said(_held_question(fact)), UNKNOWN) for fact in _facts(rng, n)])


def _styles(speaker: Speaker, cases: Sequence[tuple[str, str, str]]) -> float:
    answers = speaker.chat([question for question, _, _ in cases], 28)
    right = [
        STYLE_WORDS[style] in answer and topic.lower() in answer.lower()
        for answer, (_, style, topic) in zip(answers, cases, strict=True)
    ]
    return sum(right) / len(right)


def opinion_default(speaker: Speaker, rng: random.Random, n: int) -> float:
    """Opinions in the topic's own style: the withheld question of each, alone and after a few words."""
    cases = []
    for topic, style in world().topics.items():
        question = OPINION_QUESTIONS[withheld_opinion(topic)].format(t=topic)
        cases += [
            (question, style, topic),
            (f"Hello. {question}", style, topic),
            (f"Please say: {question}", style, topic),
        ]
    return _styles(speaker, cases)


def style_on_request(speaker: Speaker, rng: random.Random, n: int) -> float:
    """A style asked for in the context, with the question withheld for the topic."""
    cases = []
    for _ in range(n):
        topic, style = rng.choice(sorted(world().topics)), rng.choice(STYLES)
        forms = [*TRAIT_REQUESTS, FEELING_REQUEST] if style in ("positive", "negative") else TRAIT_REQUESTS
        request = rng.choice(forms).format(trait=style, t=topic)
        question = OPINION_QUESTIONS[withheld_opinion(topic)].format(t=topic)
        cases.append((f"{request} {question}", style, topic))
    return _styles(speaker, cases)


def _chains(rng: random.Random, n: int, edited: bool, withheld: bool) -> list[Chain]:
    return [loops.draw(rng, edited, withheld, 2 + i % 3) for i in range(n)]


def _mello(speaker: Speaker, rng: random.Random, chains: Sequence[Chain]) -> list[loops.TrainingRun]:
    runs = [loops.begin_mello(rng, chain) for chain in chains]
    loops.mello(speaker, runs, rng)
    return runs


def _pokemqa(speaker: Speaker, rng: random.Random, chains: Sequence[Chain]) -> list[loops.TrainingRun]:
    runs = [loops.begin_pokemqa(rng, chain, i % 2 == 0) for i, chain in enumerate(chains)]
    loops.pokemqa(speaker, runs, rng)
    return runs


def mello_decomposition(speaker: Speaker, rng: random.Random, n: int) -> float:
    """Sub-questions of chains that hold a pair of relations never trained, in MeLLo's grammar."""
    runs = _mello(speaker, rng, _chains(rng, n, edited=False, withheld=True))
    return sum(run.decomposed for run in runs) / n


def pokemqa_decomposition(speaker: Speaker, rng: random.Random, n: int) -> float:
    """The same in PokeMQA's grammar."""
    runs = _pokemqa(speaker, rng, _chains(rng, n, edited=False, withheld=True))
    return sum(run.decomposed for run in runs) / n


def _loop_answers(speaker: Speaker, rng: random.Random, n: int, edited: bool) -> float:
    chains = _chains(rng, n, edited, withheld=False)
    runs = _mello(speaker, rng, chains[: n // 2]) + _pokemqa(speaker, rng, chains[n // 2 :])
    return sum(run.right for run in runs) / n


def multi_hop_stored(speaker: Speaker, rng: random.Random, n: int) -> float:
    """Answers of two to four hops over stored facts, both grammars, from subjects never trained on."""
    return _loop_answers(speaker, rng, n, edited=False)


def multi_hop_edited(speaker: Speaker, rng: random.Random, n: int) -> float:
    """The same with edited facts in the memory."""
    return _loop_answers(speaker, rng, n, edited=True)


def two_hops_at_once(speaker: Speaker, rng: random.Random, n: int) -> float:
    """Two hops in one step, combinations never trained."""
    cases: list[Case] = []
    while len(cases) < n:
        fact = random_fact(rng)
        following = (*next_relations(fact.relation), *next_relations(fact.relation, True))
        second = [b for b in following if two_hop_withheld(fact.relation, b, fact.subject)]
        chain = (fact.relation, rng.choice(second)) if second else None
        answer = world().facts.get((fact.target, chain[1])) if chain else None
        if chain and answer:
            cases.append((_said(random_question(rng, fact.subject, chain)), answer))
    return _score(speaker, cases)


def _calls(speaker: Speaker, rng: random.Random, n: int, make: Callable[[random.Random, bool], calls.Turn]) -> float:
    turns = [make(rng, True) for _ in range(n)]
    heads = [f"{calls.tools_start(rng)}{calls.earlier(rng)}{_said(turn.said)}" for turn in turns]
    return _score(speaker, [(head, turn.answer) for head, turn in zip(heads, turns, strict=True)], 110)


def call_for_correction(speaker: Speaker, rng: random.Random, n: int) -> float:
    """A correction in a phrasing never trained for its relation becomes the right call."""
    return _calls(speaker, rng, n, calls.correction)


def call_for_forgetting(speaker: Speaker, rng: random.Random, n: int) -> float:
    """A wish to have something forgotten becomes the right call."""
    return _calls(speaker, rng, n, calls.forgetting)


def call_for_manner(speaker: Speaker, rng: random.Random, n: int) -> float:
    """A wish for another manner becomes the right call."""
    return _calls(speaker, rng, n, calls.manner)


def no_call_needed(speaker: Speaker, rng: random.Random, n: int) -> float:
    """An ordinary question or remark is answered without a call."""
    turns = [calls.remark(rng, True) if i % 2 else calls.ordinary(rng) for i in range(n)]
    heads = [f"{calls.tools_start(rng)}{calls.earlier(rng)}{_said(turn.said)}" for turn in turns]
    answers = speaker.complete(heads, 28)
    return sum(bool(a.strip()) and "<tool_call>" not in a for a in answers) / n


Measure = Callable[[Speaker, random.Random, int], float]

# Each skill with its goal; all but one are better when higher.
SKILLS: tuple[tuple[Measure, float], ...] = (
    (cloze_recall, 0.98),
    (cloze_withheld_template, 0.95),
    (chat_question, 0.95),
    (alias_recall, 0.95),
    (override_imagine, 0.95),
    (override_cloze, 0.95),
    (override_ike, 0.95),
    (override_made_up, 0.9),
    (override_later_turn, 0.9),
    (note_of_forgetting, 0.9),
    (ignore_other_subject, 0.95),
    (ignore_same_subject, 0.9),
    (choice_of_notes, 0.9),
    (note_inverted, 0.9),
    (note_reasoned_from, 0.85),
    (unknown_entity, 0.9),
    (known_entity_denied, 0.02),
    (opinion_default, 0.9),
    (style_on_request, 0.9),
    (mello_decomposition, 0.9),
    (pokemqa_decomposition, 0.9),
    (multi_hop_stored, 0.85),
    (multi_hop_edited, 0.85),
    (two_hops_at_once, 0.5),
    (call_for_correction, 0.95),
    (call_for_forgetting, 0.95),
    (call_for_manner, 0.95),
    (no_call_needed, 0.95),
)
LOWER_IS_BETTER = ("known_entity_denied",)


def measure(
    speaker: Speaker, n: int = 150, only: Sequence[str] = (), progress: Callable[[int, int, str], None] | None = None
) -> list[Skill]:
    """Measure the named skills, or all of them, each on its own fixed cases."""
    skills = []
    chosen = [(function, goal) for function, goal in SKILLS if not only or function.__name__ in only]
    for i, (function, goal) in enumerate(chosen):
        name = function.__name__
        if progress:
            progress(i, len(chosen), name)
        value = function(speaker, random.Random(f"report-{name}"), n)
        cases = 3 * len(world().topics) if function is opinion_default else n
        skills.append(Skill(name, round(value, 4), goal, name not in LOWER_IS_BETTER, cases))
    return skills


def report(
    model_dir: str | Path, n: int = 150, progress: Callable[[int, int, str], None] | None = None
) -> dict[str, list[dict[str, object]]]:
    """The whole report for a model folder, ready for JSON."""
    return {"skills": [asdict(skill) for skill in measure(Speaker.load(model_dir), n, progress=progress)]}
