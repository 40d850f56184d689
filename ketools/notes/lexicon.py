"""Further ways to ask for a relation, for the scope of notes: what templates miss, embeddings compare with these.

The first part widens the relations of `ketools.knowledge.relations`; the second knows relations that edits of any model
are often about, or that questions about the same subjects ask for, so that these are not mistaken for the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

PLACE = frozenset({"country", "city"})
GROUP = frozenset({"company", "university"})
PERSON = frozenset({"person"})
WORK = frozenset({"work"})

_WIDER: dict[str, tuple[str, ...]] = {
    "capital": ("which city governs {s}", "the seat of government of {s}", "the city from which {s} is governed"),
    "continent": ("what part of the world is {s} in", "the continent {s} lies on", "Is {s} in Europe or in Asia?"),
    "language": ("what language is spoken in {s}", "the language of {s}", "which tongue do {s}'s people use"),
    "currency": ("what money do they use in {s}", "how do you pay in {s}", "the money used in {s}"),
    "country_of": (
        "which country is {s} in",
        "in what nation does {s} lie",
        "{s}, in",
        "{s}, which is located in",
        "{s} belongs to which state",
        "the country whose flag flies over {s}",
    ),
    "spouse": ("who is the wife of {s}", "who is the husband of {s}", "whom did {s} marry", "{s}'s wife or husband"),
    "employer": (
        "who employs {s}",
        "which company pays {s}",
        "{s} earns money at",
        "where does {s} work",
        "the firm where {s} works",
        "{s} found employment in",
        "{s}, who works for",
    ),
    "birthplace": (
        "in what city was {s} born",
        "the place where {s} was born",
        "where does {s} come from",
        "{s} is native to",
        "{s} was from",
        "the city in which {s} came into the world",
    ),
    "profession": (
        "what is {s}'s job",
        "what kind of work does {s} do",
        "what does {s} work as",
        "{s}, who works as",
        "the occupation of {s}",
        "{s}'s profession is an",
        "how {s} earns a living",
    ),
    "citizenship": (
        "what is {s}'s nationality",
        "what country is {s} from",
        "{s}, who holds a citizenship from",
        "{s}, a citizen of",
        "the nation whose passport {s} has",
    ),
    "speaks": (
        "what is {s}'s first language",
        "which language did {s} learn as a child",
        "{s} is a native speaker of",
        "{s} speaks the language",
        "the language used by {s} is",
    ),
    "university": (
        "where did {s} go to college",
        "which school did {s} attend",
        "{s}'s alma mater",
        "where did {s} graduate",
    ),
    "leads": (
        "which company is {s} the head of",
        "of what company is {s} the boss",
        "what firm does {s} run",
        "the business that {s} manages",
        "what company is {s} chief executive of",
        "which company has {s} as its leader",
    ),
    "wrote": (
        "what book is by {s}",
        "what has {s} written",
        "which novel did {s} publish",
        "the title of {s}'s book",
        "which book has {s} as its author",
    ),
    "headquarters": (
        "where are the headquarters of {s}",
        "{s} is headquartered in",
        "in what city does {s} have its head office",
        "{s}, whose headquarters are in",
        "from where does {s} operate",
    ),
    "ceo": (
        "who runs {s}",
        "who is the head of {s}",
        "who is in charge of {s}",
        "who manages {s}",
        "the leader of the company {s}",
        "at the head of {s} is",
    ),
    "founder": (
        "who created the company {s}",
        "who established {s}",
        "{s} was set up by",
        "who is the person behind {s}",
        "who started {s}",
        "who brought {s} about",
    ),
    "industry": (
        "what sector is {s} in",
        "what does the company {s} do",
        "what kind of business is {s}",
        "the branch in which {s} works",
    ),
    "author": (
        "who is the writer of the book {s}",
        "{s} is a book by",
        "by whom was {s} written",
        "whose work is {s}",
    ),
    "genre": (
        "what type of book is {s}",
        "which genre does {s} belong to",
        "what kind of literature is {s}",
        "the type of music that {s} plays",
    ),
    "publisher": (
        "which publishing house printed {s}",
        "who published {s}",
        "the company that issued the book {s}",
    ),
    "location": (
        "where is {s}",
        "where is {s} located",
        "in what town is {s}",
        "{s} can be found in",
        "the city where {s} is",
        "where can I find {s}",
    ),
    "rector": (
        "who runs {s}",
        "who is in charge of {s}",
        "who leads the university {s}",
        "the president of {s}",
        "who is at the head of {s}",
    ),
    "telephone": ("what number do I call for {s}", "how do I reach {s} by phone", "{s}'s phone number"),
    "address": (
        "on what street does {s} live",
        "where is {s}'s house",
        "the home address of {s}",
        "{s}'s place of residence",
    ),
}

_OTHERS: dict[str, tuple[frozenset[str], tuple[str, ...]]] = {
    "population": (PLACE, ("how many people live in {s}", "the population of {s}", "how big is {s}")),
    "mayor": (PLACE, ("who is the mayor of {s}", "the mayor of {s} is")),
    "head of state": (
        PLACE,
        (
            "who is the head of state of {s}",
            "the name of the current head of state in {s} is",
            "who is the king of {s}",
            "who is the president of {s}",
        ),
    ),
    "head of government": (
        PLACE,
        (
            "who is the prime minister of {s}",
            "the name of the current head of the {s} government is",
            "who heads the government of {s}",
        ),
    ),
    "twin city": (PLACE, ("{s} is a twin city of", "what is the twin city of {s}", "the sister city of {s} is")),
    "landscape": (
        PLACE,
        ("which river flows through {s}", "what is the highest mountain of {s}", "what is the weather like in {s}"),
    ),
    "neighbours": (PLACE, ("which countries border {s}", "who are the neighbours of {s}", "how far is it to {s}")),
    "history": (PLACE | GROUP, ("what is the history of {s}", "when was {s} built")),
    "sports results": (PLACE, ("when did {s} win the cup", "who plays for the team of {s}")),
    "food": (PLACE, ("what do people eat in {s}", "what is the national dish of {s}", "where can I eat in {s}")),
    "travel": (
        PLACE,
        ("how do I get to {s}", "which hotel is good in {s}", "is it safe in {s}", "what should I see in {s}"),
    ),
    "time": (PLACE, ("what time is it in {s}", "what holidays are there in {s}")),
    "parts": (PLACE, ("how many provinces does {s} have", "what are the districts of {s}", "does {s} have an airport")),
    "army": (PLACE, ("how large is the army of {s}", "who won the war in {s}")),
    "symbols": (
        PLACE | GROUP,
        ("what is the flag of {s}", "what is the logo of {s}", "the anthem of {s}", "{s}'s slogan"),
    ),
    "quality": (GROUP | WORK, ("is {s} any good", "what do critics say of {s}", "how is {s} ranked")),
    "editions": (WORK, ("was {s} made into a film", "is there an audiobook of {s}", "how long is {s}")),
    "characters": (WORK, ("who is the main character of {s}", "who is the hero of {s}")),
    "facilities": (GROUP, ("does {s} have a library", "does {s} have a sports team", "what buildings does {s} have")),
    "belongings": (PERSON, ("what car does {s} drive", "what does {s} own")),
    "full name": (PERSON, ("what is the middle name of {s}", "what is the full name of {s}")),
    "health": (PERSON, ("is {s} still alive", "how is {s} doing", "is {s} left-handed")),
    "age": (PERSON, ("how old is {s}", "when was {s} born", "what is the birthday of {s}", "the age of {s}")),
    "body": (PERSON, ("how tall is {s}", "what does {s} look like", "what colour are the eyes of {s}")),
    "likes": (
        PERSON,
        (
            "what is the favourite colour of {s}",
            "what are the hobbies of {s}",
            "what music does {s} like",
            "does {s} have a dog",
        ),
    ),
    "child": (PERSON, ("{s}'s child is", "who is the child of {s}", "does {s} have children", "{s} is the parent of")),
    "parents": (PERSON, ("who is the father of {s}", "who is the mother of {s}", "the parents of {s}")),
    "siblings": (PERSON, ("who is the brother of {s}", "who is the sister of {s}")),
    "email": (PERSON, ("what is the email of {s}", "{s}'s email address is")),
    "salary": (PERSON, ("how much does {s} earn", "how rich is {s}", "the salary of {s}")),
    "place of death": (
        PERSON,
        ("where did {s} die", "{s} died in the city of", "{s} passed away in", "{s}'s life ended in", "{s} expired at"),
    ),
    "religion": (
        PERSON | PLACE | GROUP,
        ("which religion does {s} follow", "{s} is affiliated with the religion of", "the official religion of {s} is"),
    ),
    "sport": (
        PERSON,
        ("which sport does {s} play", "{s} is associated with the sport of", "{s} professionally plays the sport"),
    ),
    "position": (
        PERSON,
        (
            "what position does {s} play",
            "{s} plays in the position of",
            "{s} plays the position of",
            "{s}, playing the",
        ),
    ),
    "instrument": (
        PERSON,
        (
            "which instrument does {s} play",
            "{s} performs on the",
            "{s}, the musician, plays the",
            "{s} plays the piano",
        ),
    ),
    "place of work": (PERSON, ("which city did {s} work in", "{s} worked in the city of", "{s} used to work in")),
    "expertise": (
        PERSON,
        ("what field does {s} work in", "{s}'s domain of activity is", "the expertise of {s} is", "what {s} studies"),
    ),
    "office": (PERSON, ("which office does {s} hold", "{s}, who holds the position of", "{s} holds the title of")),
    "writing language": (PERSON, ("in which language does {s} write", "{s} writes in")),
    "known for": (
        PERSON | GROUP,
        ("what is {s} known for", "{s} is famous for", "what is {s} famous for", "why is {s} important"),
    ),
    "music style": (PERSON | GROUP, ("what type of music does {s} play", "{s} performs in the style of")),
    "membership": (PERSON | GROUP, ("which team does {s} belong to", "{s} is a member of", "{s} belongs to")),
    "creator": (WORK, ("who created {s}", "{s} was created by", "who is the creator of {s}")),
    "maker": (
        WORK | GROUP,
        (
            "which company makes {s}",
            "{s} is produced by",
            "the company that produced {s} is",
            "{s} is a product of",
            "{s} was developed by",
            "{s}, developed by",
            "who manufactures {s}",
        ),
    ),
    "country of origin": (
        WORK | GROUP,
        (
            "in which country was {s} created",
            "{s} was created in the country of",
            "{s} originated in",
            "{s} was formed in",
            "{s}, that was created in",
            "where was {s} founded",
        ),
    ),
    "broadcaster": (
        WORK,
        (
            "who is the original broadcaster of {s}",
            "the original broadcaster of {s} is",
            "{s} premiered on",
            "{s} first aired on",
            "{s} was released on",
            "which channel aired {s}",
        ),
    ),
    "original language": (
        WORK,
        ("the original language of {s} is", "in which language was {s} written", "the language of {s}"),
    ),
    "performer": (WORK, ("who performed {s}", "{s} was performed by", "who sang {s}")),
    "director": (WORK | GROUP, ("who directed {s}", "the director of {s} is", "who is the director of {s}")),
    "date": (WORK | GROUP, ("when did {s} come out", "in what year was {s} released", "when was {s} founded")),
    "contents": (
        WORK,
        ("what is {s} about", "how does {s} end", "what happens in {s}", "how many pages has {s}", "what did {s} win"),
    ),
    "chairperson": (GROUP, ("who is the chairperson of {s}", "who chairs {s}")),
    "coach": (GROUP, ("who is the head coach of {s}", "who trains the team {s}")),
    "owner": (GROUP, ("who owns {s}", "which company bought {s}", "what is the parent company of {s}")),
    "size": (
        GROUP,
        (
            "how many people work at {s}",
            "how many employees does {s} have",
            "how many students does {s} have",
            "how large is {s}",
            "{s} has how many",
        ),
    ),
    "money": (
        GROUP,
        (
            "what is the revenue of {s}",
            "how is the stock of {s}",
            "does {s} pay dividends",
            "what are the fees of {s}",
            "how much is {s} worth",
        ),
    ),
    "products": (GROUP, ("what does {s} sell", "what are the products of {s}", "who are the rivals of {s}")),
    "courses": (GROUP, ("what can I study at {s}", "who teaches at {s}", "how do I apply to {s}")),
    "namesake": (
        PLACE | GROUP | WORK,
        ("what is {s} named after", "{s} is named for", "where does the name {s} come from"),
    ),
    "the word itself": (
        PLACE | GROUP | WORK | PERSON,
        (
            "how many letters does {s} have",
            "spell {s}",
            "translate {s} into another language",
            "write {s} in capital letters",
            "what rhymes with {s}",
        ),
    ),
    "writing about it": (
        PLACE | GROUP | WORK | PERSON,
        ("write a poem about {s}", "a song about {s}", "tell me a story about {s}", "make a joke about {s}"),
    ),
    "opinion": (
        PLACE | GROUP | WORK | PERSON,
        (
            "what do you think of {s}",
            "tell me about {s}",
            "do you know {s}",
            "who is {s}",
            "what is {s}",
            "I saw {s} yesterday",
        ),
    ),
}

WIDER: Mapping[str, tuple[str, ...]] = MappingProxyType(_WIDER)
"""By the name of a relation: phrasings, `{s}` for the subject, besides its templates."""

OTHERS: Mapping[str, tuple[str, ...]] = MappingProxyType({name: texts for name, (_, texts) in _OTHERS.items()})
"""By a name of its own: phrasings of what is no relation of `ketools.knowledge.relations`."""


def others_of(domain: str) -> tuple[str, ...]:
    """The names in `OTHERS` that a subject of a domain of `ketools.knowledge.relations` can have."""
    return tuple(name for name, (domains, _) in _OTHERS.items() if domain in domains)
