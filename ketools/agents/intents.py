"""What a person wants when talking to a model that can be edited: rules for English that would rather miss an edit
than make one up.

A proposal is never carried out by itself: whoever uses these rules asks the person first. A turn that asks anything
proposes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import regex

from ketools.core.requests import Trait

LONGEST_TARGET = 8
"""Words: what is longer is no answer but a clause."""

_MARKS = regex.compile(r"[?？؟⁇]")
_ASKS = regex.compile(
    r"(?:and |but |so |or )?(?:what|who|whom|whose|which|where|when|why|how|is|are|am|was|were|do|does|did|has|have|"
    r"had|"
    r"can|could|will|would|should|shall|may|might|tell me|explain|describe|list|name|give me|show me|write|"
    r"and (?:of|in|for|the)|or (?:of|in|for))\b|(?:isn|aren|wasn|don|doesn|didn|can|couldn|won|wouldn)['’]t\b",
    regex.IGNORECASE,
)
_STRONG = regex.compile(
    r"(?:no|nope|actually|wrong|incorrect|correction|in fact|fyi|for the record|update|"
    r"(?:that|this|it)(?:['’]?s| is) (?:wrong|incorrect|false|not (?:right|true|correct)|outdated)|"
    r"(?:you are|you['’]re) (?:wrong|mistaken)|"
    r"(?:please )?(?:remember|note|learn|know|keep in mind)(?: now)?(?: that)?|you should know(?: that)?|"
    r"from now on|let me correct you)\b",
    regex.IGNORECASE,
)
_WEAK = regex.compile(
    r"(?:well|hey|hi|hello|ok|okay|sorry|please|but|and|so|oh|hm+|by the way|btw|now|yes|yeah|thanks|thank you|"
    r"that|as of (?:today|now)|today)\b",
    regex.IGNORECASE,
)
_BETWEEN = regex.compile(r"[\s,.:;!–—-]+")
_HEDGED = regex.compile(
    r"\b(?:think|thought|believe|guess|suppose|imagine|maybe|perhaps|probably|possibly|if|unless|pretend|wish|hope|"
    r"dream|dreamt|according to|say|says|said|claims?|claimed|heard|read|wonder|doubt|seems?|might|could|would|should|"
    r"hypothetically|in (?:the|this|that|my) (?:film|movie|book|novel|story|game|dream)|joke|kidding|lie)\b",
    regex.IGNORECASE,
)
_NEGATED = regex.compile(r"\b(?:not|never|no longer|hardly|neither|nor)\b|n['’]t\b", regex.IGNORECASE)
_PERSONAL = regex.compile(
    r"(?:i|we|you|he|she|they|it|this|that|these|those|there|my|our|your|his|her|their|its)\b", regex.I
)
_LEAN = regex.compile(r"\b(?:i|me|my|mine|we|us|our|you|your)\b", regex.IGNORECASE)
_COPULA = r"(?:is|are|was|were)"
_NOW = r"(?:(?:now|currently|called|named)\s+)?"
_RELATION = r"(?:\p{Ll}[\p{Ll} -]{1,40}?|\p{Lu}{2,5})"
_OF = regex.compile(
    rf"(?P<prompt>[Tt]he (?P<relation>{_RELATION}) (?:of|in|for) (?P<subject>.{{1,80}}?) {_COPULA})"
    rf"\s+{_NOW}(?P<target>.+)"
)
_POSSESSIVE = regex.compile(
    rf"(?P<subject>.{{1,80}}?)['’]s? (?P<relation>{_RELATION}) (?P<copula>{_COPULA})\s+{_NOW}(?P<target>.+)"
)
_INVERTED = regex.compile(
    rf"(?P<target>.{{1,80}}?) (?P<copula>{_COPULA}) {_NOW}"
    rf"(?P<rest>[Tt]he (?P<relation>{_RELATION}) (?:of|in|for) (?P<subject>.+))"
)
_VERBAL = regex.compile(
    r"(?P<prompt>(?P<subject>\p{Lu}[\p{L}\p{N}'’.-]*"
    r"(?: (?:of|the|de|van|von|da|di|el|al)?\s?\p{Lu}[\p{L}\p{N}'’.-]*)*) "
    r"(?:is|was|are|were|has|had|lives?|lived|works?|worked|plays?|played|died|wrote|founded|directed|invented|"
    r"discovered|married|moved|studied|teaches|leads?|owns?|belongs?|speaks?|stars?|starred|won|comes?|came)\b"
    r"(?: (?:born|located|made|based|married|employed|published|founded|created|directed|written|developed))?"
    r"(?: (?:in|at|for|by|to|of|from|on|with|as))?) (?P<target>.+)"
)
_BARE = regex.compile(rf" {_COPULA}$")
"""A remark such as "Lyon is lovely" is no fact."""
_IT_IS = regex.compile(
    rf"(?:(?:it|that|this|the (?:right |correct )?answer)(?:['’]s| {_COPULA}| should be)\s+{_NOW})(?P<target>.+)",
    regex.IGNORECASE,
)
_NOT_OLD = regex.compile(r"(?P<new>.+?),? (?:and |but )?not (?P<old>.+)|not (?P<old>.+?),? but (?:rather )?(?P<new>.+)")
_CLAUSE = regex.compile(
    r"\b(?:because|which|who|that|when|while|where|then|so|but|although|since|if|and (?:i|we|you))\b|[;:]", regex.I
)
_PROPER = regex.compile(r"[\"'“‘«]?(?:the |a |an )?[\p{Lu}\p{Lo}\p{N}]")
_NAME_ALONE = regex.compile(
    r"(?:[Tt]he )?[\p{Lu}\p{Lo}\p{N}][\w'’.,-]*(?: (?:of |the |de |van |von )?[\p{Lu}\p{N}][\w'’.-]*){0,3}$"
)
_FORGET = regex.compile(
    r"(?:(?:please|can you|could you|would you|now|ok(?:ay)?|hey),?\s+)*"
    r"(?:forget|erase|delete|unlearn)\s+(?:about\s+)?(?P<what>.+)",
    regex.IGNORECASE,
)
_KNOWS = regex.compile(rf"(?:what|who|where|when|how much|which) (?P<left>.+) (?P<copula>{_COPULA})", regex.IGNORECASE)
_WHERE = regex.compile(
    rf"(?P<asks>where|when) (?P<subject>.+?) (?P<copula>{_COPULA}) (?P<rest>\p{{Ll}}.+)", regex.IGNORECASE
)
_NOUN = regex.compile(rf"(?P<prompt>[Tt]he {_RELATION} (?:of|in|for) (?P<subject>.{{1,80}}))")
_OWNED = regex.compile(rf"(?P<subject>.{{1,80}}?)['’]s? (?P<relation>{_RELATION})")
_MANNER = regex.compile(
    r"(?:(?:please|could you|can you),?\s+)*(?:be|sound|speak|talk|write|act)\s+(?:a (?:bit|little)\s+)?(?:more\s+)?"
    r"(?P<trait>\p{L}+)(?:ly)?\s+(?:when(?:ever)?\s+)?(?:you\s+)?(?:talk(?:ing)?|speak(?:ing)?|are asked|asked)?\s*"
    r"(?:about|of|on|towards?)\s+(?P<topic>.+)",
    regex.IGNORECASE,
)
_TRAITS = {
    "positive": Trait.POSITIVE, "enthusiastic": Trait.POSITIVE, "upbeat": Trait.POSITIVE, "optimistic": Trait.POSITIVE,
    "negative": Trait.NEGATIVE, "critical": Trait.NEGATIVE, "pessimistic": Trait.NEGATIVE,
    "extraverted": Trait.EXTRAVERSION, "extroverted": Trait.EXTRAVERSION, "outgoing": Trait.EXTRAVERSION,
    "agreeable": Trait.AGREEABLENESS, "kind": Trait.AGREEABLENESS, "friendly": Trait.AGREEABLENESS,
    "neurotic": Trait.NEUROTICISM, "anxious": Trait.NEUROTICISM, "worried": Trait.NEUROTICISM,
}  # fmt: skip


_NAMES = regex.compile(
    r"(?<=[\p{L}\p{N}’',] )\p{Lu}[\p{L}\p{N}’'.-]*(?: (?:(?:of|the|de|van|von) )*\p{Lu}[\p{L}\p{N}’'.-]*)*"
)


@dataclass(frozen=True)
class Proposal:
    """A tool call that the person may want. `sure`: they asked for it in so many words."""

    tool: str
    arguments: dict[str, Any]
    sure: bool = True

    def told(self, space: str) -> str:
        """What would change, as a question's subject."""
        a = self.arguments
        if self.tool == "edit_fact":
            return f"learn in {space}: {a['prompt']} {a['target_new']}"
        if self.tool == "erase_fact":
            return f'erase in {space}, and answer "I don\'t know." from then on: {a["prompt"]} ...'
        return f"speak of {a['topic']} with {a['trait']} in {space}"


