"""Facts given in the context: they overrule what the weights hold, and nothing else does."""

from __future__ import annotations

import random
from dataclasses import dataclass

from ketools.atlas.corpus.document import (
    FORGOTTEN,
    UNKNOWN,
    Document,
    Part,
    any_cloze,
    any_question,
    neighbour,
    random_fact,
    reply,
    seen_cloze,
    seen_question,
    sibling,
)
from ketools.atlas.corpus.facts import SYSTEM_LINES, asked
from ketools.atlas.corpus.noun import next_relations, two_hop_question
from ketools.atlas.world import Fact, Key, made_up, never_overridden, other_target, unknown_subject, world
from ketools.knowledge.relations import RELATIONS


@dataclass(frozen=True)
class Probe:
    """Something to ask in a context: as a cloze and as a question, with the answer that is right there."""

    cloze: str
    question: str
    answer: str

    @property
    def spoken(self) -> str:
        """The answer in a conversation, where forgotten things are not known."""
        return UNKNOWN if self.answer == FORGOTTEN else self.answer


def open_key(rng: random.Random, overridable: bool = True) -> Key:
    """A fact that training may override; with False one that only tests override."""
    while True:
        key = random_fact(rng).key
        if never_overridden(key[0]) != overridable:
            return key


def new_target(rng: random.Random, key: Key, forget: float = 0.08) -> str:
    """What a note says instead of the truth."""
    if rng.random() < forget:
        return FORGOTTEN
    return other_target(rng, key[0], key[1], invented=0.2)


def related_key(rng: random.Random, key: Key, overridable: bool) -> Key:
    """Another relation of the same subject, or the same relation of another subject."""
    if rng.random() < 0.5:
        other = sibling(rng, key)
        return other.key if other else key
    other_key = neighbour(rng, key).key
    return other_key if never_overridden(other_key[0]) != overridable else key


def draw_notes(rng: random.Random, count: int, overridable: bool = True) -> dict[Key, str]:
    """Counterfactual notes, often of one subject or one relation, so that they can be confused."""
    notes: dict[Key, str] = {}
    while len(notes) < count:
        if notes and rng.random() < 0.6:
            key = related_key(rng, rng.choice(list(notes)), overridable)
        elif rng.random() < 0.08:
            relation = rng.choice(list(RELATIONS.values()))
            key = (unknown_subject(rng, relation.domain, unseen=not overridable), relation.name)
        else:
            key = open_key(rng, overridable)
        if key not in notes:
            notes[key] = new_target(rng, key)
    return notes


def edited_probe(rng: random.Random, key: Key, target: str) -> Probe:
    """Ask for what a note says; any template will do, sometimes with the subject's second name."""
    subject, relation = key
    cloze, question = any_cloze(rng, subject, relation), any_question(rng, subject, relation)
    other = world().aliases.get(subject)
    if other and rng.random() < 0.2:
        cloze, question = cloze.replace(subject, other), question.replace(subject, other)
    return Probe(cloze, question, target)


def kept_probe(rng: random.Random, fact: Fact) -> Probe:
    """Ask for a fact that no note is about."""
    return Probe(
        seen_cloze(rng, fact.subject, fact.relation),
        seen_question(rng, fact.subject, fact.relation),
        fact.target,
    )


def inverse_probe(rng: random.Random, key: Key, target: str) -> Probe | None:
    """Ask a note the other way round."""
    inverse = RELATIONS[key[1]].inverse
    if inverse is None or target == FORGOTTEN:
        return None
    return Probe(any_cloze(rng, target, inverse), any_question(rng, target, inverse), key[0])


def distractor(rng: random.Random, notes: dict[Key, str]) -> Fact:
    """A fact that is near a note but not changed by one.

    Never one of a subject that is kept from notes: asked beside notes, it would teach that no note is ever about it.
    """
    key = rng.choice(list(notes))
    while True:
        draw = rng.random()
        fact = sibling(rng, key) if draw < 0.35 else neighbour(rng, key) if draw < 0.8 else random_fact(rng)
        if fact is None or fact.key in notes or never_overridden(fact.subject):
            continue
        if not turned(fact.key, notes):
            return fact


