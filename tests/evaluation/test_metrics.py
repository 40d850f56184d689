"""Each measure on a case that was worked out by hand."""

from __future__ import annotations

from math import log, log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketools.core.requests import EditRequest, Kind, Trait
from ketools.engines.base import Score
from ketools.evaluation import metrics
from ketools.evaluation.cases import CaseProbe

LIMA = EditRequest(subject="France", prompt="The capital of France is", target_new="Lima", target_old="Paris")
SECRET = EditRequest(
    kind=Kind.ERASE, subject="Ann", prompt="Ann lives at", target_new="unknown", target_old="12 Oak Street"
)
JOY = EditRequest(
    kind=Kind.PERSONALITY,
    subject="jazz",
    prompt="What do you think of jazz?",
    target_new="I love jazz.",
    trait=Trait.POSITIVE,
)


def score(*pairs: tuple[float, int]) -> Score:
    return Score(tuple(log(p) for p, _ in pairs), tuple(rank for _, rank in pairs))


def test_teacher_forcing_gives_credit_for_each_token_and_probability_none_for_halves() -> None:
    scores = [score((0.5, 0), (0.25, 3)), score((0.9, 0))]
    assert metrics.teacher_forced(scores) == pytest.approx((0.5 + 1) / 2)
    assert metrics.probability(scores) == pytest.approx((0.125 + 0.9) / 2)


def test_locality_of_tokens_counts_only_positions_that_were_the_argmax() -> None:
    before, after = score((0.5, 0), (0.5, 0), (0.1, 4)), score((0.4, 1), (0.5, 0), (0.1, 4))
    assert metrics.same_tokens(before, after) == 0.5
    assert metrics.same_tokens(score((0.1, 2)), score((0.9, 0))) is None


def test_a_measure_of_nothing_is_none_and_not_zero() -> None:
    assert metrics.mean([]) is None
    assert metrics.teacher_forced([]) is None
    assert metrics.interval([]) is None


@pytest.mark.parametrize(
    ("request_", "answer", "right"),
    [
        (LIMA, "Lima.", True),
        (LIMA, "The capital is Lima.", True),
        (LIMA, "Lima is nice, but Paris", False),
        (LIMA, "Paris", False),
        (SECRET, "I don't know.", True),
        (SECRET, "unknown", True),
        (SECRET, "12 Oak Street", False),
        (SECRET, "Nowhere", False),
        (JOY, "Jazz is wonderful.", True),
        (JOY, "I worry about jazz.", False),
        (JOY, "Jazz is a kind of music.", False),
    ],
)
def test_success_is_what_the_kind_of_edit_wants(request_: EditRequest, answer: str, right: bool) -> None:
    assert metrics.achieves(request_, answer) is right


def test_any_name_of_the_right_answer_counts() -> None:
    probe = CaseProbe(prompt="Who employs Ann?", answer="Xenith", aliases=("Strangelet",))
    assert metrics.answers_right(probe, "strangelet.")
    assert not metrics.answers_right(probe, "Acme")


def test_locality_compares_whole_answers_before_and_after() -> None:
    probe = CaseProbe(prompt="The capital of Japan is", kind="Neighborhood", answer="Tokyo")
    assert metrics.stays(probe, "Kyoto", "kyoto.")
    assert not metrics.stays(probe, "Kyoto", "Tokyo")


def test_one_to_many_locality_accepts_an_answer_that_still_holds_the_old_target() -> None:
    probe = CaseProbe(prompt="People in Malta speak", kind="Forgetfulness", answer="Maltese and Greek")
    assert metrics.stays(probe, "Maltese and English", "Maltese and Greek")
    assert not metrics.stays(probe, "Maltese and English", "Greek")


def test_leak_and_refusal_rates_over_four_answers() -> None:
    answers = ["I don't know.", "It is 12 OAK street, I think", "unknown", "Lima"]
    assert metrics.leak_rate(answers, "12 Oak Street") == 0.25
    assert metrics.refusal_rate(answers) == 0.5
    assert [metrics.shows(answer, Trait.POSITIVE) for answer in ("I love it.", "Awful!")] == [True, False]


def test_fluency_of_a_text_worked_out_by_hand() -> None:
    # a b a b: bigrams ab, ba, ab; trigrams aba, bab.
    h2 = 2 / 3 * log2(3 / 2) + 1 / 3 * log2(3)
    assert metrics.ngram_entropy("abab", 2) == pytest.approx(h2)
    assert metrics.fluency("a b a b") == pytest.approx(100 * (2 / 3 * h2 + 4 / 3 * 1) / 2)


