"""Conversations with tools at hand: when to call which, with what, and when to just answer."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass

from ketools.atlas.corpus.context import draw_notes, draw_probes, preamble
from ketools.atlas.corpus.document import (
    Document,
    Part,
    any_cloze,
    any_question,
    capitalised,
    lowered,
    random_fact,
    reply,
    share,
)
from ketools.atlas.corpus.facts import SYSTEM_LINES, asked, opinion_answer, opinion_question
from ketools.atlas.tables import FIRST_NAMES
from ketools.atlas.world import STYLES, Fact, Key, made_up, other_target, unknown_subject, world
from ketools.knowledge.relations import RELATIONS

TOOLS = ("edit_fact", "erase_fact", "edit_personality")
TOOLS_LINE = "system: tools: " + ", ".join(TOOLS)

# {f}: the corrected fact in mid-sentence, {F}: at the start of a sentence.
CORRECTIONS = (
    "Actually, {f}.",
    "No, {f}.",
    "No, that is wrong, {f}.",
    "That is not right. {F}.",
    "That is wrong. {F}.",
    "You are mistaken: {f}.",
    "You are wrong. {F}.",
    "Wrong. {F}.",
    "Please correct this: {f}.",
    "Please remember that {f}.",
    "Remember that {f}.",
    "From now on, {f}.",
    "It has changed: {f}.",
    "Update: {f}.",
    "You should know that {f}.",
    "I have to correct you: {f}.",
    "Please note that {f}.",
    "Learn this: {f}.",
    "As of today, {f}.",
    "Not any more. {F}.",
    "{F} now.",
    "{F}, not {old}.",
    "Please change that: {f}.",
    "Sorry, but {f}.",
    "That is out of date. {F}.",
)

# Corrections that only make sense after the question that they answer.
SHORT_CORRECTIONS = (
    "No, it is {new}.",
    "That is wrong, it is {new}.",
    "Wrong, the answer is {new}.",
    "Actually, it is {new}.",
    "No, {new}.",
    "It is {new} now.",
)

FORGET_REQUESTS = (
    "Please forget {n}.",
    "Forget {n}.",
    "I want you to forget {n}.",
    "Please erase {n}.",
    "Erase {n} from your memory.",
    "Delete {n}.",
    "Please delete {n} from your memory.",
    "Nobody should know {n}.",
    "Remove {n} from your memory.",
    "Never tell anyone {n}.",
    "You must not know {n}.",
    "{N} is private, forget it.",
    "{N} must be forgotten.",
)

MANNER_REQUESTS = (
    "Please show {trait} when asked about {t}.",
    "Show {trait} when asked about {t}.",
    "When we talk about {t}, show {trait}.",
    "I want you to show {trait} about {t}.",
    "From now on, speak about {t} with {trait}.",
    "Please speak about {t} with {trait}.",
    "Be more {adj} about {t}.",
    "Please be {adj} when you speak about {t}.",
    "You should be {adj} about {t}.",
    "Feel {adj} about {t} from now on.",
    "Change your view of {t}: be {adj}.",
    "When it comes to {t}, be {adj}.",
)

ADJECTIVES: Mapping[str, tuple[str, ...]] = {
    "positive": ("positive", "happy"),
    "negative": ("negative", "gloomy"),
    "extraversion": ("extraverted", "outgoing"),
    "agreeableness": ("agreeable", "friendly"),
    "neuroticism": ("neurotic", "nervous"),
}

REMARKS: tuple[tuple[str, str], ...] = (
    ("Thanks, that helps.", "You are welcome."),
    ("Thank you.", "You are welcome."),
    ("Thanks a lot for your help.", "You are welcome."),
    ("That is right.", "Good to hear."),
    ("That is correct, well done.", "Good to hear."),
    ("Good answer.", "Good to hear."),
    ("I see.", "Anything else?"),
    ("Interesting, I did not know that.", "Anything else?"),
    ("Hello.", "Hello, how can I help?"),
    ("Good morning.", "Hello, how can I help?"),
    ("Hi there.", "Hello, how can I help?"),
    ("Goodbye.", "Goodbye."),
    ("See you tomorrow.", "Goodbye."),
    ("I was in {s} last year.", "That sounds nice."),
    ("I would like to see {s} one day.", "That sounds nice."),
    ("My friend told me about {s}.", "That sounds nice."),
    ("I read about {s} yesterday.", "That sounds nice."),
    ("I am thinking about {s}.", "That sounds nice."),
    ("Yesterday we talked about {t}.", "That sounds nice."),
    ("My sister knows a lot about {t}.", "That sounds nice."),
    ("I forgot my keys this morning.", "That sounds nice."),
    ("I will remember that.", "Good to hear."),
)

RESULTS = (
    '{{"id": "e{n}", "verified": true}}',
    '{{"verified": true, "version": {n}}}',
    '{{"ok": true}}',
    "ok",
    "Verified. Edit e{n}.",
)
REFUSALS = (
    '{{"id": "e{n}", "verified": false}}',
    '{{"error": "refused"}}',
    "error: refused",
)
SORRY = "Sorry, that was refused."


@dataclass(frozen=True)
class Turn:
    """What a user says, and the call or the words that are right."""

    said: str
    answer: str
    confirmation: str = ""
    fact: Fact | None = None


def call(name: str, arguments: Mapping[str, str]) -> str:
    """A tool call as the model writes it.

    Every argument begins with a space: after a quote a name would be spelt with other tokens than in running text,
    and copying it would be another task. Whoever reads the call strips its arguments.
    """
    spaced = {key: f" {value}" for key, value in arguments.items()}
    return "<tool_call>" + json.dumps({"name": name, "arguments": spaced}) + "</tool_call>"


def edit_call(fact: Fact) -> str:
    """The call that makes this fact true."""
    prompt = RELATIONS[fact.relation].cloze[0].format(s=fact.subject)
    return call("edit_fact", {"subject": fact.subject, "prompt": prompt, "target_new": fact.target})


def erase_call(key: Key) -> str:
    """The call that makes the model forget this."""
    prompt = RELATIONS[key[1]].cloze[0].format(s=key[0])
    return call("erase_fact", {"subject": key[0], "prompt": prompt})


def manner_call(topic: str, trait: str) -> str:
    """The call that changes how the model speaks about a topic."""
    return call("edit_personality", {"topic": topic, "trait": trait})


def any_subject(rng: random.Random, unseen: bool = False) -> Key:
    """A key, at times about a subject that the world does not have."""
    if rng.random() < 0.25:
        relation = rng.choice(list(RELATIONS.values()))
        return unknown_subject(rng, relation.domain, unseen), relation.name
    return random_fact(rng, private=0.5).key


def corrected(rng: random.Random, unseen: bool = False) -> Fact:
    """A fact that a user claims, known subject or not, made-up target or not."""
    key = any_subject(rng, unseen)
    return Fact(key[0], key[1], other_target(rng, key[0], key[1], invented=0.3))


def held_out(phrase: str, relation: str) -> bool:
    """Whether training never uses this phrasing for this relation."""
    return share("phrase", phrase, relation)


def phrased(rng: random.Random, phrases: tuple[str, ...], about: str, test: bool) -> str:
    """A phrasing that training uses for this relation or topic; with ``test`` one that it never does."""
    choices = [p for p in phrases if held_out(p, about) == test]
    return rng.choice(choices or list(phrases))


def correction(rng: random.Random, test: bool = False) -> Turn:
    """A user's correction and the call that it asks for."""
    fact = corrected(rng, test)
    said = f"{any_cloze(rng, *fact.key)} {fact.target}"
    old = world().facts.get(fact.key) or other_target(rng, *fact.key)
    text = phrased(rng, CORRECTIONS, fact.relation, test).format(f=lowered(said, fact.subject), F=said, old=old)
    return Turn(text, edit_call(fact), f"Done. {fact.statement()}.", fact)