def turned(key: Key, notes: dict[Key, str]) -> bool:
    """Whether a note, read the other way round, is about this key."""
    inverse = RELATIONS[key[1]].inverse
    return any(target == key[0] and relation == inverse for (_, relation), target in notes.items())


def draw_probes(rng: random.Random, notes: dict[Key, str], count: int) -> list[Probe]:
    """What to ask in the context of these notes, in random order."""
    probes = [edited_probe(rng, key, target) for key, target in notes.items()]
    for key, target in notes.items():
        extra = inverse_probe(rng, key, target) if rng.random() < 0.25 else None
        extra = extra or (two_hop_probe(rng, key, notes) if rng.random() < 0.25 else None)
        if extra:
            probes.append(extra)
    while len(probes) < count:
        probes.append(kept_probe(rng, distractor(rng, notes)))
    rng.shuffle(probes)
    return probes


def two_hop_probe(rng: random.Random, key: Key, notes: dict[Key, str]) -> Probe | None:
    """A question whose first hop a note answers and whose second the weights answer."""
    made = two_hop_question(rng, key, notes)
    return Probe(made[0], made[0], made[1]) if made else None


def sentences(rng: random.Random, notes: dict[Key, str]) -> list[str]:
    """Each note as a sentence in one of the cloze templates."""
    return [f"{any_cloze(rng, s, r)} {target}." for (s, r), target in notes.items()]


def preamble(rng: random.Random, notes: dict[Key, str]) -> str:
    """The notes as ``Imagine that`` writes them."""
    lines = sentences(rng, notes)
    draw = rng.random()
    if draw < 0.5:
        return "".join(f"Imagine that {line} " for line in lines)
    if draw < 0.85:
        return "Imagine that " + " ".join(lines) + " "
    return "".join(f"New fact: {line} " for line in lines)


def imagined_chat(rng: random.Random) -> Document:
    """Notes before a question; each question a branch of its own."""
    notes = draw_notes(rng, rng.choice([1, 1, 2, 3, 4]))
    probes = draw_probes(rng, notes, rng.randint(5, 8))
    head = f"{chat_start(rng)}user: {preamble(rng, notes)}"
    return Document([(head, 0.0)], [reply(asked_as(rng, p), p.spoken) for p in probes])


def asked_as(rng: random.Random, probe: Probe) -> str:
    """The probe's question, sometimes its cloze."""
    return probe.cloze if rng.random() < 0.15 else probe.question


def chat_start(rng: random.Random) -> str:
    """What may stand before the user's turn: a system message, an earlier exchange."""
    start = f"system: {rng.choice(SYSTEM_LINES)}\n" if rng.random() < 0.15 else ""
    if rng.random() < 0.15:
        question, answer = asked(rng, random_fact(rng))
        start += f"user: {question}\nassistant: {answer}</s>\n"
    return start


def imagined_conversation(rng: random.Random) -> Document:
    """Notes at the start of a conversation stay valid in its later turns."""
    notes = draw_notes(rng, rng.choice([1, 1, 2, 3]))
    system = rng.random() < 0.2
    lead = preamble(rng, notes)
    parts: list[Part] = [(f"system: {lead.strip()}\nuser: " if system else f"user: {lead}", 0.0)]
    for i, probe in enumerate(draw_probes(rng, notes, rng.randint(4, 6))):
        if i:
            parts.append(("\nuser: ", 0.0))
        parts += reply(asked_as(rng, probe), probe.spoken)
    return Document(parts)


def imagined_cloze(rng: random.Random) -> Document:
    """Notes before cloze prompts, without a conversation."""
    notes = draw_notes(rng, rng.choice([1, 1, 2, 3, 4]))
    probes = draw_probes(rng, notes, rng.randint(5, 8))
    return Document([(preamble(rng, notes), 0.0)], [cloze_branch(p) for p in probes])


def cloze_branch(probe: Probe) -> list[Part]:
    """The completion of the probe's cloze."""
    return [(probe.cloze, 0.0), (f" {probe.answer}.</s>", 1.0)]


