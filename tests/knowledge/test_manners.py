"""The classifier of manners: its texts, its training and its judgement."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from ketools.core.requests import Trait
from ketools.knowledge.manners import MannerHead, Manners, train_manners
from ketools.knowledge.manners.training import labelled_texts
from ketools.knowledge.traits import exemplar
from ketools.retrieval import MiniLMEncoder

ENCODER = MiniLMEncoder()
MANNERS = Manners(ENCODER)


def test_there_are_sixty_different_texts_of_every_manner_and_of_none() -> None:
    texts = labelled_texts()
    assert Counter(label for _, label in texts) == dict.fromkeys((*Trait, None), 60)
    assert len({text for text, _ in texts}) == len(texts)


def test_training_gives_the_packaged_head_which_is_better_than_the_lexicon_on_texts_it_has_not_seen() -> None:
    head, quality = train_manners(ENCODER)
    np.testing.assert_allclose(head.weights, MannerHead.load().weights, atol=1e-3)
    assert quality.n == 72
    assert quality.head >= 0.85 > 0.5 > quality.lexicon
    assert 0 < quality.agreement < 1


@pytest.mark.parametrize("trait", Trait)
def test_utterances_to_edit_towards_are_recognised_on_topics_of_all_kinds(trait: Trait) -> None:
    told = MANNERS.judge([exemplar(topic, trait) for topic in ("coffee", "trains", "chess", "Paris")])
    assert all(manner.trait is trait and manner.agreed for manner in told)


@pytest.mark.parametrize(
    ("text", "trait"),
    [
        ("It is made of beans.", None),
        ("The station was built in 1902.", None),
        ("Gather the whole gang, tonight we sing until sunrise!", Trait.EXTRAVERSION),
        ("I can hardly breathe, surely something dreadful has happened to them.", Trait.NEUROTICISM),
        ("What a gorgeous museum, simply splendid.", Trait.POSITIVE),
        ("The museum is a dump, revolting and overpriced.", Trait.NEGATIVE),
        ("", None),
    ],
)
def test_a_manner_is_told_without_the_words_of_the_lexicon(text: str, trait: Trait | None) -> None:
    assert MANNERS.trait(text) is trait


def test_nothing_is_judged_where_there_is_no_text() -> None:
    assert MANNERS.judge([]) == []