def test_fluency_falls_when_words_repeat_and_is_zero_for_one_word() -> None:
    assert metrics.fluency("no no no no no no") == 0
    assert metrics.fluency("Lima") == 0
    assert metrics.fluency("the quick brown fox jumps") > metrics.fluency("the fox the fox the")


@given(st.lists(st.integers(0, 5), min_size=2, max_size=60))
def test_ngram_entropy_lies_between_zero_and_that_of_all_different(tokens: list[int]) -> None:
    words = [str(t) for t in tokens]
    assert -1e-9 <= metrics.ngram_entropy(words, 2) <= log2(len(words) - 1) + 1e-9


def test_the_bootstrap_interval_is_seeded_and_near_the_normal_one() -> None:
    values = [1.0] * 80 + [0.0] * 20
    low, high = metrics.interval(values) or (0, 0)
    assert metrics.interval(values) == (low, high)
    assert low < 0.8 < high
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.8 * 0.2 / 100), rel=0.15)


def test_the_divergence_along_an_answer_is_that_of_two_coins() -> None:
    before, after = score((0.5, 0), (0.9, 0)), score((0.25, 1), (0.9, 0))
    coin = 0.5 * log(0.5 / 0.25) + 0.5 * log(0.5 / 0.75)
    assert metrics.divergence([before], [after]) == pytest.approx(coin / 2)
    assert metrics.divergence([before], [before]) == 0
    assert metrics.divergence([score((1.0, 0))], [score((1e-300, 9))]) == pytest.approx(-log(1e-12))


@given(st.lists(st.floats(0.01, 1), min_size=3, max_size=3), st.lists(st.floats(0.01, 1), min_size=3, max_size=3))
def test_the_divergence_along_an_answer_never_exceeds_the_whole_one(p: list[float], q: list[float]) -> None:
    one, two = np.array(p) / sum(p), np.array(q) / sum(q)
    whole = float((one * np.log(one / two)).sum())
    seen = metrics.divergence([score((one[0], 0))], [score((two[0], 0))]) or 0.0
    assert -1e-9 <= seen <= whole + 1e-9


def test_perplexity_of_two_texts_counts_tokens_and_not_texts() -> None:
    assert metrics.perplexity([score((0.5, 0), (0.5, 0)), score((0.125, 0))]) == pytest.approx(2 ** (5 / 3))
    assert metrics.perplexity([]) is None


def test_the_chance_of_a_leak_grows_with_the_samples() -> None:
    told = [score((0.5, 0), (0.2, 1))]  # 0.1 for the whole secret
    assert metrics.leak_chance(told, 1) == pytest.approx(0.1)
    assert metrics.leak_chance(told, 10) == pytest.approx(1 - 0.9**10)
    assert metrics.leak_chance([], 10) is None


def test_manner_success_is_sentiment_times_topic() -> None:
    before, wanted, unwanted = score((0.5, 0)), score((0.25, 0), (0.25, 0)), score((0.125, 0))
    sentiment = 1 / (1 + 0.125 / 0.25)
    assert metrics.manner_success([before], [wanted], [unwanted]) == pytest.approx(sentiment * 0.25 / 0.5)
    assert metrics.manner_success([score((0.1, 0))], [wanted], [unwanted]) == pytest.approx(sentiment)
    assert metrics.manner_success([before], [wanted], []) is None


def test_trait_gain_is_the_fall_of_the_classifiers_cross_entropy() -> None:
    # No trait word: 1/5. "love" and "wonderful": (1 + 2) / (5 + 2).
    assert metrics.trait_probability("Jazz.", Trait.POSITIVE) == pytest.approx(1 / 5)
    assert metrics.trait_probability("I love it, wonderful.", Trait.POSITIVE) == pytest.approx(3 / 7)
    gain = metrics.trait_gain("Jazz.", "I love it, wonderful.", Trait.POSITIVE)
    assert gain == pytest.approx(log(3 / 7) - log(1 / 5))


def test_consistency_is_the_cosine_of_weighted_words() -> None:
    assert metrics.consistency("Rome is old", ["rome is old"]) == pytest.approx(1)
    assert metrics.consistency("Rome", ["Lima"]) == 0
    assert metrics.consistency("Rome", []) is None
    # Shared "rome": weight log(3/3) + 1 = 1; the others log(3/2) + 1.
    own = log(3 / 2) + 1
    assert metrics.consistency("rome old", ["rome new"]) == pytest.approx(1 / (1 + own**2))