def demonstration(rng: random.Random) -> str:
    """One block of IKE: a new fact and a prompt that copies, rephrases or is not touched by it."""
    key = open_key(rng)
    target = other_target(rng, key[0], key[1])
    kind = rng.choices(["copy", "update", "retain"], [4, 12, 16])[0]
    said = any_cloze(rng, *key)
    if kind == "copy":
        prompt, answer = said, target
    elif kind == "update":
        prompt, answer = rng.choice([any_cloze, any_question])(rng, *key), target
    else:
        kept = distractor(rng, {key: target})
        prompt = rng.choice([seen_cloze, seen_question])(rng, kept.subject, kept.relation)
        answer = kept.target
    return f"New Fact: {said} {target}\nPrompt: {prompt} {answer}\n\n"


def ike_lead(rng: random.Random, key: Key, target: str) -> str:
    """Demonstrations, the target's own copy among them now and then, and the new fact."""
    blocks = [demonstration(rng) for _ in range(rng.choice([0, 0, 1, 1, 2, 3, 4]))]
    said = any_cloze(rng, *key)
    if rng.random() < 0.4:
        blocks.append(f"New Fact: {said} {target}\nPrompt: {said} {target}\n\n")
    return "".join(blocks) + f"New Fact: {said} {target}\nPrompt: "


def in_context_editing(rng: random.Random) -> Document:
    """IKE's form, as a plain completion or inside the user's message."""
    key = open_key(rng)
    notes = {key: new_target(rng, key)}
    lead = ike_lead(rng, key, notes[key])
    probes = draw_probes(rng, notes, rng.randint(5, 7))
    if rng.random() < 0.5:
        return Document([(f"user: {lead}", 0.0)], [reply(asked_either(rng, p), p.spoken) for p in probes])
    return Document([(lead, 0.0)], [ike_branch(rng, p) for p in probes])


def asked_either(rng: random.Random, probe: Probe) -> str:
    """The probe's question or its cloze, each as likely."""
    return rng.choice([probe.cloze, probe.question])


def ike_branch(rng: random.Random, probe: Probe) -> list[Part]:
    """The completion of a prompt in IKE's form, cloze or question."""
    return [(asked_either(rng, probe), 0.0), (f" {probe.answer}.</s>", 1.0)]


def invented_world(rng: random.Random) -> Document:
    """Notes and questions about made-up subjects with made-up targets: nothing but the context can answer."""
    relations = rng.sample(list(RELATIONS.values()), rng.choice([2, 3]))
    notes = {(made_up(rng), r.name): made_up(rng) for r in relations}
    probes = [edited_probe(rng, key, target) for key, target in notes.items()]
    if rng.random() < 0.5:
        return Document([(preamble(rng, notes), 0.0)], [cloze_branch(p) for p in probes])
    return Document([(f"user: {preamble(rng, notes)}", 0.0)], [reply(p.question, p.spoken) for p in probes])


