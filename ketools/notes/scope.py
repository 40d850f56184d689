"""Whether a text asks for what a note says: the decision that keeps notes out of unrelated prompts.

Most of it is exact: the subject is named, and the text is one of the relation's templates or holds its noun
phrase. Only what templates cannot tell is left to the similarity of sentence embeddings. Thresholds were
measured; docs/evaluation.md has the numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache

from ketools.core.names import Names
from ketools.core.requests import EditRequest, Kind, Prompt
from ketools.core.text import normalise
from ketools.knowledge.relations import RELATIONS, Relation, match_masked
from ketools.layers.artefacts import Scoped
from ketools.notes.lexicon import OTHERS, WIDER, others_of
from ketools.retrieval import Encoder

SLOT = "{s}"
"""Stands for the subject in a text, as in the templates of `ketools.knowledge.relations`."""

SAME_FACT = 0.62
"""Least cosine between two phrasings of one fact, subjects blanked, when no relation is known."""

SAME_RELATION = 0.50
"""Least cosine to the known relation's nearest phrasing."""

LEAD = 0.05
"""By how much another relation's nearest phrasing may be nearer: free wordings lie close to several."""

SAME_TOPIC = 0.70
"""Least cosine of a request with a phrasing of the lexicon to be taken as being about the same."""

GENERAL_TOPICS = frozenset({"everything", "general", "anything", "all topics", "any topic"})

_OPINION = re.compile(
    r"\b(?:think (?:of|about)|feel about|feelings? (?:about|on|for)|(?:opinion|views?|thoughts|stance|take) "
    r"(?:of|on|about)|attitude to(?:wards?)?|(?:fan|fond) of|"
    r"you (?:really )?(?:like|love|hate|enjoy|dislike|prefer|recommend))\b",
    re.IGNORECASE,
)
_ANAPHOR = re.compile(r"\b(its|his|their|her|it|he|she|they|him|them|there)\b", re.IGNORECASE)
_NO_NAMES = frozenset({"I"})
_BEGINS_NAMES = re.compile(
    r"new|old|north|south|east|west|northern|southern|eastern|western|upper|lower|port|saint|st|san|"
    r"santa|fort|mount|lake|great|little|lady|lord|los|las|el|la",
    re.IGNORECASE,
)
"""Words that make another name of the one that follows them, also at the beginning of a sentence."""

_TITLES = re.compile(
    r"mr|mrs|ms|miss|dr|prof|professor|sir|president|king|queen|prince|princess|chancellor|minister|"
    r"senator|judge|author|writer|painter|city|country|company|university|book|novel",
    re.IGNORECASE,
)
_DISMISSED = re.compile(
    r"(?:\b(?:(?:am|are|was|were|is|i'm|we're) not (?:asking|talking|interested|looking)"
    r"|(?:do not|don't|dont|never|no need to) (?:tell|give|answer|mention|say|want|need|care|explain|talk|bother)"
    r"|forget|never mind|ignore|skip|disregard|leave(?=.*\baside)|(?:apart|aside) from|other than|instead of"
    r"|rather than|except|besides|already know|i know)\b"
    r"|(?:^|[,;:]\s*|\bbut )not\b).*?(?=[,;:]|\sbut\b|\baside\b|$)",
    re.IGNORECASE,
)
"""A clause that names what is not asked for."""

_PROPER_NAME = re.compile(r"\b[A-Z]\w*(?:[ -][A-Z]\w*)*")
_LATER_NAME = re.compile(rf"(?<!^)(?<![.?!] ){_PROPER_NAME.pattern}")
"""A name that does not begin its sentence, where any word has a capital."""

_POSSESSIVE = frozenset({"its", "his", "their"})
_ELLIPSIS = re.compile(
    r"(?:and|or|what about|how about|and what about|and how about)(?: (?:of|for|in|with))?(?: the)? \{s\}",
    re.IGNORECASE,
)
_CLOZE_NOUN = re.compile(r"(?:The (.+) of \{s\}|\{s\}'s (.+?)) (?:is|was|go)\b")
_PLAIN_NOUN = re.compile(r"the (.+) of \{s\}")