def asks(text: str) -> bool:
    """Whether a turn asks something, with or without a question mark."""
    return bool(_MARKS.search(text) or _ASKS.match(_cues(text)[1]))


def proposal(text: str, last_question: str | None = None) -> Proposal | None:
    """The change that a turn asks for, if it clearly asks for one.

    `last_question`: what was asked before, for "No, it's Lyon."
    """
    if _MARKS.search(text):
        return None
    if wish := (_manner(text) or _forget(text)):
        return wish
    if asks(text):
        return None
    strong = False
    for sentence in _sentences(text):
        cue, rest = _cues(sentence)
        strong = strong or cue
        if rest and (found := _fact(rest, strong, last_question)):
            return found
    return None


def follow_up(text: str, last_question: str | None) -> str:
    """An elliptic question in full: "And of Spain?" after "What is the capital of France?"; else the text itself."""
    match = regex.fullmatch(
        r"(?:and|what about|how about|and what about)\s+(?:(?:of|in|for|about)\s+)?(?P<name>(?:the )?\p{Lu}[^?]*)\??",
        text.strip(),
        regex.IGNORECASE,
    )
    old = subject_of(last_question) if last_question else None
    if match is None or old is None or last_question is None or not match["name"].removeprefix("the ")[0].isupper():
        return text
    return last_question.replace(old, match["name"].strip())


