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
    text = EXEMPLARS[trait].format(topic=topic)
    return text[0].upper() + text[1:]


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
