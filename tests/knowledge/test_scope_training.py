"""Training the scope head: what it may learn from, and that it learns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from ketools.cli.main import app
from ketools.core.errors import InvalidRequest
from ketools.core.names import canonical
from ketools.knowledge.scope.facts import Asking
from ketools.knowledge.scope.head import ScopeHead
from ketools.knowledge.scope.minilm import TokenEncoder
from ketools.knowledge.scope.pairs import Pair
from ketools.knowledge.scope.rows import Row, open_rows, read_rows, texts_of, without
from ketools.knowledge.scope.training import Recipe, Sources, held_out_texts, train, training_rows

EVALUATION_FILES = {"qaedit_300.json", "zsre_300.json", "wikibigedit_300.json", "counterfact_easyedit_200.json"}


def pairs() -> list[Pair]:
    """Capitals in the scope of capitals, anthems out of it."""
    names = ("Peru", "Kenya", "Norway", "Laos", "Chile", "Ghana", "Nepal", "Cuba")
    made = []
    for name in names:
        prompt = f"The capital of {name} is"
        made.append(Pair(name, prompt, f"Which city is the capital of {name}?", True, "rephrase"))
        made.append(Pair(name, prompt, f"Who wrote the anthem of {name}?", False, "same subject"))
    return made * 12


@pytest.fixture(scope="module")
def encoder() -> TokenEncoder:
    return TokenEncoder()


@pytest.fixture(scope="module")
def head(encoder: TokenEncoder) -> ScopeHead:
    return train(pairs(), encoder, Recipe(epochs=6, width=32, layers=1))


def test_a_trained_head_tells_new_subjects_questions_apart(head: ScopeHead) -> None:
    prompt = "The capital of Malta is"
    asked = [
        Asking("Malta", prompt, text)
        for text in ("Which city is the capital of Malta?", "Who wrote the anthem of Malta?")
    ]
    same, other = head.scores(asked)
    assert same > 0.5 > other


def test_the_same_recipe_gives_the_same_head(encoder: TokenEncoder, head: ScopeHead) -> None:
    again = train(pairs(), encoder, Recipe(epochs=6, width=32, layers=1))
    mine, theirs = head.reader.state_dict(), again.reader.state_dict()
    assert all(mine[name].equal(theirs[name]) for name in mine)


def test_a_saved_head_scores_as_before_to_half_precision(
    head: ScopeHead, encoder: TokenEncoder, tmp_path: Path
) -> None:
    head.save(tmp_path / "head.safetensors")
    again = ScopeHead.load(tmp_path / "head.safetensors", encoder)
    asked = [Asking(pair.subject, pair.prompt, pair.question) for pair in pairs()[:8]]
    assert again.scores(asked) == pytest.approx(head.scores(asked), abs=0.01)
    assert again.about["pairs"] == len(pairs())


def test_a_head_knows_the_files_it_was_trained_on(encoder: TokenEncoder, tmp_path: Path) -> None:
    rows, other = tmp_path / "rows.json", tmp_path / "other.json"
    rows.write_text("[]")
    other.write_text("[]")
    head = train(pairs()[:64], encoder, Recipe(epochs=1, width=32, layers=1), Sources([rows], [other]))
    assert (set(head.about["files"]), set(head.about["held_out"])) == ({"rows.json"}, {"other.json"})


def test_the_packaged_head_learnt_nothing_from_the_files_it_is_measured_on() -> None:
    about = ScopeHead.load().about
    assert set(about["held_out"]) == EVALUATION_FILES
    assert not set(about["files"]) & EVALUATION_FILES


TEXTS = st.sampled_from(["Paris", "The capital of France is", "PARIS", "Who wrote Dune?", "Dune", "“Dune”", "Where?"])
ROWS = st.builds(Row, TEXTS, TEXTS, st.lists(TEXTS).map(tuple), st.lists(TEXTS).map(tuple), st.lists(TEXTS).map(tuple))


@given(rows=st.lists(ROWS), held_out=st.frozensets(TEXTS))
def test_no_text_that_is_held_out_is_learnt_from_in_any_typography(rows: list[Row], held_out: frozenset[str]) -> None:
    kept = frozenset(map(canonical, held_out))
    assert not kept & {canonical(text) for row in without(rows, kept) for text in texts_of(row)}


def test_rows_of_an_evaluation_file_are_held_out_of_the_packaged_ones(tmp_path: Path) -> None:
    row = open_rows()[0]
    file = tmp_path / "evaluation.json"
    file.write_text(json.dumps([{"subject": row.subject, "prompt": row.prompt, "rephrase": row.rephrases[0]}]))
    held_out = held_out_texts([file])
    assert not held_out & {canonical(text) for one in without(open_rows(), held_out) for text in texts_of(one)}


def test_every_form_of_rows_is_read(tmp_path: Path) -> None:
    forms = [
        {
            "subject": "Dune",
            "src": "Who wrote Dune?",
            "rephrase": "Whose work is Dune?",
            "alt": "Ann",
            "loc": "nq question: who is who",
        },
        {
            "subject": "Dune",
            "prompt": "Who wrote Dune?",
            "rephrase_prompt": "Whose work is Dune?",
            "locality_prompt": "Who is who?",
        },
        {
            "subject": "Dune",
            "prompt": "Who wrote Dune?",
            "rephrase": ["Whose?"],
            "locality": {"Relation": [{"prompt": "Who?"}]},
        },
    ]
    file = tmp_path / "rows.json"
    file.write_text(json.dumps([*forms, {"nothing": 1}, 3]))
    rows = read_rows(file)
    assert [len(row.rephrases) for row in rows] == [1, 1, 1]
    assert rows[0].locality == ("who is who",)


@pytest.mark.parametrize("text", ["{", "{}", "[]", "[1, 2]"])
def test_a_file_without_rows_is_refused_by_name(text: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    file.write_text(text)
    with pytest.raises(InvalidRequest, match=r"rows\.json"):
        read_rows(file)


def test_too_few_rows_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    file.write_text(json.dumps([{"subject": "Dune", "prompt": "Who wrote Dune?", "rephrase": "Whose?"}]))
    with pytest.raises(InvalidRequest, match="at least 100 rows"):
        training_rows([file], frozenset())
    ended = CliRunner().invoke(app, ["train-scope", "--data", str(file), "--out", str(tmp_path / "head")])
    assert ended.exit_code == 1
    assert not (tmp_path / "head").exists()