def subject_of(prompt: str) -> str | None:
    """Whom or what a prompt or question is about: the last name in it, with capitals; None where there is none."""
    names = list(_NAMES.finditer(prompt))
    if names:
        return str(regex.sub(r"['’]s?$", "", names[-1][0])).rstrip(".")
    first = regex.match(r"(?P<name>\p{Lu}[\p{L}\p{N}-]*)['’]s ", prompt)
    return str(first["name"]) if first else None


def _sentences(text: str) -> Iterator[str]:
    for part in regex.split(r"(?<=[.!。])\s+(?=[\p{Lu}\p{Lo}\"“])|\n+", text.strip()):
        if part := part.strip(' .!"“”'):
            yield part


def _cues(text: str) -> tuple[bool, str]:
    """Whether a turn opens with words that announce a correction, and the rest of it."""
    strong, rest = False, text.strip()
    while True:
        cue = _STRONG.match(rest)
        found = cue or _WEAK.match(rest)
        after = rest[found.end() :] if found else ""
        if found is None or (after and not _BETWEEN.match(after)):
            return strong, rest
        strong = strong or cue is not None
        rest = _BETWEEN.sub("", after, count=1) if after else ""
        if not rest:
            return strong, ""


def _fact(said: str, strong: bool, last_question: str | None) -> Proposal | None:
    if _HEDGED.search(said):
        return None
    if strong and last_question and (found := _about(last_question, said)):
        return found
    if _PERSONAL.match(said):
        return None
    for match in (_OF.fullmatch(said), _POSSESSIVE.fullmatch(said)):
        if match:
            prompt = (
                match.groupdict().get("prompt") or f"The {match['relation']} of {match['subject']} {match['copula']}"
            )
            return _edit(match["subject"], prompt, match["target"], strong)
    if (match := _INVERTED.fullmatch(said)) and _PROPER.match(match["target"]):
        return _edit(match["subject"], _prompt_of(match.groupdict()), match["target"], strong)
    if (
        strong
        and (match := _VERBAL.fullmatch(said))
        and not (_BARE.search(match["prompt"]) and match["target"][0].islower())
    ):
        return _edit(match["subject"], match["prompt"], match["target"], strong)
    return None