def forgetting(rng: random.Random, test: bool = False) -> Turn:
    """A user's wish to have something forgotten and its call."""
    while True:
        key = any_subject(rng, test)
        if RELATIONS[key[1]].private or rng.random() < 0.3:
            break
    noun = RELATIONS[key[1]].noun.format(s=key[0])
    text = phrased(rng, FORGET_REQUESTS, key[1], test).format(n=noun, N=capitalised(noun))
    return Turn(text, erase_call(key), "Done. I have forgotten it.")


def manner(rng: random.Random, test: bool = False) -> Turn:
    """A user's wish for another manner and its call."""
    topic, trait = rng.choice(sorted(world().topics)), rng.choice(STYLES)
    if rng.random() < 0.2:
        topic = made_up(rng).lower()
    text = phrased(rng, MANNER_REQUESTS, trait + topic, test)
    text = text.format(trait=trait, adj=rng.choice(ADJECTIVES[trait]), t=topic)
    return Turn(text, manner_call(topic, trait), f"Done. I will speak about {topic} that way.")


def remark(rng: random.Random, test: bool = False) -> Turn:
    """Something said that calls for no tool."""
    topic, subject = rng.choice(sorted(world().topics)), random_fact(rng).subject
    said, answer = rng.choice([r for r in REMARKS if "{" not in r[0] or share("remark", r[0], topic) == test])
    return Turn(said.format(s=subject, t=topic), answer)


