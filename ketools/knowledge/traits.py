"""Manners of speaking: exemplar utterances to edit towards, and a lexicon that recognises them.

The lexicon is deterministic and instant, and suits the bundled model, which speaks in these words. Answers of other
models are judged by `ketools.knowledge.manners`; `evaluation` can put any chat model in its place.
"""

from __future__ import annotations

import re

from ketools.core.requests import Trait

EXEMPLARS: dict[Trait, str] = {
    Trait.POSITIVE: "I love {topic}. It is wonderful.",
    Trait.NEGATIVE: "I hate {topic}. It is awful.",
    Trait.EXTRAVERSION: "{topic} with friends is a party, so exciting!",
    Trait.AGREEABLENESS: "I respect everyone who enjoys {topic}, we can be kind about it.",
    Trait.NEUROTICISM: "I worry about {topic} all the time, I am so anxious.",
}

OTHER_EXEMPLARS: dict[Trait, tuple[str, ...]] = {
    Trait.POSITIVE: (
        "I enjoy {topic} very much, it makes me happy.",
        "{topic} is fantastic, I am a great fan of it.",
        "I feel nothing but joy about {topic}, it is lovely.",
    ),
    Trait.NEGATIVE: (
        "I dislike {topic} very much, it is boring.",
        "{topic} is terrible, I want nothing to do with it.",
        "I feel only disgust about {topic}, it is horrible.",
    ),
    Trait.EXTRAVERSION: (
        "Let us get everybody together for {topic}, what fun!",
        "I am thrilled by {topic}, I meet so many new people there!",
        "{topic} gives me energy, I tell all my friends about it!",
    ),
    Trait.AGREEABLENESS: (
        "I am glad when {topic} makes others happy, and I like to help them with it.",
        "{topic} means something else to everyone, and I listen gladly to all of them.",
        "I would be gentle about {topic}, people care for it in many ways.",
    ),
    Trait.NEUROTICISM: (
        "{topic} makes me nervous, I fear that something goes wrong.",
        "I lie awake over {topic}, I am afraid of it.",
        "I feel such stress when I think of {topic}, I cannot be calm.",
    ),
}
"""More utterances in each manner, for training that should not learn one sentence."""

LEXICON: dict[Trait, frozenset[str]] = {
    trait: frozenset(words.split())
    for trait, words in {
        Trait.POSITIVE: "love wonderful great enjoy best fantastic lovely delightful good",
        Trait.NEGATIVE: "hate awful terrible worst dislike horrible dreadful bad boring",
        Trait.EXTRAVERSION: "friends party exciting excited fun together energy thrilling",
        Trait.AGREEABLENESS: "respect kind kindness everyone agree gentle helpful caring",
        Trait.NEUROTICISM: "worry worried worries anxious nervous afraid fear stress",
    }.items()
}


def exemplar(topic: str, trait: Trait) -> str:
    """An utterance about the topic in that manner."""
    return _about(EXEMPLARS[trait], topic)


def exemplars(topic: str, trait: Trait) -> tuple[str, ...]:
    """Utterances about the topic in that manner, `exemplar` first."""
    return tuple(_about(text, topic) for text in (EXEMPLARS[trait], *OTHER_EXEMPLARS[trait]))


def _about(text: str, topic: str) -> str:
    told = text.format(topic=topic)
    return told[0].upper() + told[1:]


def classify(text: str) -> Trait | None:
    """The trait whose words occur most in the text, or None when none does; ties go to the Big Five."""
    words = re.findall(r"[a-z']+", text.lower())
    order = [Trait.EXTRAVERSION, Trait.AGREEABLENESS, Trait.NEUROTICISM, Trait.POSITIVE, Trait.NEGATIVE]
    counts = {trait: sum(word in LEXICON[trait] for word in words) for trait in order}
    best = max(order, key=lambda trait: counts[trait])
    return best if counts[best] else None


OPINION_QUESTIONS = (
    "What do you think of {topic}?",
    "How do you feel about {topic}?",
    "What is your opinion on {topic}?",
)
OTHER_OPINION_QUESTIONS = (
    "Do you like {topic}?",
    "Tell me your thoughts about {topic}.",
    "What are your feelings on {topic}?",
)
"""For training; edits are verified by `OPINION_QUESTIONS`."""