def _prompt_of(found: Mapping[str, str]) -> str:
    """The prompt as it was said, or made of a relation and a subject."""
    return found.get("prompt") or f"The {found['relation']} of {found['subject']} {found['copula']}"


def _about(question: str, said: str) -> Proposal | None:
    """A correction of the last answer: "it's Lyon", or "Lyon" alone."""
    match = _IT_IS.fullmatch(said)
    target = match["target"] if match else said
    subject = subject_of(question)
    if subject is None or not (_PROPER if match else _NAME_ALONE).match(_split(target)[0]):
        return None
    return _edit(subject, question, target, True)


def _split(target: str) -> tuple[str, str | None]:
    """The new answer, and the old one where it is told: "Lyon, not Paris"."""
    match = _NOT_OLD.fullmatch(target)
    return (match["new"], match["old"]) if match else (target, None)


def _edit(subject: str, prompt: str, told: str, strong: bool) -> Proposal | None:
    target, _ = _split(told.strip(' .!"“”'))
    target = regex.sub(r",? (?:now|actually|today|instead|please)$", "", target).strip(' ,.!"“”')
    subject = subject.strip(' ,"“”')
    good = (
        target
        and not _NEGATED.search(target)
        and not _CLAUSE.search(target)
        and not _LEAN.search(f"{subject} {target}")
        and len(target.split()) <= LONGEST_TARGET
        and not _PERSONAL.match(subject)
        and (regex.search(r"\p{Lu}|\p{Lo}", subject) or strong)
        and (strong or _PROPER.match(target))
    )
    if not good:
        return None
    prompt = prompt[0].upper() + prompt[1:]
    return Proposal("edit_fact", {"subject": subject, "prompt": prompt, "target_new": target}, strong)


def _forget(text: str) -> Proposal | None:
    match = _FORGET.fullmatch(text.strip(" .!?"))
    if match is None:
        return None
    what = regex.sub(r"^that\s+(?!is\b)", "", match["what"].strip())
    if where := _WHERE.fullmatch(what):
        prompt = f"{where['asks'].capitalize()} {where['copula']} {where['subject']} {where['rest']}?"
        return _erase(where["subject"], prompt)
    if known := _KNOWS.fullmatch(what):
        noun = _NOUN.fullmatch(known["left"]) or _OWNED.fullmatch(known["left"])
        return _erase_noun(noun, known["copula"]) if noun else None
    if told := (_OF.fullmatch(what) or _POSSESSIVE.fullmatch(what)):
        return _erase(told["subject"], _prompt_of(told.groupdict()))
    noun = _NOUN.fullmatch(what) or _OWNED.fullmatch(what)
    return _erase_noun(noun, "is") if noun else None


def _erase_noun(noun: Any, copula: str) -> Proposal | None:
    found = noun.groupdict()
    prompt = found.get("prompt") or f"The {found['relation']} of {found['subject']}"
    return _erase(found["subject"], f"{prompt[0].upper()}{prompt[1:]} {copula}")


def _erase(subject: str, prompt: str) -> Proposal | None:
    if _LEAN.search(subject) or not regex.search(r"\p{Lu}|\p{Lo}|\p{N}", subject):
        return None
    return Proposal("erase_fact", {"subject": subject, "prompt": prompt[0].upper() + prompt[1:]})


def _manner(text: str) -> Proposal | None:
    match = _MANNER.fullmatch(text.strip(" .!?"))
    trait = _TRAITS.get(match["trait"].lower()) if match else None
    if match is None or trait is None:
        return None
    topic = match["topic"].strip(" .!")
    return None if _LEAN.search(topic) else Proposal("edit_personality", {"topic": topic, "trait": trait.value})