@dataclass(frozen=True)
class Asked:
    """What a prompt asks: the last user message (or the text to continue), and the earlier ones."""

    text: str
    history: tuple[str, ...] = ()

    @property
    def words(self) -> frozenset[str]:
        """All words of the conversation, case-folded, for look-ups in an index."""
        return frozenset(word for text in (self.text, *self.history) for word in words(text))


def asked(prompt: Prompt) -> Asked:
    """What the prompt asks; empty when it is a chat without a user message."""
    if isinstance(prompt, str):
        return Asked(prompt)
    said = [m.get("content", "") for m in prompt if m.get("role") == "user"]
    return Asked(said[-1], tuple(said[:-1])) if said else Asked("")


def words(text: str) -> list[str]:
    """The words of a text, case-folded."""
    return re.findall(r"\w+", text.casefold())


def masked_relation(masked: str) -> Relation | None:
    """The relation whose template this text is, with `SLOT` for the subject; closing marks are optional."""
    return match_masked(masked, SLOT)


def noun_phrases(relation: Relation) -> tuple[str, ...]:
    """Phrases for the relation's target that may stand inside any sentence, with `SLOT` for the subject."""
    found = {relation.noun: None, relation.clause: None}
    plain = _PLAIN_NOUN.fullmatch(relation.noun)
    if plain:
        found[f"{{s}}'s {plain[1]}"] = None
    for cloze in relation.cloze:
        match = _CLOZE_NOUN.match(cloze)
        if match:
            found[f"the {match[1]} of {{s}}" if match[1] else f"{{s}}'s {match[2]}"] = None
    return tuple(_plain(phrase) for phrase in found)


def same_domain(relation: Relation) -> tuple[Relation, ...]:
    """The other relations that a subject of this relation can have."""
    return tuple(r for r in RELATIONS.values() if r.domain == relation.domain and r.name != relation.name)


def _plain(text: str) -> str:
    return normalise(text)


@cache
def _nouns(name: str) -> re.Pattern[str]:
    phrases = sorted(noun_phrases(RELATIONS[name]), key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, phrases))})(?!\w)")


@dataclass(frozen=True)
class NoteForm:
    """A note prepared for deciding: the names that it answers to and its relation, when known."""

    note: Scoped
    request: EditRequest
    aliases: tuple[str, ...] = ()

    @cached_property
    def names(self) -> Names:
        """Finds the subject, or one of its other names."""
        return Names((self.request.subject, *self.aliases))

    @cached_property
    def target(self) -> Names:
        """Finds the new object, about which an inverse question may ask."""
        return Names((self.request.target_new,))

    @cached_property
    def relation(self) -> Relation | None:
        """The relation that the request names, or that its prompt expresses."""
        return request_relation(self.request)

    @cached_property
    def inverse(self) -> Relation | None:
        """The relation that leads from the new object back to the subject."""
        if self.relation is None or self.relation.inverse is None or self.request.kind is Kind.ERASE:
            return None
        return RELATIONS.get(self.relation.inverse)

    @property
    def is_general(self) -> bool:
        """Whether this is a manner of speaking about everything."""
        return self.request.kind is Kind.PERSONALITY and self.request.subject.casefold() in GENERAL_TOPICS

    @cached_property
    def phrasings(self) -> tuple[str, ...]:
        """How the fact is asked for, as far as the request tells, with `SLOT` for the subject."""
        texts = (self.request.prompt, *self.request.rephrases)
        return tuple(self.names.replaced(text, SLOT) for text in texts)

    @property
    def fact(self) -> tuple[str, str]:
        """What this note is about: of two live notes with the same, only the newer one counts."""
        if self.request.kind is Kind.PERSONALITY or self.relation is None:
            subject, _, what = self.request.key.rpartition("|")
            return subject, what
        return normalise(self.request.subject), self.relation.name


def request_relation(request: EditRequest) -> Relation | None:
    """The known relation that a request names or that the last sentence of its prompt expresses, if any."""
    if request.kind is Kind.PERSONALITY:
        return None
    named = RELATIONS.get(request.relation or "")
    sentences = chunks(request.prompt, Names((request.subject,)))
    return named or (masked_relation(sentences[-1]) if sentences else None)


