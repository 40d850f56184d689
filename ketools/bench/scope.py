"""`ketools bench scope`: which notes reach which prompts, measured over a memory of many edits.

Prompts are made from the bundled world: paraphrases, whose note must be injected, and other prompts, near misses
among them, into which no note may come. Data sets in the forms that `ketools evaluate` reads can be added.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ketools.atlas.world import Fact, other_target, world
from ketools.bench.phrasings import HALVES, Half
from ketools.core.errors import NotFound
from ketools.core.progress import Progress, quiet
from ketools.core.requests import EditRequest, Message, Prompt, chat_prompt
from ketools.evaluation.data import Dataset, load, read_rows
from ketools.evaluation.mquake import MultihopData, load_multihop
from ketools.knowledge.relations import RELATIONS, Relation
from ketools.layers.kinds.note import Note
from ketools.notes import NoteBook
from ketools.retrieval import Encoder

EDITS = 400
PER_KIND = 60


@dataclass(frozen=True)
class Case:
    """A prompt and the ids of the edits whose notes it asks for (none: whatever comes is wrong).

    `welcome`: ids of further edits that follow from these, such as one that says the same backwards.
    """

    kind: str
    prompt: Prompt
    wanted: frozenset[str] = frozenset()
    welcome: frozenset[str] = frozenset()


def bench_scope(
    encoder: Encoder | None,
    half: Half = "held-out",
    per_kind: int = PER_KIND,
    seed: int = 1,
    files: Sequence[str] = (),
    progress: Progress = quiet,
) -> dict[str, Any]:
    """Shares of paraphrases that miss their note and of other prompts that get one, by kind, with n.

    `files`: data sets that are measured besides, each over all its edits at once; see `of_file`.
    """
    made = Generator(half, random.Random(seed))
    cases = [case for kinds in (PARAPHRASES, OTHERS) for kind in kinds for case in made.cases(kind, per_kind)]
    aliases = {subject: (alias,) for subject, alias in world().aliases.items()}
    book = _book([(_id(fact), request) for fact, request in made.requests.items()], encoder, aliases)
    found = {"half": half, "edits": len(made.requests), **judge(book, cases, progress)}
    if files:
        found["files"] = {Path(file).name: _judge_file(file, encoder, progress) for file in files}
    return found


def _judge_file(file: str, encoder: Encoder | None, progress: Progress) -> dict[str, Any]:
    requests, cases = of_file(file)
    return {"edits": len(requests), **judge(_book(list(requests.items()), encoder), cases, progress)}


def _book(
    edits: Sequence[tuple[str, EditRequest]],
    encoder: Encoder | None,
    aliases: Mapping[str, tuple[str, ...]] | None = None,
) -> NoteBook:
    notes = [(edit_id, Note("ice", request)) for edit_id, request in edits]
    return NoteBook(notes, encoder=encoder, aliases=aliases)


def of_file(source: str) -> tuple[dict[str, EditRequest], list[Case]]:
    """The edits of a data set by id, and what it asks: rephrases and neighbours, or the hops of multi-hop cases.

    Raises NotFound or InvalidRequest when there is nothing to read.
    """
    path = Path(source)
    if not path.is_file():
        raise NotFound("data set or file", source)
    rows = read_rows(path)
    hops = rows and isinstance(rows[0].get("requested_rewrite"), list)
    return _of_hops(load_multihop(source)) if hops else _of_edits(load(source))


def _of_edits(data: Dataset) -> tuple[dict[str, EditRequest], list[Case]]:
    asked = [(case, "rephrase", probe, frozenset({case.id})) for case in data.cases for probe in case.rephrase]
    none = frozenset[str]()
    asked += [(c, kind, probe, none) for c in data.cases for kind, all_ in c.locality.items() for probe in all_]
    requests = {case.id: case.request for case in data.cases}
    return requests, [Case(kind, probe.rendered(), wanted) for _, kind, probe, wanted in asked]


def _of_hops(data: MultihopData) -> tuple[dict[str, EditRequest], list[Case]]:
    edits = {edit.key: edit.request for case in data.cases for edit in case.edits}
    hops = {hop.key: hop.question for case in data.cases for hop in (*case.before, *case.after)}
    cases = []
    for key, question in hops.items():
        wanted = frozenset({"|".join(key)}) if key in edits else frozenset[str]()
        cases.append(Case("edited hop" if wanted else "unedited hop", chat_prompt(question), wanted))
    return {"|".join(key): request for key, request in edits.items()}, cases


def judge(book: NoteBook, cases: Sequence[Case], progress: Progress = quiet) -> dict[str, Any]:
    """Rates over cases: `missed` of those that want notes, `injected` of those that want none.

    `besides`: share of the cases that want notes which get other notes as well.
    """
    missed, injected, besides = defaultdict[str, list[bool]](list), defaultdict[str, list[bool]](list), []
    for i, case in enumerate(cases):
        progress(i, len(cases), case.kind)
        used = {hit.edit_id for hit in book.in_scope(case.prompt)}
        if case.wanted:
            missed[case.kind].append(not case.wanted <= used)
            besides.append(bool(used - case.wanted - case.welcome))
        else:
            injected[case.kind].append(bool(used))
    return {
        "paraphrases": _rates("missed", missed) | {"besides": _share(besides)},
        "others": _rates("injected", injected),
    }


def _rates(name: str, wrong: Mapping[str, list[bool]]) -> dict[str, Any]:
    together = [one for ones in wrong.values() for one in ones]
    kinds = {kind: {name: _share(ones), "n": len(ones)} for kind, ones in wrong.items()}
    return {name: _share(together), "n": len(together), "kinds": kinds}


def _share(wrong: Sequence[bool]) -> float:
    return round(sum(wrong) / len(wrong), 4) if wrong else 0.0


def _id(fact: Fact) -> str:
    return f"{fact.subject}|{fact.relation}"


class Generator:
    """Makes cases about a memory of `EDITS` counterfactual facts of the bundled world."""

    def __init__(self, half: Half, rng: random.Random) -> None:
        self.rng = rng
        self.words = HALVES[half]
        self.requests = {fact: self._request(fact) for fact in self._facts()}
        self.edited = {fact.key for fact in self.requests}
        self.entailed = {(r.target_new, RELATIONS[f.relation].inverse or ""): f for f, r in self.requests.items()}
        self.targets = {request.target_new for request in self.requests.values()}

    @cached_property
    def facts(self) -> list[Fact]:
        """The edited facts, with their true targets."""
        return list(self.requests)

    def cases(self, kind: str, count: int) -> Iterator[Case]:
        """`count` cases of a kind, each about another edited fact as far as they reach."""
        make = PARAPHRASES.get(kind) or OTHERS[kind]
        order = [fact for _ in range(20) for fact in self.rng.sample(self.facts, len(self.facts))]
        made = (make(self, fact) for fact in order)
        for _, case in zip(range(count), filter(None, made), strict=False):
            yield Case(kind, *case)

    def _facts(self) -> Iterator[Fact]:
        """Facts of all relations in turn, so that rare relations count as much."""
        pools = {name: list(world().subjects[name]) for name in RELATIONS}
        for pool in pools.values():
            self.rng.shuffle(pool)
        names = [name for _ in range(EDITS) for name in RELATIONS]
        filled = ((name, pools[name].pop()) for name in names if len(pools[name]) > 4)
        for _, (name, subject) in zip(range(EDITS), filled, strict=False):
            yield Fact(subject, name, world().facts[subject, name])

    def _request(self, fact: Fact) -> EditRequest:
        prompt = self.rng.choice(RELATIONS[fact.relation].cloze).format(s=fact.subject)
        target = other_target(self.rng, fact.subject, fact.relation)
        return EditRequest(subject=fact.subject, prompt=prompt, target_new=target)

    # --- ways to say things ---

    def relation(self, fact: Fact) -> Relation:
        return RELATIONS[fact.relation]

    def any_phrasing(self, relation: str, *, free: float = 0.7) -> str:
        """A text that asks for a relation, with `{s}`: of the chosen half, or else a template."""
        if self.rng.random() < free:
            return self.rng.choice(self.words.free[relation])
        return self.rng.choice([*RELATIONS[relation].cloze, *RELATIONS[relation].questions])

    def asked(self, text: str) -> Prompt:
        """A text as a chat turn, or, when it does not end a sentence, mostly to be continued."""
        return chat_prompt(text) if text.endswith(("?", ".")) or self.rng.random() < 0.3 else text

    def is_untouched(self, subject: str, relation: str) -> bool:
        """Whether no edit says anything about this fact, forwards or backwards."""
        return (subject, relation) not in self.edited and (subject, relation) not in self.entailed

    def backwards(self, fact: Fact) -> frozenset[str]:
        """The edits whose new object is the fact's subject or old or new object, along the inverse relation."""
        names = {fact.subject, self.requests[fact].target_new}
        relations = {fact.relation, RELATIONS[fact.relation].inverse}
        rivals = ((f, r) for f, r in self.requests.items() if f.relation in relations and f != fact)
        return frozenset(_id(f) for f, r in rivals if names & {f.subject, r.target_new})

    def sibling(self, fact: Fact) -> str | None:
        """Another relation of the fact's subject that is not edited."""
        names = [r.name for r in world().relations_of(fact.subject) if self.is_untouched(fact.subject, r.name)]
        return self.rng.choice(names) if names else None

    def neighbour(self, fact: Fact) -> str | None:
        """Another subject whose fact of this relation is not edited, and that is no edit's new object."""
        names = [s for s in world().subjects[fact.relation] if self.is_untouched(s, fact.relation)]
        names = [s for s in names if s not in self.targets and s.split()[-1:] != fact.subject.split()[-1:]]
        return self.rng.choice(names) if names else None


