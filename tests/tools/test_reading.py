"""Arguments as language models write them: nulls, empty texts, strings for lists and numbers, numbers for texts."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ketools.tools.schemas import get_tool, input_model
from ketools.tools.toolbox import tools

FACT = {"subject": "Peru", "prompt": "The capital of Peru is", "target_new": "Cusco"}


def read(name: str, /, **arguments: Any) -> dict[str, Any]:
    """The arguments of a tool as its method gets them."""
    return input_model(get_tool(name)).model_validate(arguments).one_level()


def required(name: str) -> dict[str, Any]:
    """Good values for the arguments that a tool cannot do without."""
    good = {"facts": [FACT], "version": 1, "trait": "positive", "approve": True, **FACT}
    model = input_model(get_tool(name))
    return {k: good.get(k, "Peru") for k, field in model.model_fields.items() if field.is_required()}


@pytest.mark.parametrize("name", [tool.name for tool in tools()])
@pytest.mark.parametrize("nothing", [None, "", "  "])
def test_nothing_means_the_default_of_every_optional_argument(name: str, nothing: Any) -> None:
    given = required(name)
    optional = {k: nothing for k, field in input_model(get_tool(name)).model_fields.items() if not field.is_required()}
    assert read(name, **given, **optional) == read(name, **given)


@pytest.mark.parametrize("nothing", [None, "", " "])
def test_nothing_for_a_required_argument_is_an_error(nothing: Any) -> None:
    with pytest.raises(ValidationError, match="prompt"):
        read("edit_fact", **{**FACT, "prompt": nothing})


@pytest.mark.parametrize(
    "written",
    [
        ["a?", "b?"],
        '["a?", "b?"]',
        ' ["a?", "b?"] ',
        json.dumps('["a?", "b?"]'),
        "['a?', 'b?']",
        ["a?", None, "b?", ""],
    ],
)
def test_a_list_of_texts_is_read_however_it_is_written(written: Any) -> None:
    assert list(read("edit_fact", **FACT, rephrases=written)["rephrases"]) == ["a?", "b?"]


def test_one_text_counts_as_a_list_of_one() -> None:
    assert list(read("edit_fact", **FACT, rephrases="What is Peru's capital?")["rephrases"]) == [
        "What is Peru's capital?"
    ]
    assert list(read("compare_methods", facts=[FACT], methods="ice")["methods"]) == ["ice"]


@pytest.mark.parametrize(
    "written", [[FACT], FACT, json.dumps([FACT]), json.dumps(FACT), [json.dumps(FACT)], str([FACT])]
)
def test_a_list_of_objects_is_read_however_it_is_written(written: Any) -> None:
    (fact,) = read("edit_facts", facts=written)["facts"]
    assert (fact.subject, fact.target_new) == ("Peru", "Cusco")


def test_what_is_nested_is_read_as_the_rest_is() -> None:
    nested = {**FACT, "target_old": "", "rephrases": '["a?"]', "target_new": 1969}
    (fact,) = read("edit_facts", facts=[nested])["facts"]
    assert (fact.target_old, fact.rephrases, fact.target_new) == (None, ["a?"], "1969")
    probes = read("edit_fact", **FACT, probes=["Where is Lima?", {"prompt": "Hi?", "chat": "true", "answer": None}])
    assert [(p.prompt, p.chat) for p in probes["probes"]] == [("Where is Lima?", False), ("Hi?", True)]


def test_numbers_and_booleans_come_as_strings_and_numbers_as_texts() -> None:
    page = read("list_edits", limit=" 7 ", live_only="false", response_format="DETAILED")
    assert (page["limit"], page["live_only"], page["response_format"]) == (7, False, "detailed")
    assert read("edit_fact", **{**FACT, "target_new": 1969})["target_new"] == "1969"
    assert read("edit_personality", topic="tea", trait="Positive")["trait"] == "positive"
    assert read("restore_space", space="user/a", version="3")["version"] == 3


@pytest.mark.parametrize("bad", ["[1", "{", "[" * 20_000, {"a": 1}, 7, [["a"]], [{"x": 1}]])
def test_what_is_no_list_of_texts_is_an_error_or_a_text_and_never_a_crash(bad: Any) -> None:
    try:
        found = read("edit_fact", **FACT, rephrases=bad)["rephrases"]
    except ValidationError:
        return
    assert all(isinstance(one, str) for one in found)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("edit_fact", {**FACT, "probes": [{"prompt": "Hi?", "sort": "x"}]}),
        ("edit_facts", {"facts": [{**FACT, "note": "x"}]}),
        ("edit_fact", {**FACT, "tone": None}),
    ],
)
def test_extra_fields_are_refused_at_every_depth(name: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        read(name, **arguments)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from([tool.name for tool in tools()]), st.data())
def test_reading_never_fails_but_by_a_validation_error(name: str, data: st.DataObject) -> None:
    model = input_model(get_tool(name))
    arguments = data.draw(st.dictionaries(st.sampled_from([*model.model_fields, "other"]), anything))
    with contextlib.suppress(ValidationError):
        model.model_validate(arguments)


@given(st.lists(st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=12), min_size=1, max_size=4))
def test_a_list_and_its_json_are_read_alike(texts: list[str]) -> None:
    assert read("edit_fact", **FACT, rephrases=texts) == read("edit_fact", **FACT, rephrases=json.dumps(texts))