@dataclass(frozen=True)
class Doubt:
    """A text that names the note's subject, but whose relation templates cannot tell."""

    form: NoteForm
    chunks: tuple[str, ...]


def decide(form: NoteForm, question: Asked) -> bool | Doubt:
    """Whether the note is in scope, as far as names and templates can tell; else what to compare."""
    if form.request.kind is Kind.PERSONALITY:
        return _about_topic(form, question)
    if form.inverse is not None and any(asks_inverse(form, c) for c in chunks(question.text, form.target)):
        return True
    open_chunks = []
    for chunk in _readings(form, question):
        verdict = fits(form, chunk)
        if verdict:
            return True
        if verdict is None:
            open_chunks.append(chunk)
    return Doubt(form, tuple(open_chunks)) if open_chunks else False


def _about_topic(form: NoteForm, question: Asked) -> bool:
    text = form.names.replaced(question.text, SLOT)
    if _plain(text) in {_plain(p) for p in form.phrasings}:
        return True
    named = form.is_general or SLOT in text
    return named and _OPINION.search(question.text) is not None


def chunks(text: str, names: Names) -> tuple[str, ...]:
    """The sentences of the text that hold one of the names, with `SLOT` for it, without what they dismiss."""
    return _sentences(names.replaced(text, SLOT))


def _sentences(masked: str) -> tuple[str, ...]:
    """The sentences of a text that hold `SLOT`, by lines and, where a line does not end one, across lines."""
    together = re.sub(r"(?<![.?!:\n])\s*\n(?!\n)\s*", " ", masked)
    parts = [part for form in (masked, together) for part in re.split(r"(?<=[.?!])\s+|\n+", form)]
    kept = (_DISMISSED.sub("", part).strip(" ,;:") for part in dict.fromkeys(parts) if SLOT in part)
    return tuple(part for part in kept if SLOT in part)


def _readings(form: NoteForm, question: Asked) -> tuple[str, ...]:
    """The sentences that may ask for this note's fact, follow-up questions written out."""
    direct = chunks(question.text, form.names)
    if direct:
        elliptical = [c for c in direct if _ELLIPSIS.fullmatch(_plain(c))]
        if elliptical and question.history:
            return tuple(_any_subject(form, question.history[-1]))
        return direct
    if not _still_talking_of(form, question.history):
        return ()
    resolved = _ANAPHOR.sub(_resolve, question.text)
    return _sentences(resolved)


def _still_talking_of(form: NoteForm, history: Sequence[str]) -> bool:
    """Whether the last earlier message that is not itself about a pronoun names the subject."""
    for text in reversed(history[-4:]):
        if form.names.stand_in(text):
            return True
        if not _ANAPHOR.search(text):
            return False
    return False


def _resolve(match: re.Match[str]) -> str:
    word = match[0].lower()
    followed = re.match(r"\s+\w", match.string[match.end() :]) is not None
    return f"{SLOT}'s" if word in _POSSESSIVE or (word == "her" and followed) else SLOT


def _any_subject(form: NoteForm, earlier: str) -> list[str]:
    """The earlier question with `SLOT` for whatever subject it asked about: 'And Japan?' asks the same."""
    templates = form.phrasings
    if form.relation is not None:
        templates += (*form.relation.cloze, *form.relation.questions)
    text = _plain(earlier)
    exact = [t for t in templates if re.fullmatch(re.escape(_plain(t)).replace(r"\{s\}", ".+"), text)]
    names = _LATER_NAME.findall(earlier) or _PROPER_NAME.findall(earlier)
    return exact or [earlier.replace(name, SLOT) for name in sorted(names, key=len)[-1:]]


def asks_inverse(form: NoteForm, chunk: str) -> bool:
    """Whether a sentence with `SLOT` for the new object asks for the subject."""
    if form.relation is None or form.inverse is None:
        return False
    expressed = masked_relation(chunk)
    if expressed is not None:
        return expressed.name == form.inverse.name
    plain = _plain(chunk)
    backwards = _plain(f"{{s}} is {form.relation.noun.replace(' {s}', '')}")
    return backwards in plain or _nouns(form.inverse.name).search(plain) is not None


