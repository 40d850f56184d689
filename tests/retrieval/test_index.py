"""The index of facts: what is found, what hides what, and what survives loss, damage and another encoder."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from string import ascii_lowercase, digits

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketools.core.errors import Cancelled, InvalidRequest, ModelError
from ketools.retrieval import Fact, FactIndex, MiniLMEncoder, Vectors

LETTERS = ascii_lowercase + digits


class Letters:
    """A real, if simple, encoder: unit vectors of character counts, turned by `seed`."""

    def __init__(self, seed: int = 0, d: int = 32) -> None:
        rng = np.random.default_rng(seed)
        self._mix = rng.standard_normal((len(LETTERS), d)).astype(np.float32)
        self.texts = 0

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.texts += len(texts)
        counts = np.array([[t.lower().count(c) for c in LETTERS] for t in texts], dtype=np.float32)
        vectors: Vectors = counts.reshape(-1, len(LETTERS)) @ self._mix
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        return vectors


class Unreachable:
    def encode(self, texts: Sequence[str]) -> Vectors:
        raise ModelError("the encoder is down")


def fact(i: int, text: str = "", key: str = "") -> Fact:
    return Fact(f"e{i}", key or f"k{i}", f"Person {i}", "employer", f"Company {i}", text or f"Person {i} works for {i}")


CAPITALS = [
    Fact("a", "france|capital", "France", "capital", "Lima", "The capital of France is Lima"),
    Fact("b", "japan|capital", "Japan", "capital", "Oslo", "The capital of Japan is Oslo"),
    Fact("c", "france|currency", "France", "currency", "peso", "The currency of France is the peso"),
]


@pytest.fixture(scope="module")
def minilm() -> MiniLMEncoder:
    return MiniLMEncoder()


def test_a_question_finds_the_fact_that_answers_it(minilm: MiniLMEncoder) -> None:
    index = FactIndex(minilm)
    index.add(CAPITALS)
    (one, two) = index.view().search(["Which city is Japan's capital?", "What money is used in France?"], k=1)
    assert (one[0].fact.target, two[0].fact.target) == ("Oslo", "peso")
    assert 0.5 < one[0].score < 1.001


def test_facts_about_a_subject_come_newest_first_whatever_the_case() -> None:
    index = FactIndex(Letters())
    index.add(CAPITALS)
    assert [f.id for f in index.view().about(" france.")] == ["c", "a"]
    assert index.view(["a", "b"]).about("France") == [CAPITALS[0]]
    assert index.view().about("Peru") == []


def test_of_two_facts_with_one_key_the_view_sees_the_later_one() -> None:
    index = FactIndex(Letters())
    newer = Fact("d", "france|capital", "France", "capital", "Rome", "The capital of France is Rome")
    index.add([*CAPITALS, newer])
    assert {f.id for f in index.view().newest(9)} == {"b", "c", "d"}
    assert {f.id for f in index.view(["d", "b", "a"]).newest(9)} == {"b", "a"}


def test_a_fact_without_text_hides_the_older_one_and_is_never_found() -> None:
    index = FactIndex(Letters())
    index.add([*CAPITALS, Fact("d", "france|capital", "", None, "", "")])
    assert [f.fact.id for f in index.view().search(["France capital"], k=9)[0]] != []
    assert {f.fact.id for f in index.view().search(["France capital"], k=9)[0]} == {"b", "c"}


@settings(max_examples=30)
@given(st.lists(st.text("abcdefgh ", min_size=1, max_size=12), min_size=1, max_size=40), st.integers(1, 50))
def test_a_search_is_the_exact_ranking_newer_first_among_equals(texts: list[str], k: int) -> None:
    index = FactIndex(encoder := Letters())
    index.add(fact(i, text) for i, text in enumerate(texts))
    found = index.view().search(["a bad cab"], k=k)[0]
    stored = encoder.encode(texts).astype(np.float16).astype(np.float32)
    scores = stored @ encoder.encode(["a bad cab"])[0]
    np.testing.assert_allclose([f.score for f in found], np.sort(scores)[::-1][:k], atol=1e-5)
    same_text = [(f.fact.text, int(f.fact.id[1:])) for f in found]
    for (text, i), (after, j) in pairwise(same_text):
        assert text != after or i > j


def test_an_index_opened_again_has_everything_and_embeds_nothing(tmp_path: Path) -> None:
    first = FactIndex(Letters(), tmp_path / "memory.db")
    first.add(fact(i) for i in range(40))
    before = first.view().search(["Person 7"], k=5)
    first.close()
    again = FactIndex(encoder := Letters(), tmp_path / "memory.db")
    assert again.view().search(["Person 7"], k=5) == before
    assert encoder.texts < 10


def test_another_encoder_is_noticed_and_everything_embedded_anew(tmp_path: Path) -> None:
    first = FactIndex(Letters(0), tmp_path / "memory.db")
    first.add(fact(i) for i in range(300))
    first.prepare()
    first.close()
    for other in (Letters(1), Letters(1, d=48)):
        again = FactIndex(other, tmp_path / "memory.db")
        found = again.view().search(["Person 299 works for 299"], k=1)[0]
        assert found[0].score > 0.999
        assert other.texts >= 300
        again.close()


@pytest.mark.parametrize("damage", [b"", b"not a database" * 100])
def test_a_damaged_file_is_begun_anew(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "memory.db"
    index = FactIndex(Letters(), path)
    index.add(fact(i) for i in range(200))
    index.close()
    path.write_bytes(damage + path.read_bytes()[len(damage) + 4096 :])
    again = FactIndex(Letters(), path)
    assert len(again) == 0
    again.add([fact(1)])
    assert again.view().search(["Person 1"])[0][0].fact == fact(1)


def test_while_the_encoder_is_down_nothing_is_lost_and_names_are_still_found(tmp_path: Path) -> None:
    index = FactIndex(Unreachable(), tmp_path / "memory.db")
    index.add(CAPITALS)
    with pytest.raises(ModelError, match="down"):
        index.view().search(["France"])
    assert [f.id for f in index.view().about("Japan")] == ["b"]
    index.close()
    assert FactIndex(Letters(), tmp_path / "memory.db").view().search(["The capital of Japan is Oslo"])[0]


def test_a_cancelled_preparation_keeps_what_was_done(tmp_path: Path) -> None:
    def stop(done: int, total: int, message: str) -> None:
        if done:
            raise Cancelled("enough")

    index = FactIndex(encoder := Letters(), tmp_path / "memory.db")
    index.add(fact(i) for i in range(600))
    with pytest.raises(Cancelled):
        index.prepare(stop)
    so_far = encoder.texts
    index.prepare()
    assert so_far < 600 < encoder.texts < 620


def test_two_processes_share_one_file(tmp_path: Path) -> None:
    one, two = (FactIndex(Letters(), tmp_path / "memory.db") for _ in range(2))
    one.add([fact(1)])
    two.add([fact(2), fact(1)])
    one.add([fact(3)])
    assert {f.id for f in one.view().newest(9)} == {"e1", "e2", "e3"}
    assert two.view().search(["Person 2 works for 2"], k=1)[0][0].fact == fact(2)


def test_what_is_out_of_bounds_is_refused() -> None:
    index = FactIndex(Letters())
    index.add(CAPITALS)
    with pytest.raises(InvalidRequest, match="between 1 and"):
        index.view().search(["x"], k=0)
    with pytest.raises(InvalidRequest, match="not in the index"):
        index.view(["nobody"])


def test_an_empty_memory_finds_nothing_without_asking_the_encoder() -> None:
    assert FactIndex(Unreachable()).view().search(["a", "b"]) == [[], []]


# --- more facts than are scanned ---


def many(n: int, seed: int = 0) -> list[Fact]:
    rng = np.random.default_rng(seed)
    words = ["".join(rng.choice(list(LETTERS), 12)) for _ in range(n)]
    return [fact(i, word) for i, word in enumerate(words)]


def test_a_large_index_finds_what_a_scan_finds() -> None:
    facts = many(3000)
    scanned, filed = FactIndex(Letters()), FactIndex(Letters(), scan_limit=500)
    scanned.add(facts)
    filed.add(facts)
    queries = [f.text for f in facts[::30]]
    exact, near = scanned.view().search(queries, k=1), filed.view().search(queries, k=1)
    assert np.mean([a[0].score - b[0].score < 1e-4 for a, b in zip(exact, near, strict=True)]) >= 0.97


def test_a_view_of_a_large_index_finds_its_own_facts_alone() -> None:
    index = FactIndex(Letters(), scan_limit=500)
    index.add(many(3000))
    ids = [f"e{i}" for i in range(0, 3000, 3)]
    for found in index.view(ids).search([f.text for f in many(3000)[:50]], k=20):
        assert len(found) == 20
        assert all(int(f.fact.id[1:]) % 3 == 0 for f in found)


def test_facts_that_come_later_are_filed_too(tmp_path: Path) -> None:
    index = FactIndex(Letters(), tmp_path / "memory.db", scan_limit=500)
    index.add(many(2000))
    index.prepare()
    index.add([fact(5000, "zzzzzzzzzz")])
    assert index.view().search(["zzzzzzzzzz"], k=1)[0][0].fact.id == "e5000"


@pytest.mark.parametrize("damaged", [False, True])
def test_the_inverted_file_is_read_again_or_made_again(tmp_path: Path, damaged: bool) -> None:
    first = FactIndex(Letters(), tmp_path / "memory.db", scan_limit=500)
    first.add(many(2000))
    before = first.view().search(["abc"], k=5)
    first.close()
    (file,) = tmp_path.glob("*.ivf")
    if damaged:
        file.write_bytes(b"rubbish")
    again = FactIndex(Letters(), tmp_path / "memory.db", scan_limit=500)
    assert again.view().search(["abc"], k=5) == before
    assert file.read_bytes() != b"rubbish"


def test_the_inverted_file_of_another_encoder_is_not_used(tmp_path: Path) -> None:
    first = FactIndex(Letters(0), tmp_path / "memory.db", scan_limit=500)
    first.add(many(2000))
    first.prepare()
    first.close()
    again = FactIndex(Letters(1), tmp_path / "memory.db", scan_limit=500)
    again.prepare()
    assert len(list(tmp_path.glob("*.ivf"))) == 1
    assert again.view().search([many(2000)[7].text], k=1)[0][0].score > 0.999
