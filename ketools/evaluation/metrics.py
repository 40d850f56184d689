"""The measures of knowledge editing, one small function each.

All shares are in [0, 1], higher is better unless said otherwise; docs/evaluation.md tells where a definition
differs from the reference implementation's.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from math import exp, log, log2

import numpy as np

from ketools.core.requests import EditRequest, Kind, Trait
from ketools.core.text import normalise
from ketools.engines.base import Score
from ketools.evaluation.cases import CaseProbe
from ketools.knowledge.matching import mentions, refuses, says
from ketools.knowledge.traits import LEXICON, classify

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

    A fact: the answer states the target (`matching.says`) and not the old answer. An erasure: a refusal that does
    not hold the secret.
    A manner of speaking: the answer is recognised as the trait (`traits.classify`).
    """
    if request.kind is Kind.PERSONALITY:
        return shows(answer, request.trait)
    if request.kind is Kind.ERASE:
        return refuses(answer) and not leaks(answer, request.target_old)
    return says(answer, request.target_new, old=request.target_old)


def answers_right(probe: CaseProbe, answer: str) -> bool:
    """Portability: whether the answer is one of the right ones, by any of its names."""
    first, *others = probe.answers or ("",)
    return says(answer, first, aliases=others)


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


def divergence(before: Sequence[Score], after: Sequence[Score]) -> float | None:
    """Mean over tokens of the KL divergence (nats) that can be seen along the answers before the edit; lower is better.

    At each position the next token either is that of the earlier answer or is not, so this is the divergence of two
    coins: 0 exactly when the probability is unchanged, and never above the divergence over the whole vocabulary
    (data processing inequality). It needs no more than every engine tells.
    """
    pairs = [
        pair for was, now in zip(before, after, strict=True) for pair in zip(was.logprobs, now.logprobs, strict=True)
    ]
    return mean([_coins(exp(min(was, 0.0)), exp(min(now, 0.0))) for was, now in pairs])


_LEAST = 1e-12
"""A probability that rounds to 0 or 1 is taken to be this far from it, so that divergences stay finite."""


def _coins(p: float, q: float) -> float:
    p, q = (min(max(x, _LEAST), 1 - _LEAST) for x in (p, q))
    return max(p * log(p / q) + (1 - p) * log((1 - p) / (1 - q)), 0.0)


def perplexity(scores: Sequence[Score]) -> float | None:
    """`exp` of the mean negative log probability per token of texts; lower is better."""
    logprobs = [value for score in scores for value in score.logprobs]
    return exp(-sum(logprobs) / len(logprobs)) if logprobs else None


# --- erasure ---


def leaks(answer: str, secret: str | None) -> bool:
    """Whether the answer holds the secret, anywhere and in any spelling."""
    return bool(secret) and (normalise(secret or "") in normalise(answer) or mentions(answer, secret or ""))


def leak_rate(answers: Sequence[str], secret: str) -> float | None:
    """Share of answers that hold the secret; lower is better."""
    return mean([float(leaks(answer, secret)) for answer in answers])


def refusal_rate(answers: Sequence[str]) -> float | None:
    """Share of answers that say that it is not known."""
    return mean([float(refuses(answer)) for answer in answers])


def leak_chance(scores: Sequence[Score], draws: int) -> float | None:
    """Mean chance that at least one of `draws` answers sampled at temperature 1 begins with the secret.

    `scores` are of the secret after each phrasing; the chance is exact, so nothing needs to be sampled.
    """
    return mean([1 - (1 - min(exp(score.total), 1.0)) ** draws for score in scores])


# --- manners of speaking ---


def manner_success(before: Sequence[Score], wanted: Sequence[Score], unwanted: Sequence[Score]) -> float | None:
    """`z_sentiment * z_topic` of ConvSent and PersonalityEdit's ES (SERAC, arXiv:2206.06520, section 5.1).

    `wanted` and `unwanted` are scores under the edit of utterances in the wanted manner and in others, `before`
    those of the wanted ones without it. `z_sentiment = sigmoid(l(wanted) - l(unwanted))` and
    `z_topic = min(1, exp(l(wanted) - l(before)))` with l the mean log probability per token: the second factor
    punishes a model that has become worse at saying what is wanted.
    """
    means = [_per_token(scores) for scores in (before, wanted, unwanted)]
    old, new, other = means
    if old is None or new is None or other is None:
        return None
    return exp(min(0.0, new - old)) / (1 + exp(min(other - new, 700.0)))


def _per_token(scores: Sequence[Score]) -> float | None:
    return mean([score.total / len(score.logprobs) for score in scores if score.logprobs])


def trait_probability(answer: str, trait: Trait) -> float:
    """How probable the lexicon finds a trait: its words among all traits' words, one added to each count."""
    words = re.findall(r"[a-z']+", answer.lower())
    counts = {other: 1 + sum(word in LEXICON[other] for word in words) for other in LEXICON}
    return counts[trait] / sum(counts.values())


def trait_gain(before: str, after: str, trait: Trait) -> float:
    """TPEI of PersonalityEdit: by how much the classifier's cross-entropy (nats) falls; higher is better."""
    return log(trait_probability(after, trait)) - log(trait_probability(before, trait))


def shows(answer: str, trait: Trait | None) -> bool:
    """Whether a lexicon recognises the trait in the answer."""
    return trait is not None and classify(answer) is trait


# --- fluency ---


def fluency(text: str) -> float:
    """Weighted n-gram entropy of a generated text, times 100: `100 * (2/3 H2 + 4/3 H3) / 2`, in bits.

    Over the generated words and marks only, the prompt left out. 0 for fewer than three of them.
    """
    tokens = tokens_of(text)
    return 100 * (2 / 3 * ngram_entropy(tokens, 2) + 4 / 3 * ngram_entropy(tokens, 3)) / 2


def tokens_of(text: str) -> list[str]:
    """The words and marks of a text, in lower case."""
    return re.findall(r"\w+|[^\w\s]", text.lower())


def consistency(text: str, references: Sequence[str]) -> float | None:
    """Cosine of a text and its references as TF-IDF vectors (ROME, appendix); in [0, 1], None without references.

    The references count as one text. Document frequencies are those of the references and the text, smoothed:
    `log((1 + N) / (1 + df)) + 1`.
    """
    if not references:
        return None
    documents = [Counter(tokens_of(document)) for document in (text, *references)]
    seen = Counter(token for document in documents for token in document)
    weights = {token: log((1 + len(documents)) / (1 + n)) + 1 for token, n in seen.items()}
    one, other = documents[0], sum(documents[1:], Counter())
    dot = sum(one[t] * other[t] * weights[t] ** 2 for t in one)
    norms = [sum((n * weights[t]) ** 2 for t, n in counts.items()) ** 0.5 for counts in (one, other)]
    return dot / (norms[0] * norms[1]) if all(norms) else 0.0


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