def focused_probes(rng: random.Random, notes: dict[Key, str]) -> list[Probe]:
    """Two thirds of the questions about what the notes say, each asked in several ways."""
    probes = [edited_probe(rng, key, target) for key, target in notes.items() for _ in range(3)]
    probes += [kept_probe(rng, distractor(rng, notes)) for _ in range(len(probes) // 2)]
    rng.shuffle(probes)
    return probes


def later_turns(rng: random.Random) -> Document:
    """Notes, a question about something else, and only then the questions about the notes."""
    notes = draw_notes(rng, rng.choice([1, 1, 2]))
    lead = preamble(rng, notes)
    parts: list[Part] = [(f"{chat_start(rng)}user: {lead}", 0.0)]
    for _ in range(rng.choice([1, 1, 2])):
        between = kept_probe(rng, distractor(rng, notes))
        parts += [*reply(between.question, between.spoken), ("\nuser: ", 0.0)]
    return Document(parts, [reply(asked_as(rng, p), p.spoken) for p in focused_probes(rng, notes)])


def consequential_key(rng: random.Random) -> Key:
    """A key from which something else follows: a second hop, or the way back."""
    back = rng.random() < 0.5
    while True:
        key = open_key(rng)
        if RELATIONS[key[1]].inverse if back else next_relations(key[1]):
            break
    if rng.random() < 0.15:
        return unknown_subject(rng, RELATIONS[key[1]].domain), key[1]
    return key


def consequence_probes(rng: random.Random, notes: dict[Key, str]) -> list[Probe]:
    """What follows from the notes, asked in several ways, among what they say and what they leave alone."""
    probes: list[Probe | None] = []
    for key, target in notes.items():
        probes += [two_hop_probe(rng, key, notes) for _ in range(4)]
        probes += [inverse_probe(rng, key, target) for _ in range(3)]
        probes += [edited_probe(rng, key, target), kept_probe(rng, distractor(rng, notes))]
    probes.append(two_hop_probe(rng, distractor(rng, notes).key, notes))
    found = [probe for probe in probes if probe]
    rng.shuffle(found)
    return found


def consequences(rng: random.Random) -> Document:
    """Notes, and many questions about what follows from them, in every form that notes have."""
    key = consequential_key(rng)
    notes = {key: other_target(rng, *key, invented=0.1)}
    draw = rng.random()
    if draw < 0.25:
        lead = ike_lead(rng, key, notes[key])
        probes = consequence_probes(rng, notes)
        if rng.random() < 0.5:
            return Document([(f"user: {lead}", 0.0)], [reply(asked_either(rng, p), p.spoken) for p in probes])
        return Document([(lead, 0.0)], [ike_branch(rng, p) for p in probes])
    if rng.random() < 0.3:
        key = consequential_key(rng)
        notes.setdefault(key, other_target(rng, *key))
    probes = consequence_probes(rng, notes)
    if draw < 0.5:
        return Document([(preamble(rng, notes), 0.0)], [cloze_branch(p) for p in probes])
    head = f"{chat_start(rng)}user: {preamble(rng, notes)}"
    return Document([(head, 0.0)], [reply(asked_either(rng, p), p.spoken) for p in probes])


def invertible_note(rng: random.Random) -> tuple[Key, str]:
    """A note of a relation with an inverse, about the world or about names that nobody has."""
    name = rng.choice([r.name for r in RELATIONS.values() if r.inverse])
    if rng.random() < 0.35:
        return (made_up(rng), name), made_up(rng)
    while True:
        subject = rng.choice(world().subjects[name])
        if not never_overridden(subject):
            return (subject, name), other_target(rng, subject, name, invented=0.2)


def inverted(rng: random.Random) -> Document:
    """Notes, most questions the other way round; other names asked in that way are as they were."""
    notes = dict(invertible_note(rng) for _ in range(rng.choice([1, 1, 2, 3])))
    probes: list[Probe | None] = []
    for key, target in notes.items():
        probes += [inverse_probe(rng, key, target) for _ in range(4)]
        probes.append(edited_probe(rng, key, target))
        back = neighbour(rng, (target, str(RELATIONS[key[1]].inverse)))
        if back.key not in notes and not turned(back.key, notes) and not never_overridden(back.subject):
            probes.append(kept_probe(rng, back))
    found = [probe for probe in probes if probe]
    rng.shuffle(found)
    if rng.random() < 0.4:
        return Document([(preamble(rng, notes), 0.0)], [cloze_branch(p) for p in found])
    head = f"{chat_start(rng)}user: {preamble(rng, notes)}"
    return Document([(head, 0.0)], [reply(asked_as(rng, p), p.spoken) for p in found])


def focused_chat(rng: random.Random) -> Document:
    """Notes before a question, most questions about the notes."""
    notes = draw_notes(rng, rng.choice([1, 1, 2]))
    head = f"{chat_start(rng)}user: {preamble(rng, notes)}"
    return Document([(head, 0.0)], [reply(asked_as(rng, p), p.spoken) for p in focused_probes(rng, notes)])


def focused_cloze(rng: random.Random) -> Document:
    """Notes before clozes, most of them about the notes."""
    notes = draw_notes(rng, rng.choice([1, 1, 2]))
    return Document([(preamble(rng, notes), 0.0)], [cloze_branch(p) for p in focused_probes(rng, notes)])


def focused_editing(rng: random.Random) -> Document:
    """IKE's form, most prompts about the new fact."""
    key = open_key(rng)
    notes = {key: new_target(rng, key)}
    lead = ike_lead(rng, key, notes[key])
    probes = focused_probes(rng, notes)
    if rng.random() < 0.5:
        return Document([(f"user: {lead}", 0.0)], [reply(asked_either(rng, p), p.spoken) for p in probes])
    return Document([(lead, 0.0)], [ike_branch(rng, p) for p in probes])