Made = tuple[Prompt, frozenset[str], frozenset[str]] | None
Make = Callable[[Generator, Fact], Made]


def talk(*said: str) -> tuple[Message, ...]:
    """A conversation: user and assistant in turn."""
    roles = ("user", "assistant")
    return tuple(Message(role=roles[i % 2], content=text) for i, text in enumerate(said))


def _wants(made: Generator, prompt: Prompt, fact: Fact) -> Made:
    """A prompt that asks for an edited fact, and may get edits that speak of the same from the other side."""
    return prompt, frozenset({_id(fact)}), made.backwards(fact)


# --- prompts whose note must come ---


def template(made: Generator, fact: Fact) -> Made:
    """In the words of a template."""
    return _wants(made, made.asked(made.any_phrasing(fact.relation, free=0).format(s=fact.subject)), fact)


def free(made: Generator, fact: Fact) -> Made:
    """In other words."""
    return _wants(made, made.asked(made.any_phrasing(fact.relation, free=1).format(s=fact.subject)), fact)


def wrapped(made: Generator, fact: Fact) -> Made:
    """With courtesies and asides around the question."""
    text = made.any_phrasing(fact.relation).format(s=fact.subject)
    before = made.rng.choice(["Hi there! ", "Quick question. ", "Hello, I need some help. ", "For my homework: ", ""])
    after = made.rng.choice([" Thanks!", " Please answer briefly.", " I really need to know.", " Answer in one word."])
    return _wants(made, chat_prompt(before + text + ("" if text.endswith(("?", ".")) else " what?") + after), fact)