def fits(form: NoteForm, chunk: str) -> bool | None:
    """Whether a sentence with `SLOT` for the subject asks for the note's relation; None: cannot tell."""
    return _fits(form.phrasings, form.relation.name if form.relation else None, chunk)


@lru_cache(maxsize=4096)
def _fits(phrasings: tuple[str, ...], relation: str | None, chunk: str) -> bool | None:
    plain = _plain(chunk)
    if any(_plain(phrasing) in plain for phrasing in phrasings):
        return True
    expressed = masked_relation(chunk)
    if relation is None:
        return None
    if expressed is not None and expressed.domain == RELATIONS[relation].domain:
        return expressed.name == relation
    if _nouns(relation).search(plain):
        return True
    others = same_domain(RELATIONS[relation])
    return False if any(_nouns(other.name).search(plain) for other in others) else None


def resolve(doubts: Sequence[Doubt], encoder: Encoder) -> list[float | None]:
    """Similarity per doubt when it is high enough, else None; one batch of embeddings for all of them."""
    texts = [blank(t) for d in doubts for t in (*d.chunks, *d.form.phrasings)]
    if not texts:
        return []
    rows = _Rows(encoder, [*texts, *map(blank, _lexicon())])
    return [_resolved(doubt, rows) for doubt in doubts]


class _Rows:
    """Embeddings by text."""

    def __init__(self, encoder: Encoder, texts: Iterable[str]) -> None:
        distinct = list(dict.fromkeys(texts))
        self._places = {text: i for i, text in enumerate(distinct)}
        self._vectors = encoder.encode(distinct)

    def nearest(self, text: str, phrasings: Iterable[str]) -> float:
        """The highest cosine of a text with one of the phrasings; -1 without any."""
        places = [self._places[blank(phrasing)] for phrasing in phrasings]
        if not places:
            return -1.0
        return float((self._vectors[places] @ self._vectors[self._places[blank(text)]]).max())


def _resolved(doubt: Doubt, rows: _Rows) -> float | None:
    """How near one of the doubtful texts is to the fact, when it is nearer than to anything else."""
    form = doubt.form
    topic = form.relation.name if form.relation else _topic(form, rows)
    least, lead = (SAME_FACT, 0.0) if topic is None else (SAME_RELATION, LEAD)
    own = (*form.phrasings, *(_phrasings(topic) if topic else ()))
    rivals = [text for name in _rivals(topic) for text in _phrasings(name) if text not in own]
    near = ((rows.nearest(chunk, own), rows.nearest(chunk, rivals)) for chunk in doubt.chunks)
    return max((mine for mine, other in near if mine >= least and mine > other - lead), default=None)


def _topic(form: NoteForm, rows: _Rows) -> str | None:
    """What a request of no known relation is about, in the words of the lexicon, if it is near enough to them."""
    near = {name: max(rows.nearest(p, _phrasings(name)) for p in form.phrasings) for name in (*WIDER, *OTHERS)}
    best = max(near, key=near.__getitem__)
    return best if near[best] >= SAME_TOPIC else None


def blank(masked: str) -> str:
    """The text to embed: 'someone' for the subject separated relations best of the fillers tried."""
    return masked.replace(SLOT, "someone")


@cache
def _phrasings(topic: str) -> tuple[str, ...]:
    """Every phrasing that is known for a relation or another topic of the lexicon."""
    relation = RELATIONS.get(topic)
    return OTHERS[topic] if relation is None else (*relation.cloze, *relation.questions, *WIDER.get(topic, ()))


@cache
def _lexicon() -> tuple[str, ...]:
    return tuple(text for name in (*RELATIONS, *OTHERS) for text in _phrasings(name))


@cache
def _rivals(topic: str | None) -> tuple[str, ...]:
    """What else a doubtful text may ask of the same subject; of an unknown one, anything."""
    domains = {r.domain for r in RELATIONS.values() if topic in (None, r.name) or topic in others_of(r.domain)}
    relations = (r.name for r in RELATIONS.values() if r.domain in domains)
    others = (name for domain in domains for name in others_of(domain))
    return tuple(name for name in dict.fromkeys((*relations, *others)) if name != topic)
