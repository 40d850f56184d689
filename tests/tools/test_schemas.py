"""One schema per tool, the same for every door, committed and current."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ketools.core.errors import NotFound
from ketools.core.results import Result
from ketools.tools.schemas import check, explain, get_tool, input_model, output_model, tool_schema, write
from ketools.tools.toolbox import tools

COMMITTED = Path(__file__).parents[2] / "tool_schemas"
EXPECTED = (
    "edit_fact edit_facts erase_fact edit_personality ask evaluate_edit evaluate_space compare_methods list_edits "
    "cancel_job show_edit undo_edit answer_multihop locate_fact "
    "restore_space fork_space compare_spaces consolidate job_status list_methods list_spaces "
    "list_proposals decide_proposal"
)


def test_the_committed_schemas_are_those_of_the_signatures() -> None:
    assert check(COMMITTED) == [], "run: ketools schemas"


def test_the_tools_are_the_promised_ones() -> None:
    assert {tool.name for tool in tools()} == set(EXPECTED.split())


def test_drift_is_found_and_writing_repairs_it(tmp_path: Path) -> None:
    assert len(write(tmp_path)) == len(tools())
    (tmp_path / "ask.json").write_text("{}")
    (tmp_path / "gone.json").write_text("{}")
    (tmp_path / "show_edit.json").unlink()
    assert check(tmp_path) == ["ask.json", "gone.json", "show_edit.json"]
    assert write(tmp_path) == ["ask.json", "gone.json", "show_edit.json"]
    assert check(tmp_path) == [] and not (tmp_path / "gone.json").exists()


@pytest.mark.parametrize("name", [tool.name for tool in tools()])
def test_an_agent_finds_a_description_for_the_tool_and_a_result_it_can_read(name: str) -> None:
    schema: dict[str, Any] = json.loads(json.dumps(tool_schema(get_tool(name))))
    assert schema["description"] and schema["title"]
    assert schema["inputSchema"]["additionalProperties"] is False
    assert issubclass(output_model(get_tool(name)), Result)
    assert schema["outputSchema"]["type"] == "object"


def test_only_reading_tools_are_announced_as_read_only() -> None:
    hints = {tool.name: tool_schema(tool)["annotations"] for tool in tools()}
    assert not any(hints[name]["readOnlyHint"] for name in hints if name.startswith(("edit", "erase", "undo")))
    assert {name for name in hints if hints[name]["destructiveHint"]} == {"erase_fact", "restore_space"}


def test_arguments_are_checked_and_nested_models_stay_models() -> None:
    fact = {"subject": " Peru ", "prompt": "The capital of Peru is", "target_new": "Cusco"}
    values = input_model(get_tool("edit_facts")).model_validate({"facts": [fact]}).one_level()
    assert values["facts"][0].subject == "Peru"
    assert values["space"] is None and values["dry_run"] is False


def test_a_rejected_value_is_not_repeated() -> None:
    with pytest.raises(ValidationError) as caught:
        input_model(get_tool("erase_fact")).model_validate(
            {"subject": "Ada\x00 Lane 7", "prompt": "", "secret": "Lane 7"}
        )
    told = explain(caught.value)
    assert "Lane 7" not in told
    assert "subject: control characters" in told and "prompt: " in told and "secret: " in told


def test_an_unknown_tool_lists_the_near_ones() -> None:
    with pytest.raises(NotFound, match="Known: edit_fact"):
        get_tool("edit_fcat")