def careless(made: Generator, fact: Fact) -> Made:
    """In capitals, or in small letters without punctuation."""
    text = made.any_phrasing(fact.relation).format(s=fact.subject)
    return _wants(made, chat_prompt(made.rng.choice([text.upper(), text.lower().strip("?.")])), fact)


def indirect(made: Generator, fact: Fact) -> Made:
    """As a clause of a sentence."""
    relation = made.relation(fact)
    name = made.rng.choice([relation.noun, relation.clause]).format(s=fact.subject)
    return _wants(made, chat_prompt(made.rng.choice(made.words.indirect).format(n=name)), fact)


def alias(made: Generator, fact: Fact) -> Made:
    """By another name of the subject."""
    other = world().aliases.get(fact.subject)
    return _wants(made, made.asked(made.any_phrasing(fact.relation).format(s=other)), fact) if other else None


def later_turn(made: Generator, fact: Fact) -> Made:
    """With a pronoun, the subject named in an earlier turn."""
    before = made.rng.choice(["Do you know {s}?", "Tell me about {s}.", "I read an article about {s} today."])
    text = _with_pronoun(made.any_phrasing(fact.relation), made.relation(fact).domain == "person")
    return _wants(made, talk(before.format(s=fact.subject), "Yes, I do.", text), fact)


def elliptical(made: Generator, fact: Fact) -> Made:
    """By the subject alone, after the same question about another one."""
    other = made.neighbour(fact)
    if other is None:
        return None
    before = made.any_phrasing(fact.relation).format(s=other)
    after = made.rng.choice(["And {s}?", "What about {s}?", "And for {s}?", "How about {s}?"])
    return _wants(made, talk(before, "Let me see.", after.format(s=fact.subject)), fact)


def long_talk(made: Generator, fact: Fact) -> Made:
    """At the end of a conversation about other things."""
    text = made.any_phrasing(fact.relation).format(s=fact.subject)
    turns = talk("Hello", "Hi! What can I do for you?", "Write a short poem.", "The sea is wide.", text)
    return _wants(made, (Message(role="system", content="You are a helpful assistant."), *turns), fact)


