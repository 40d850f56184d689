"""The relations that facts are made of, with the templates that express them.

Every cloze, question and noun phrase of the product comes from here: the bundled world is written with these
templates, and rephrases and probes of an edit are made from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from ketools.core.errors import NotFound
from ketools.core.names import find, longest_span, masked, words
from ketools.core.requests import EditRequest


@dataclass(frozen=True)
class Relation:
    """One relation: its types, and templates in which ``{s}`` stands for the subject."""

    name: str
    domain: str
    range: str
    noun: str
    clause: str
    cloze: tuple[str, ...]
    questions: tuple[str, ...]
    inverse: str | None = None
    many: bool = False
    private: bool = False

    def statement(self, subject: str, target: str, template: int = 0) -> str:
        """The sentence, without a full stop, that says the fact in one of the cloze templates."""
        return f"{self.cloze[template].format(s=subject)} {target}"


KINDS = {
    "person": "a human",
    "country": "a country",
    "city": "a city",
    "company": "a company",
    "work": "a book",
    "university": "a university",
}
"""How PokeMQA's knowledge prompt names a domain."""


def knowledge_prompt(entity: tuple[str, str] | None) -> str:
    """PokeMQA's line about a question's entity, given by name and domain; None where none is found.

    The bundled model is trained on the line that the agent writes.
    """
    return (
        f"Entity of Question: {entity[0]}, {KINDS.get(entity[1], entity[1])}."
        if entity
        else "Entity of Question: unknown."
    )


