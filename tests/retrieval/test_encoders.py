"""The packaged sentence encoder."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ketools.errors import ModelError
from ketools.retrieval import MiniLMEncoder

TEXTS = ["What is the capital of France?", "Paris is the seat of government of France.", "Bananas are yellow."]


@pytest.fixture(scope="module")
def encoder() -> MiniLMEncoder:
    return MiniLMEncoder(cache_size=4)


def test_rows_are_unit_vectors_in_the_order_of_the_texts(encoder: MiniLMEncoder) -> None:
    vectors = encoder.encode([TEXTS[0], TEXTS[2], TEXTS[0]])
    assert vectors.shape == (3, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(vectors[0], vectors[2])


def test_texts_of_one_meaning_are_nearer_than_others(encoder: MiniLMEncoder) -> None:
    question, statement, other = encoder.encode(TEXTS)
    assert question @ statement > 0.5 > question @ other


def test_dropped_from_the_cache_a_text_keeps_its_embedding(encoder: MiniLMEncoder) -> None:
    first = encoder.encode(TEXTS[:1])
    encoder.encode([f"filler {i}" for i in range(10)])
    np.testing.assert_allclose(encoder.encode(TEXTS[:1]), first, atol=1e-5)


def test_threads_get_the_vectors_of_their_own_texts(encoder: MiniLMEncoder) -> None:
    texts = [f"town number {i}" for i in range(12)]
    alone = np.concatenate([encoder.encode([t]) for t in texts])
    with ThreadPoolExecutor(4) as threads:
        together = np.concatenate(list(threads.map(lambda t: encoder.encode([t]), texts)))
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_no_texts_give_no_rows_without_loading_anything() -> None:
    assert MiniLMEncoder(Path("/nowhere")).encode([]).shape == (0, 384)


def test_a_directory_without_an_encoder_is_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"modules\.json"):
        MiniLMEncoder(tmp_path).encode(["text"])