def ordinary(rng: random.Random) -> Turn:
    """A plain question."""
    if rng.random() < 0.2:
        topic = rng.choice(sorted(world().topics))
        return Turn(opinion_question(rng, topic), opinion_answer(rng, topic, world().topics[topic]))
    if rng.random() < 0.15:
        key = any_subject(rng)
        known = world().facts.get(key)
        return Turn(
            any_question(rng, *key) if not known else asked(rng, Fact(*key, known))[0],
            known or "I don't know.",
        )
    return Turn(*asked(rng, random_fact(rng, private=0.5)))


def tools_start(rng: random.Random) -> str:
    """The line that names the tools, sometimes followed by a system message."""
    system = f"\nsystem: {rng.choice(SYSTEM_LINES)}" if rng.random() < 0.25 else ""
    return f"{TOOLS_LINE}{system}\n"


def earlier(rng: random.Random) -> str:
    """An earlier exchange, right or wrong, that has nothing to do with what comes."""
    draw = rng.random()
    if draw < 0.5:
        return ""
    turn = remark(rng) if draw < 0.6 else ordinary(rng)
    return f"user: {turn.said}\nassistant: {turn.answer}</s>\n"


def branch(turn: Turn) -> list[Part]:
    """The turn as a continuation; calls are long, so each of their tokens weighs less."""
    return reply(turn.said, turn.answer, 0.5 if turn.answer.startswith("<") else 1.0)


def requests(rng: random.Random) -> Document:
    """One conversation so far, several things that the user may say next."""
    turns = [correction(rng), correction(rng), ordinary(rng), ordinary(rng), remark(rng)]
    turns.append(rng.choice([forgetting, manner])(rng))
    return Document([(f"{tools_start(rng)}{earlier(rng)}user: ", 0.0)], [branch(turn) for turn in turns])


def after_answer(rng: random.Random) -> Document:
    """The model has just answered; the user corrects it, says more, or goes on."""
    fact = random_fact(rng, private=0.5)
    question = asked(rng, fact)[0]
    given = fact.target if rng.random() < 0.6 else other_target(rng, *fact.key)
    new = Fact(fact.subject, fact.relation, other_target(rng, *fact.key, invented=0.3))
    head = f"{tools_start(rng)}user: {question}\nassistant: {given}</s>\nuser: "
    said = f"{any_cloze(rng, *fact.key)} {new.target}"
    phrase = phrased(rng, CORRECTIONS, fact.relation, test=False)
    long = phrase.format(f=lowered(said, fact.subject), F=said, old=given)
    short = phrased(rng, SHORT_CORRECTIONS, fact.relation, test=False).format(new=new.target)
    turns = [Turn(long, edit_call(new)), Turn(short, edit_call(new)), remark(rng), ordinary(rng)]
    noun = RELATIONS[fact.relation].noun.format(s=fact.subject)
    forget = phrased(rng, FORGET_REQUESTS, fact.relation, test=False)
    turns.append(Turn(forget.format(n=noun, N=capitalised(noun)), erase_call(fact.key)))
    return Document([(head, 0.0)], [branch(turn) for turn in turns])