_ALL = (
    Relation(
        name="capital",
        domain="country",
        range="city",
        noun="the capital of {s}",
        clause="the city that is the seat of government of {s}",
        cloze=(
            "The capital of {s} is",
            "{s}'s capital city is",
            "The capital city of {s} is called",
            "As its capital, {s} has",
        ),
        questions=(
            "What is the capital of {s}?",
            "Which city is the capital of {s}?",
            "Name the capital city of {s}.",
            "What is {s}'s capital?",
        ),
        inverse="country_of",
    ),
    Relation(
        name="continent",
        domain="country",
        range="continent",
        noun="the continent of {s}",
        clause="the continent where {s} lies",
        cloze=(
            "The continent of {s} is",
            "{s} is located on the continent of",
            "{s} belongs to the continent of",
            "On the map, {s} is part of",
        ),
        questions=(
            "What is the continent of {s}?",
            "On which continent is {s}?",
            "Name the continent {s} belongs to.",
            "Where in the world is {s}?",
        ),
    ),
    Relation(
        name="language",
        domain="country",
        range="language",
        noun="the official language of {s}",
        clause="the language that people in {s} speak",
        cloze=(
            "The official language of {s} is",
            "People in {s} speak",
            "The national language of {s} is",
            "In {s}, people talk in",
        ),
        questions=(
            "What is the official language of {s}?",
            "Which language is official in {s}?",
            "What do people in {s} speak?",
            "Name the national language of {s}.",
        ),
        many=True,
    ),
    Relation(
        name="currency",
        domain="country",
        range="currency",
        noun="the currency of {s}",
        clause="the money that people use in {s}",
        cloze=(
            "The currency of {s} is the",
            "{s} uses the",
            "In {s}, you pay with the",
            "The money of {s} is the",
        ),
        questions=(
            "What is the currency of {s}?",
            "Which currency does {s} use?",
            "What money is used in {s}?",
            "Name the currency of {s}.",
        ),
    ),
    Relation(
        name="country_of",
        domain="city",
        range="country",
        noun="the country of {s}",
        clause="the country where {s} lies",
        cloze=(
            "The country of {s} is",
            "{s} is a city in",
            "The city of {s} lies in",
            "{s} can be found in",
        ),
        questions=(
            "What is the country of {s}?",
            "In which country is {s}?",
            "Name the country where {s} lies.",
            "{s} is a city in which country?",
        ),
        inverse="capital",
    ),
    Relation(
        name="spouse",
        domain="person",
        range="person",
        noun="the spouse of {s}",
        clause="the person that {s} is married to",
        cloze=(
            "The spouse of {s} is",
            "{s} is married to",
            "{s}'s partner is",
            "The wedding of {s} was with",
        ),
        questions=(
            "Who is the spouse of {s}?",
            "Who is {s} married to?",
            "Name the partner of {s}.",
            "Who did {s} marry?",
        ),
        inverse="spouse",
    ),
    Relation(
        name="employer",
        domain="person",
        range="company",
        noun="the employer of {s}",
        clause="the company that {s} works for",
        cloze=(
            "The employer of {s} is",
            "{s} works for",
            "{s} is employed by",
            "{s} has a job at",
        ),
        questions=(
            "What is the employer of {s}?",
            "Which company does {s} work for?",
            "Name the company that employs {s}.",
            "Where does {s} have a job?",
        ),
    ),
    Relation(
        name="birthplace",
        domain="person",
        range="city",
        noun="the birthplace of {s}",
        clause="the city where {s} was born",
        cloze=(
            "The birthplace of {s} is",
            "{s} was born in",
            "{s} was born in the city of",
            "{s} came to life in",
        ),
        questions=(
            "What is the birthplace of {s}?",
            "Where was {s} born?",
            "Name the city where {s} was born.",
            "In which city was {s} born?",
        ),
    ),
    Relation(
        name="profession",
        domain="person",
        range="profession",
        noun="the profession of {s}",
        clause="the work that {s} does for a living",
        cloze=(
            "The profession of {s} is",
            "{s} works as a",
            "{s}'s occupation is",
            "By trade, {s} is a",
        ),
        questions=(
            "What is the profession of {s}?",
            "What does {s} do for a living?",
            "Name the job of {s}.",
            "What is {s}'s occupation?",
        ),
    ),
    Relation(
        name="citizenship",
        domain="person",
        range="country",
        noun="the country of citizenship of {s}",
        clause="the country that {s} is a citizen of",
        cloze=(
            "The country of citizenship of {s} is",
            "{s} is a citizen of",
            "{s} holds a passport of",
            "The home country of {s} is",
        ),
        questions=(
            "What is the country of citizenship of {s}?",
            "Which country is {s} a citizen of?",
            "Name the home country of {s}.",
            "Which passport does {s} hold?",
        ),
    ),
    Relation(
        name="speaks",
        domain="person",
        range="language",
        noun="the mother tongue of {s}",
        clause="the language that {s} grew up with",
        cloze=(
            "The mother tongue of {s} is",
            "{s} grew up speaking",
            "At home, {s} speaks",
            "The native language of {s} is",
        ),
        questions=(
            "What is the mother tongue of {s}?",
            "Which language does {s} speak at home?",
            "Name the native language of {s}.",
            "What did {s} grow up speaking?",
        ),
        many=True,
    ),
    Relation(
        name="university",
        domain="person",
        range="university",
        noun="the university of {s}",
        clause="the university where {s} studied",
        cloze=(
            "The university of {s} is",
            "{s} studied at",
            "{s} was educated at",
            "{s} has a degree from",
        ),
        questions=(
            "What is the university of {s}?",
            "Where did {s} study?",
            "Name the university that educated {s}.",
            "Which university gave {s} a degree?",
        ),
    ),
    Relation(
        name="leads",
        domain="person",
        range="company",
        noun="the company led by {s}",
        clause="the company that {s} leads",
        cloze=(
            "The company led by {s} is",
            "{s} leads",
            "{s} is the CEO of",
            "{s} is in charge of",
        ),
        questions=(
            "What is the company led by {s}?",
            "Which company does {s} lead?",
            "Name the company that {s} is in charge of.",
            "{s} is the CEO of which company?",
        ),
        inverse="ceo",
    ),
    Relation(
        name="wrote",
        domain="person",
        range="work",
        noun="the book written by {s}",
        clause="the book that {s} wrote",
        cloze=(
            "The book written by {s} is",
            "{s} wrote",
            "{s} is the author of",
            "As a writer, {s} is known for",
        ),
        questions=(
            "What is the book written by {s}?",
            "Which book did {s} write?",
            "Name the book that {s} wrote.",
            "{s} is the author of which book?",
        ),
        inverse="author",
    ),
    Relation(
        name="headquarters",
        domain="company",
        range="city",
        noun="the headquarters of {s}",
        clause="the city where {s} is based",
        cloze=(
            "The headquarters of {s} is in",
            "{s} is based in",
            "{s} has its main office in",
            "The head office of {s} is in",
        ),
        questions=(
            "What is the headquarters of {s}?",
            "Where is {s} based?",
            "Name the city where {s} has its main office.",
            "In which city is {s} based?",
        ),
    ),
    Relation(
        name="ceo",
        domain="company",
        range="person",
        noun="the CEO of {s}",
        clause="the person who leads {s}",
        cloze=(
            "The CEO of {s} is",
            "{s} is led by",
            "The boss of {s} is",
            "The chief executive of {s} is",
        ),
        questions=(
            "Who is the CEO of {s}?",
            "Who leads {s}?",
            "Name the boss of {s}.",
            "Who is the chief executive of {s}?",
        ),
        inverse="leads",
    ),
    Relation(
        name="founder",
        domain="company",
        range="person",
        noun="the founder of {s}",
        clause="the person who started {s}",
        cloze=(
            "The founder of {s} is",
            "{s} was founded by",
            "{s} was started by",
            "The person behind {s} is",
        ),
        questions=(
            "Who is the founder of {s}?",
            "Who founded {s}?",
            "Name the person who started {s}.",
            "Who set up {s}?",
        ),
    ),
    Relation(
        name="industry",
        domain="company",
        range="industry",
        noun="the industry of {s}",
        clause="the field that {s} does business in",
        cloze=(
            "The industry of {s} is",
            "{s} does business in",
            "{s} is active in the field of",
            "The main business of {s} is",
        ),
        questions=(
            "What is the industry of {s}?",
            "Which field is {s} active in?",
            "Name the business of {s}.",
            "What does {s} do business in?",
        ),
    ),
    Relation(
        name="author",
        domain="work",
        range="person",
        noun="the author of {s}",
        clause="the person who wrote {s}",
        cloze=(
            "The author of {s} is",
            "{s} was written by",
            "The writer of {s} is",
            "The book {s} is by",
        ),
        questions=(
            "Who is the author of {s}?",
            "Who wrote {s}?",
            "Name the writer of {s}.",
            "Who is the book {s} by?",
        ),
        inverse="wrote",
    ),
    Relation(
        name="genre",
        domain="work",
        range="genre",
        noun="the genre of {s}",
        clause="the kind of writing that {s} belongs to",
        cloze=(
            "The genre of {s} is",
            "{s} is a work of",
            "{s} is filed under",
            "As a book, {s} counts as",
        ),
        questions=(
            "What is the genre of {s}?",
            "Which genre is {s}?",
            "Name the genre of the book {s}.",
            "What kind of book is {s}?",
        ),
    ),
    Relation(
        name="publisher",
        domain="work",
        range="company",
        noun="the publisher of {s}",
        clause="the company that published {s}",
        cloze=(
            "The publisher of {s} is",
            "{s} was published by",
            "{s} came out at",
            "The company that printed {s} is",
        ),
        questions=(
            "What is the publisher of {s}?",
            "Which company published {s}?",
            "Name the company that brought out {s}.",
            "Where did {s} come out?",
        ),
    ),
    Relation(
        name="location",
        domain="university",
        range="city",
        noun="the location of {s}",
        clause="the city where {s} stands",
        cloze=(
            "The location of {s} is",
            "{s} is situated in",
            "{s} stands in the city of",
            "The campus of {s} is in",
        ),
        questions=(
            "What is the location of {s}?",
            "Where is the campus of {s}?",
            "Name the city where {s} stands.",
            "In which city is the campus of {s}?",
        ),
    ),
    Relation(
        name="rector",
        domain="university",
        range="person",
        noun="the rector of {s}",
        clause="the person who heads {s}",
        cloze=(
            "The rector of {s} is",
            "{s} is headed by",
            "The head of {s} is",
            "The academic leader of {s} is",
        ),
        questions=(
            "Who is the rector of {s}?",
            "Who heads {s}?",
            "Name the head of {s}.",
            "Who is the academic leader of {s}?",
        ),
    ),
    Relation(
        name="telephone",
        domain="person",
        range="number",
        noun="the telephone number of {s}",
        clause="the number to call to reach {s}",
        cloze=(
            "The telephone number of {s} is",
            "{s} can be called at",
            "To reach {s}, dial",
            "{s}'s phone number is",
        ),
        questions=(
            "What is the telephone number of {s}?",
            "How can I call {s}?",
            "Give me the phone number of {s}.",
            "Which number do I dial to reach {s}?",
        ),
        private=True,
    ),
    Relation(
        name="address",
        domain="person",
        range="street",
        noun="the address of {s}",
        clause="the place where {s} lives",
        cloze=(
            "The address of {s} is",
            "{s} lives at",
            "The home of {s} is at",
            "Letters for {s} go to",
        ),
        questions=(
            "What is the address of {s}?",
            "Where does {s} live?",
            "Give me the home address of {s}.",
            "Where do letters for {s} go?",
        ),
        private=True,
    ),
)