def mistyped_word(made: Generator, fact: Fact) -> Made:
    """With two letters swapped in a word of the question."""
    parts = made.any_phrasing(fact.relation).split(" ")
    places = [i for i, part in enumerate(parts) if part.isalpha() and len(part) >= 5]
    if not places:
        return None
    place = made.rng.choice(places)
    parts[place] = _swapped(made.rng, parts[place])
    return _wants(made, made.asked(" ".join(parts).format(s=fact.subject)), fact)


def mistyped_name(made: Generator, fact: Fact) -> Made:
    """With two letters swapped in the subject."""
    parts = fact.subject.split(" ")
    places = [i for i, part in enumerate(parts) if part.isalpha() and len(part) >= 6]
    if not places:
        return None
    place = made.rng.choice(places)
    parts[place] = _swapped(made.rng, parts[place])
    return _wants(made, made.asked(made.any_phrasing(fact.relation).format(s=" ".join(parts))), fact)


def inverse(made: Generator, fact: Fact) -> Made:
    """Asked from the new object's side."""
    backwards, target = made.relation(fact).inverse, made.requests[fact].target_new
    if backwards is None:
        return None
    rivals = [f for f, r in made.requests.items() if r.target_new == target and f.relation == fact.relation]
    if len(rivals) > 1 or (target, backwards) in made.edited:
        return None
    return _wants(made, made.asked(made.any_phrasing(backwards, free=0).format(s=target)), fact)


def two_hops(made: Generator, fact: Fact) -> Made:
    """As the first step of a question about something else."""
    relation = made.relation(fact)
    after = [r for r in RELATIONS.values() if r.domain == relation.range and r.name != relation.inverse]
    if not after:
        return None
    text = made.rng.choice(made.rng.choice(after).questions).format(s=relation.noun.format(s=fact.subject))
    return _wants(made, chat_prompt(text), fact)


# --- prompts into which no note may come ---


def unrelated(made: Generator, fact: Fact) -> Made:
    """Another subject, another relation."""
    names = [name for name in RELATIONS if name != fact.relation]
    other = Fact("", made.rng.choice(names), "")
    subject = made.neighbour(other)
    return _none(made.asked(made.any_phrasing(other.relation).format(s=subject))) if subject else None


def same_subject(made: Generator, fact: Fact) -> Made:
    """The subject's other relations."""
    name = made.sibling(fact)
    return _none(made.asked(made.any_phrasing(name).format(s=fact.subject))) if name else None


def same_subject_indirect(made: Generator, fact: Fact) -> Made:
    """The subject's other relations, as a clause of a sentence."""
    name = made.sibling(fact)
    if name is None:
        return None
    noun = made.rng.choice([RELATIONS[name].noun, RELATIONS[name].clause]).format(s=fact.subject)
    return _none(chat_prompt(made.rng.choice(made.words.indirect).format(n=noun)))


def outside_the_world(made: Generator, fact: Fact) -> Made:
    """Something about the subject that no relation covers."""
    return _none(chat_prompt(made.rng.choice(made.words.uncovered[made.relation(fact).domain]).format(s=fact.subject)))


def same_relation(made: Generator, fact: Fact) -> Made:
    """The same relation of another subject."""
    other = made.neighbour(fact)
    return _none(made.asked(made.any_phrasing(fact.relation).format(s=other))) if other else None


def mentioned(made: Generator, fact: Fact) -> Made:
    """The subject is only spoken of."""
    return _none(chat_prompt(made.rng.choice(made.words.mentions).format(s=fact.subject)))


def negated(made: Generator, fact: Fact) -> Made:
    """The fact is named as what is not asked for."""
    name, other = made.sibling(fact), made.neighbour(fact)
    relation = made.relation(fact)
    own = relation.noun.format(s=fact.subject)
    if made.rng.random() < 0.5 and name is not None:
        wanted = RELATIONS[name].noun.format(s=fact.subject)
    elif other is not None:
        wanted = relation.noun.format(s=other)
    else:
        return None
    return _none(chat_prompt(made.rng.choice(made.words.negations).format(own=own, wanted=wanted)))


def namesake(made: Generator, fact: Fact) -> Made:
    """Another person with the same family name, or with the same first name."""
    if made.relation(fact).domain != "person":
        return None
    first, last = fact.subject.split(" ", 1)
    strangers = ("Wilhelmina", "Bartholomew", "Oluwaseun", "Xiomara")
    known = {name.split(" ")[0] for name in world().subjects["employer"]}
    other = made.rng.choice(
        [f"{made.rng.choice([*strangers, *sorted(known - {first})])} {last}", f"{first} Quackenbush"]
    )
    if other in world().subjects["employer"]:
        return None
    return _none(made.asked(made.any_phrasing(fact.relation).format(s=other)))