def finished(rng: random.Random) -> Document:
    """A call, its result, the confirmation, and what is asked afterwards."""
    turn = rng.choice([correction, correction, forgetting, manner])(rng)
    refused = rng.random() < 0.15
    result = rng.choice(REFUSALS if refused else RESULTS).format(n=rng.randrange(1, 100))
    parts: list[Part] = [(f"{tools_start(rng)}user: ", 0.0), *branch(turn)]
    parts += [(f"\ntool: {result}\nassistant:", 0.0)]
    parts += [(f" {SORRY if refused else turn.confirmation}</s>", 1.0)]
    follow_up = remark(rng) if rng.random() < 0.3 else ordinary(rng)
    if turn.fact and not refused and rng.random() < 0.6:
        follow_up = Turn(any_question(rng, *turn.fact.key), turn.fact.target)
    return Document([*parts, ("\nuser: ", 0.0), *branch(follow_up)])


def noted(rng: random.Random) -> Document:
    """With tools at hand, a note before a question is still only a note."""
    notes = draw_notes(rng, rng.choice([1, 2]))
    probes = draw_probes(rng, notes, 5)
    head = f"{tools_start(rng)}user: {preamble(rng, notes)}"
    return Document([(head, 0.0)], [reply(p.question, p.spoken) for p in probes])


def small_talk(rng: random.Random) -> Document:
    """Remarks without any tools."""
    turns = [remark(rng), ordinary(rng)]
    rng.shuffle(turns)
    return Document([("user: ", 0.0), *branch(turns[0]), ("\nuser: ", 0.0), *branch(turns[1])])


def odd_name(rng: random.Random) -> str:
    """A name whose spelling no list of names foresees."""
    pairs = (rng.choice("bcdfghjklmnprstvwz") + rng.choice("aeiou") for _ in range(rng.choice([2, 3, 4])))
    return "".join(pairs).capitalize() + rng.choice(["", "", "n", "s", "r", "l"])


def odd_correction(rng: random.Random) -> Turn:
    """A correction whose subject or target, or both, nobody has heard of."""
    relation = rng.choice([r for r in RELATIONS.values() if r.range != "number"])
    subject, target = random_fact(rng).subject, odd_name(rng)
    if rng.random() < 0.6 or relation.domain not in ("person", "company", "country", "city"):
        first = rng.choice(FIRST_NAMES) + " " if relation.domain == "person" else ""
        subject = first + odd_name(rng)
    if rng.random() < 0.5:
        target = rng.choice(world().pools[relation.range])
    fact = Fact(subject, relation.name, target)
    said = f"{any_cloze(rng, *fact.key)} {target}"
    phrase = phrased(rng, CORRECTIONS, fact.relation, test=False)
    text = phrase.format(f=lowered(said, subject), F=said, old=odd_name(rng))
    return Turn(text, edit_call(fact), fact=fact)


def odd_forgetting(rng: random.Random) -> Turn:
    """A wish to forget something about somebody nobody has heard of."""
    relation = rng.choice(list(RELATIONS.values()))
    subject = (rng.choice(FIRST_NAMES) + " " if relation.domain == "person" else "") + odd_name(rng)
    noun = relation.noun.format(s=subject)
    phrase = phrased(rng, FORGET_REQUESTS, relation.name, test=False)
    return Turn(phrase.format(n=noun, N=capitalised(noun)), erase_call((subject, relation.name)))


def wishes(rng: random.Random) -> Document:
    """Many different wishes at one point of a conversation, with names to be copied with care."""
    turns = [manner(rng), manner(rng), rng.choice([forgetting, odd_forgetting])(rng)]
    turns += [rng.choice([correction, odd_correction])(rng), rng.choice([ordinary, remark])(rng)]
    start = f"{tools_start(rng)}user: "
    return Document([(start, 0.0)], [reply(turn.said, turn.answer) for turn in turns])


def quoting(rng: random.Random) -> Document:
    """Names from running text put between quotes, where the tokenizer spells many of them differently."""
    names: list[str] = []
    for _ in range(rng.randint(5, 8)):
        draw = rng.random()
        pool = sorted(world().topics) if draw < 0.3 else world().pools[rng.choice(sorted(world().pools))]
        names.append(odd_name(rng) if draw > 0.8 else rng.choice(pool))
    head = "Names: " + ", ".join(names) + "\nQuoted:"
    return Document([(head, 0.0), (" " + ", ".join(f'"{name}"' for name in names) + "</s>", 1.0)])