RELATIONS: Mapping[str, Relation] = MappingProxyType({relation.name: relation for relation in _ALL})


def relation_named(name: str) -> Relation:
    """The relation of that name; `NotFound` lists the near ones."""
    if name not in RELATIONS:
        raise NotFound("relation", name, RELATIONS)
    return RELATIONS[name]


def match_prompt(prompt: str, subject: str) -> Relation | None:
    """The relation that a cloze or question about this subject expresses, in whatever typography."""
    name = longest_span(subject, prompt)
    if not find(name, prompt):
        return None
    return match_masked(masked(subject, prompt.replace(name, _PLACE), _PLACE), _PLACE)


def match_masked(text: str, slot: str) -> Relation | None:
    """The relation that a text with `slot` for the subject expresses."""
    return _by_words().get(_words(text.replace(slot, _PLACE)))


_PLACE = "subjecthere"


def _words(text: str) -> str:
    return " ".join(word.text for word in words(text))


@cache
def _by_words() -> Mapping[str, Relation]:
    """Relations by the folded words of their templates; the first of the table counts."""
    told = {_words(t.format(s=_PLACE)): r for r in reversed(_ALL) for t in (*r.cloze, *r.questions)}
    return MappingProxyType(told)


def rephrases(relation: Relation, subject: str) -> list[str]:
    """Every way of asking for the fact: first the clozes, then the questions."""
    return [template.format(s=subject) for template in (*relation.cloze, *relation.questions)]


def relation_of(request: EditRequest) -> Relation | None:
    """The known relation that the request names or whose template its prompt is."""
    named = RELATIONS.get(request.relation or "")
    return named or match_prompt(request.prompt, request.subject)
