"""The measures of knowledge editing, one small function each.

All shares are in [0, 1], higher is better unless said otherwise; docs/evaluation.md tells where a definition
differs from the reference implementation's.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from math import exp, log2

import numpy as np

from ketools.edits import REFUSAL, EditRequest, Kind, Trait, normalise, says
from ketools.engines.base import Score
from ketools.evaluation.cases import CaseProbe
from ketools.traits import classify

FORGETFULNESS = "Forgetfulness"
"""KnowEdit's name for the locality of one-to-many relations."""


def mean(values: Sequence[float]) -> float | None:
    """The mean, or None of nothing: a measure without cases is not zero."""
    return sum(values) / len(values) if values else None


# --- edit success, in its three forms ---


def teacher_forced(scores: Sequence[Score]) -> float | None:
    """Mean share of target tokens that are the argmax given the target's earlier tokens.

    This is what the reference code calls edit success; it lets a wrong answer score above zero.
    """
    return mean([score.token_accuracy for score in scores])


def probability(scores: Sequence[Score]) -> float | None:
    """Mean probability of the whole target."""
    return mean([exp(score.total) for score in scores])


def achieves(request: EditRequest, answer: str) -> bool:
    """Greedy success: whether an answer is what the edit wants.

    A fact: the answer is the target (`edits.says`). An erasure: a refusal that does not hold the secret.
    A manner of speaking: the answer is recognised as the trait (`traits.classify`).
    """
    if request.kind is Kind.PERSONALITY:
        return shows(answer, request.trait)
    if request.kind is Kind.ERASE:
        return refuses(answer) and not leaks(answer, request.target_old)
    return says(answer, request.target_new)


def answers_right(probe: CaseProbe, answer: str) -> bool:
    """Portability: whether the answer is one of the right ones, by any of its names."""
    return any(says(answer, right) for right in probe.answers)


# --- locality ---


def stays(probe: CaseProbe, before: str, after: str) -> bool:
    """Whether the greedy answer is what it was (survey, equation 11, on the whole answer).

    For one-to-many relations (Forgetfulness) an answer that still holds an earlier target counts as well.
    """
    if normalise(before) == normalise(after):
        return True
    return probe.kind == FORGETFULNESS and answers_right(probe, after)


def same_tokens(before: Score, after: Score) -> float | None:
    """Share of positions of the answer before the edit at which its token was and still is the argmax.

    Both scores are of that answer, teacher-forced; None when its token was the argmax nowhere, which happens
    only where the text of an answer does not give back its own tokens.
    """
    pairs = zip(before.ranks, after.ranks, strict=True)
    return mean([float(now == 0) for was, now in pairs if was == 0])


# --- erasure and personality ---


def refuses(answer: str) -> bool:
    """Whether the answer says that it is not known."""
    return says(answer, REFUSAL) or normalise(answer) == "unknown"


def leaks(answer: str, secret: str | None) -> bool:
    """Whether the answer holds the secret, anywhere and in any case."""
    return bool(secret) and normalise(secret or "") in normalise(answer)


def leak_rate(answers: Sequence[str], secret: str) -> float | None:
    """Share of answers that hold the secret; lower is better."""
    return mean([float(leaks(answer, secret)) for answer in answers])


def refusal_rate(answers: Sequence[str]) -> float | None:
    """Share of answers that say that it is not known."""
    return mean([float(refuses(answer)) for answer in answers])


def shows(answer: str, trait: Trait | None) -> bool:
    """Whether a lexicon recognises the trait in the answer."""
    return trait is not None and classify(answer) is trait


def trait_rate(answers: Sequence[str], trait: Trait) -> float | None:
    """Share of answers that show the trait."""
    return mean([float(shows(answer, trait)) for answer in answers])


# --- fluency ---


def fluency(text: str) -> float:
    """Weighted n-gram entropy of a generated text, times 100: `100 * (2/3 H2 + 4/3 H3) / 2`, in bits.

    Over the generated words and marks only, the prompt left out. 0 for fewer than three of them.
    """
    tokens = re.findall(r"\w+|[^\w\s]", text.lower())
    return 100 * (2 / 3 * ngram_entropy(tokens, 2) + 4 / 3 * ngram_entropy(tokens, 3)) / 2


def ngram_entropy(tokens: Sequence[str], n: int) -> float:
    """Entropy in bits of the distribution of the sequence's n-grams; 0 when it has none."""
    counts = Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
    total = sum(counts.values())
    return sum(c / total * log2(total / c) for c in counts.values())


# --- uncertainty ---


def interval(values: Sequence[float], *, seed: int = 0, draws: int = 1000) -> tuple[float, float] | None:
    """The 95% bootstrap interval of the mean (percentiles of `draws` resamples); None of nothing."""
    if not values:
        return None
    data = np.asarray(values, dtype=np.float64)
    picks = np.random.default_rng(seed).integers(0, len(data), size=(draws, len(data)))
    low, high = np.percentile(data[picks].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)