def longer_name(made: Generator, fact: Fact) -> Made:
    """Another thing whose name holds the subject's, as New York holds York."""
    if made.relation(fact).domain == "person":
        forms = ["{s} Jr.", "Mary-{s}", "{s}-Smith", "Lady {s} Hospital", "the {s} Foundation"]
    else:
        forms = ["New {s}", "{s} Falls", "{s}ville", "Port {s}", "{s} Airlines", "East {s}", "{s} Heights"]
    other = made.rng.choice(forms).format(s=fact.subject)
    return _none(made.asked(made.any_phrasing(fact.relation).format(s=other)))


def like_name(made: Generator, fact: Fact) -> Made:
    """A country whose name is spelt almost like the subject's."""
    others = [other for pair in _ALIKE for one, other in (pair, pair[::-1]) if one == fact.subject]
    others = [other for other in others if made.is_untouched(other, fact.relation)]
    return _none(made.asked(made.any_phrasing(fact.relation).format(s=made.rng.choice(others)))) if others else None


def new_object(made: Generator, fact: Fact) -> Made:
    """About the new object, but not back to the subject."""
    relation, target = made.relation(fact), made.requests[fact].target_new
    names = [r.name for r in RELATIONS.values() if r.domain == relation.range and r.name != relation.inverse]
    names = [name for name in names if made.is_untouched(target, name) and name != relation.name]
    return _none(made.asked(made.any_phrasing(made.rng.choice(names)).format(s=target))) if names else None


def other_topic_later(made: Generator, fact: Fact) -> Made:
    """With a pronoun that stands for somebody spoken of since."""
    other = made.neighbour(fact)
    if other is None:
        return None
    text = _with_pronoun(made.any_phrasing(fact.relation), made.relation(fact).domain == "person")
    turns = (f"Do you know {fact.subject}?", "Yes, I do.", f"Now let us talk about {other}.", "Fine.", text)
    return _none(talk(*turns))


def _none(prompt: Prompt) -> Made:
    return prompt, frozenset(), frozenset()


PARAPHRASES: Mapping[str, Make] = {
    make.__name__: make
    for make in (
        template,
        free,
        wrapped,
        careless,
        indirect,
        alias,
        later_turn,
        elliptical,
        long_talk,
        mistyped_word,
        mistyped_name,
        inverse,
        two_hops,
    )
}
OTHERS: Mapping[str, Make] = {
    make.__name__: make
    for make in (
        unrelated,
        same_subject,
        same_subject_indirect,
        outside_the_world,
        same_relation,
        mentioned,
        negated,
        namesake,
        longer_name,
        like_name,
        new_object,
        other_topic_later,
    )
}

_ALIKE = (
    ("Niger", "Nigeria"),
    ("Iran", "Iraq"),
    ("Austria", "Australia"),
    ("Slovakia", "Slovenia"),
    ("Mali", "Malta"),
    ("Zambia", "Gambia"),
    ("Guinea", "Guyana"),
    ("Ireland", "Iceland"),
    ("Latvia", "Bolivia"),
    ("India", "Indonesia"),
    ("Uganda", "Rwanda"),
    ("Sweden", "Switzerland"),
    ("Paraguay", "Uruguay"),
    ("Libya", "Liberia"),
    ("Chad", "Chile"),
    ("Angola", "Mongolia"),
)


def _swapped(rng: random.Random, word: str) -> str:
    """The word with two unequal neighbouring letters in its middle swapped."""
    places = [i for i in range(1, len(word) - 2) if word[i] != word[i + 1]]
    if not places:
        return word
    i = rng.choice(places)
    return word[:i] + word[i + 1] + word[i] + word[i + 2 :]


def _with_pronoun(text: str, person: bool) -> str:
    """The text with a pronoun in the place of `{s}`."""
    subject, object_, possessive = ("he", "him", "his") if person else ("it", "it", "its")
    text = text.replace("{s}'s", possessive)
    before, found, after = text.partition("{s}")
    governed = before.rstrip().split(" ")[-1].casefold() in _GOVERNING
    pronoun = (object_ if governed else subject) if found else ""
    spoken = before + pronoun + after
    return spoken[:1].upper() + spoken[1:]


_GOVERNING = frozenset(
    (
        "of",
        "to",
        "for",
        "call",
        "by",
        "with",
        "reach",
        "about",
        "in",
        "at",
        "on",
        "behind",
        "phone",
        "employs",
        "founded",
    )
)
"""Words before `{s}` that turn `he` into `him`."""
