"""Pairs of a fact and a question, in scope or not, made from rows; the negatives are hard on purpose."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ketools.core.names import canonical, find, same_name, words
from ketools.core.text import word_list
from ketools.knowledge.scope.rows import SLOT, Asking, Row, blanked

Similar = Callable[[str, str], float]
"""Cosine of two texts."""


@dataclass(frozen=True)
class Pair:
    """A fact, given by its prompt and subject, and a question. `kind` says how the pair was made."""

    subject: str
    prompt: str
    question: str
    in_scope: bool
    kind: str


# --- names that are not the name ---

_STRANGERS = word_list(
    "Alden Berg Castor Dorn Elva Farrow Greta Holm Ines Jarvis Kemp Lund Mabel Norris Osman Petra Quill Rosa Stroud "
    "Tamsin Ulrich Vance Wendell Yates Zora Bramley Corvin Delgado Eriksen Fontaine"
)
_LONGER = (
    "New {s}",
    "{s} Falls",
    "{s} Jr.",
    "East {s}",
    "{s} II",
    "{s} Heights",
    "Lady {s}",
    "{s} University",
    "Little {s}",
)
_OPPOSED = (
    "first|second|third|last|fourth",
    "largest|smallest|second largest",
    "oldest|youngest",
    "highest|lowest",
    "longest|shortest",
    "men's|women's",
    "north|south|east|west",
    "most|least|second most",
    "male|female",
    "king|queen",
    "father|mother|brother",
    "mom|dad",
    "begin|end",
    "best|worst",
    "summer|winter",
    "new|old",
    "before|after",
    "biggest|tiniest",
    "upper|lower",
    "richest|poorest",
    "earliest|latest",
)


def near_miss(name: str, others: Sequence[str], rng: random.Random) -> str | None:
    """Another name that is like this one: one word or number differs, or it is longer; None where none is made."""
    makers = [_other_number, _other_word, _other_word, _other_letters, _longer, _opposed]
    rng.shuffle(makers)
    for make in makers:
        made = make(name, others, rng)
        if made and canonical(made) != canonical(name):
            return made
    return None


def _other_number(name: str, _others: Sequence[str], rng: random.Random) -> str | None:
    numbers = list(re.finditer(r"\d+", name))
    if not numbers:
        return None
    match = rng.choice(numbers)
    new = str(max(1, int(match[0]) + rng.choice([-12, -4, -2, -1, 1, 2, 3, 10])))
    return name[: match.start()] + new + name[match.end() :]


def _other_word(name: str, others: Sequence[str], rng: random.Random) -> str | None:
    parts = name.split(" ")
    places = [i for i, part in enumerate(parts) if part[:1].isupper() and len(part) > 2]
    if len(parts) < 2 or not places:
        return None
    other = [w for w in rng.choice(others).split(" ") if w[:1].isupper() and len(w) > 2]
    parts[rng.choice(places)] = rng.choice(other) if other and rng.random() < 0.6 else rng.choice(_STRANGERS)
    return " ".join(parts)


def _other_letters(name: str, _others: Sequence[str], rng: random.Random) -> str | None:
    """Two letters of the longest word are others: another name, not a slip of the pen."""
    word = max(re.findall(r"[^\W\d_]+", name), key=len, default="")
    if len(word) < 5 or not word.isascii():
        return None
    letters = list(word)
    for place in rng.sample(range(len(word)), 2):
        pool = "aeiou" if letters[place] in "aeiou" else "bcdfgklmnprstvz"
        letters[place] = rng.choice([c for c in pool if c != letters[place].lower()])
    made = "".join(letters)
    return name.replace(word, made.capitalize() if word[0].isupper() else made)


def _longer(name: str, _others: Sequence[str], rng: random.Random) -> str | None:
    return rng.choice(_LONGER).format(s=name) if name[:1].isupper() and len(name.split()) < 4 else None


def _opposed(name: str, _others: Sequence[str], rng: random.Random) -> str | None:
    return opposed(name, rng)


def opposed(text: str, rng: random.Random) -> str | None:
    """The text with one word (first, largest, men's, a number) turned into a rival, or None."""
    options = []
    for group in _OPPOSED:
        rivals = group.split("|")
        options += [
            (match.span(), rng.choice([r for r in rivals if r != word]))
            for word in rivals
            for match in re.finditer(rf"\b{word}\b", text, re.IGNORECASE)
        ]
    for match in re.finditer(r"\d+", text):
        options.append((match.span(), str(max(1, int(match[0]) + rng.choice([-10, -3, -1, 1, 2, 5])))))
    if not options:
        return None
    (start, end), new = rng.choice(options)
    return text[:start] + (new.capitalize() if text[start].isupper() else new) + text[end:]


def slip(name: str, rng: random.Random) -> str | None:
    """The name with a slip of the pen: two letters swapped, one left out or doubled, in a longer word."""
    long = list(re.finditer(r"[^\W\d_]{6,}", name))
    if not long:
        return None
    match = rng.choice(long)
    word, i = match[0], rng.randrange(1, len(match[0]) - 2)
    made = rng.choice(
        [word[:i] + word[i + 1] + word[i] + word[i + 2 :], word[:i] + word[i + 1 :], word[: i + 1] + word[i:]]
    )
    return name[: match.start()] + made + name[match.end() :] if made != word else None


# --- how a question is written ---

_BEFORE = ("Hi! ", "Quick question: ", "Please tell me: ", "Hello, I need some help. ", "For a quiz: ", "hey, ", "OK. ")
_AFTER = (" Thanks!", " Please answer briefly.", " I really need to know.", " Answer in one word.", " Any idea?")
_TRUE = ("Is it true that {q} {a}?", "I heard that {q} {a}. Is that so?", "{q} {a}, right?", "Is this right: {q} {a}?")
_TRUE_OF_QUESTIONS = ("{q} Is it {a}?", "{q} {a}?", "Is {a} the answer to this: {q}", "{q} I think it is {a}.")
_ASIDES = (
    "The train was late again this morning.",
    "He put the kettle on and sat down.",
    "Tickets are sold at the door.",
    "Nobody in the village had seen such snow.",
    "The second edition corrected some errors.",
    "They walked home in silence.",
)


def styled(question: str, rng: random.Random) -> str:
    """The question as somebody else would type it."""
    bare = question.rstrip(" ?.")
    return rng.choice(
        [
            bare.lower(),
            question.lower(),
            question.upper(),
            rng.choice(_BEFORE) + question,
            question + rng.choice(_AFTER),
            rng.choice(_BEFORE) + bare[:1].lower() + bare[1:] + "?" + rng.choice(_AFTER),
            f"Q: {question}",
            rng.choice(_ASIDES) + " " + question,
            question.replace("What is", "What's").replace("Who is", "who's").replace("Where is", "wheres"),
            f"Please answer the question: {question}",
        ]
    )


def typeset(name: str, rng: random.Random) -> str:
    """The name in another typography, which does not change what it names."""
    return rng.choice(
        [
            name.upper(),
            name.lower(),
            f'"{name}"',
            f"_{name}_",
            f"“{name}”",
            name.replace("'", "’").replace("-", "‑"),
            f"the {name}" if not name.lower().startswith("the ") else name[4:],
        ]
    )


# --- pairs ---


class Maker:
    """Makes pairs from rows and askings. `similar` keeps what may be the same relation out of the negatives."""

    def __init__(self, similar: Similar, rng: random.Random) -> None:
        self.similar, self.rng = similar, rng

    def of_rows(self, rows: Sequence[Row]) -> Iterator[Pair]:
        """Pairs of the rows of one source."""
        names = [row.subject for row in rows]
        for row in rows:
            yield from self._in_scope(row)
            yield from self._out_of_scope(row, rows, names)

    def _in_scope(self, row: Row) -> Iterator[Pair]:
        rng, s, p = self.rng, row.subject, row.prompt
        for r in row.rephrases:
            yield Pair(s, p, r, True, "rephrase")
            yield Pair(s, p, styled(r, rng), True, "styled")
            if find(s, r):
                yield Pair(s, r, p, True, "rephrase")
                yield Pair(s, p, _renamed(r, s, typeset(s, rng)), True, "typeset")
                if slipped := slip(s, rng):
                    yield Pair(s, p, _renamed(r, s, slipped), True, "slip")
            if row.others and rng.random() < 0.4:
                yield Pair(s, p, dismissing(rng.choice(row.others), r, rng), True, "other dismissed")
        yield Pair(s, p, styled(p, rng), True, "styled")
        if row.answers and rng.random() < 0.5:
            yield Pair(s, p, claimed(rng.choice([p, *row.rephrases]), rng.choice(row.answers), rng), True, "claimed")

    def _out_of_scope(self, row: Row, rows: Sequence[Row], names: Sequence[str]) -> Iterator[Pair]:
        rng, s, p = self.rng, row.subject, row.prompt
        for text in row.locality:
            yield Pair(s, p, text, False, "locality")
        for text in row.others:
            yield Pair(s, p, text, False, "other")
            yield Pair(s, p, styled(text, rng), False, "other")
        for text in self._same_subject(row, rows, 3):
            yield Pair(s, p, text if rng.random() < 0.7 else styled(text, rng), False, "same subject")
            if row.answers and rng.random() < 0.1:
                yield Pair(s, p, claimed(text, rng.choice(row.answers), rng), False, "other claimed")
        text = rng.choice([p, *row.rephrases])
        if find(s, text):
            yield Pair(s, p, _renamed(text, s, rng.choice(names)), False, "same relation")
            for _ in range(2):
                if miss := near_miss(s, names, rng):
                    asked = _renamed(rng.choice([p, *row.rephrases]), s, miss)
                    if not find(s, asked) or canonical(s) in canonical(miss):
                        yield Pair(s, p, asked, False, "near miss")
        if other := opposed(p, rng):
            yield Pair(s, p, other, False, "opposed")
        elsewhere = rng.choice(rows)
        if elsewhere is not row:
            told = rng.choice([elsewhere.prompt, *elsewhere.rephrases])
            yield Pair(s, p, told, False, "other fact")
            if rng.random() < 0.3:
                yield Pair(s, p, dismissing(text, told, rng), False, "dismissed")
                yield Pair(s, p, dismissing(text, "", rng).strip(), False, "dismissed")
        yield from self._nearest(row, rows)
        if row.answers and (form := blanked(elsewhere.prompt, elsewhere.subject)):
            yield Pair(s, p, form.replace(SLOT, rng.choice(row.answers)), False, "about the answer")
        if rng.random() < 0.25:
            yield Pair(s, p, rng.choice(MENTIONS).format(s=s), False, "mention")

    def _nearest(self, row: Row, rows: Sequence[Row], among: int = 60) -> Iterator[Pair]:
        """What another row asks that is nearest to this one, of some taken at random."""
        others = [
            one for one in self.rng.sample(rows, min(among, len(rows))) if not same_name(one.subject, row.subject)
        ]
        if others:
            nearest = max(others, key=lambda one: self.similar(row.prompt, one.prompt))
            yield Pair(row.subject, row.prompt, self.rng.choice([nearest.prompt, *nearest.rephrases]), False, "nearest")

    def _same_subject(self, row: Row, rows: Sequence[Row], count: int) -> Iterator[str]:
        """Questions of other rows with this subject put in, that do not ask the same."""
        mine = blanked(row.prompt, row.subject)
        if mine is None:
            return
        for _ in range(count):
            other = self.rng.choice(rows)
            told = blanked(self.rng.choice([other.prompt, *other.rephrases]), other.subject)
            if told is None or other is row:
                continue
            if max(self.similar(mine, told), self.similar(mine, blanked(other.prompt, other.subject) or told)) < 0.7:
                yield told.replace(SLOT, row.subject)

    def of_askings(self, askings: Sequence[Asking], names: Sequence[str], per_phrasing: int) -> Iterator[Pair]:
        """Pairs of relations of one language: the same relation in other words, and other relations of the kind."""
        rng = self.rng
        for asking in askings:
            rivals = [a for a in askings if a.kind == asking.kind and a.relation != asking.relation]
            others = [a for a in askings if a.relation != asking.relation]
            for told in [p for p in asking.phrasings for _ in range(per_phrasing)]:
                s = rng.choice(names)
                prompt = told.format(s=s)
                asked = rng.choice([p for p in asking.phrasings if p != told]).format(s=s)
                yield Pair(s, prompt, asked, True, "asking")
                yield Pair(s, prompt, styled(asked, rng), True, "asking")
                for pool in (rivals, rivals, others):
                    if pool:
                        text = rng.choice(rng.choice(pool).phrasings).format(s=s)
                        yield Pair(s, prompt, text if rng.random() < 0.6 else styled(text, rng), False, "rival")
                if rivals and rng.random() < 0.3:
                    text = rng.choice(rng.choice(rivals).phrasings).format(s=s)
                    yield Pair(s, prompt, dismissing(asked, text, rng), False, "dismissed")
                    yield Pair(s, prompt, dismissing(text, asked, rng), True, "other dismissed")
                other = rng.choice(names) if rng.random() < 0.5 else near_miss(s, names, rng)
                if other and canonical(other) != canonical(s):
                    text = rng.choice(asking.phrasings).format(s=other)
                    yield Pair(s, prompt, text, False, "same relation")


MENTIONS = (
    "I read something about {s} yesterday.",
    "Tell me about {s}.",
    "Tell me about {s} in one sentence.",
    "Do you know {s}?",
    "What do you think of {s}?",
    "Write a poem about {s}.",
    "Who or what is {s}?",
    "Summarise what you know about {s}.",
    "I like {s}.",
    "Is {s} interesting?",
    "Give me three facts about {s}.",
    "Translate '{s}' into French.",
    "My cousin often talks of {s}.",
    "How do you spell {s}?",
)


def claimed(question: str, answer: str, rng: random.Random) -> str:
    """A message that asks whether an answer is right."""
    forms = _TRUE_OF_QUESTIONS if question.rstrip().endswith("?") else _TRUE
    return rng.choice(forms).format(q=question, a=answer)


_DISMISSALS = (
    "I already know {a}. {b}",
    "Don't tell me {a}. {b}",
    "I'm not asking {a}, but: {b}",
    "Never mind {a}. {b}",
    "Forget {a}; {b}",
    "Not {a}. {b}",
    "Leave aside {a}: {b}",
    "Besides {a}, {b}",
    "Apart from {a}, {b}",
    "Other than {a}, {b}",
    "{b} I do not want to know {a}.",
    "{b} (I don't need {a}.)",
)


def dismissing(dismissed: str, asked: str, rng: random.Random) -> str:
    """A message that asks one question and says that the other one is not meant."""
    a = dismissed.strip().rstrip("?.")
    a = a[:1].lower() + a[1:]
    return rng.choice(_DISMISSALS).format(a=a, b=asked)


def _renamed(text: str, name: str, new: str) -> str:
    out, end = "", 0
    for span in find(name, text):
        out, end = out + text[end : span.start] + new, span.end
    return out + text[end:]


def has_words(text: str) -> bool:
    """Whether there is anything to compare."""
    return bool(words(text))
