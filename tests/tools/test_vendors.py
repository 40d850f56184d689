"""Every tool converted by the vendors' own SDKs, and what the tools cost a model that reads them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from agents.mcp import MCPServerStdio, MCPUtil
from agents.strict_schema import ensure_strict_json_schema
from anthropic import transform_schema
from anthropic.lib.tools.mcp import async_mcp_tool
from google.genai import types as google
from google.genai._mcp_utils import mcp_to_gemini_tools
from jsonschema import Draft202012Validator
from langchain_core.utils.function_calling import convert_to_openai_tool
from mcp.types import Tool as Announced
from openai import pydantic_function_tool
from transformers import AutoTokenizer

from ketools.servers.announcing import open_objects, takes_closed_objects
from ketools.servers.langchain import KEToolkit
from ketools.tools.schemas import get_tool, input_model, tool_schema
from ketools.tools.toolbox import tools
from ketools.tools.toolsets import ToolSet

NAMES = [tool.name for tool in tools()]
BUDGET = 1700
FORMS = {"closed": lambda schema: schema, "open": open_objects}
"""What clients are announced: with and without `additionalProperties: false`."""


def announced(name: str, form: Callable[[Any], Any] = open_objects) -> Announced:
    """A tool as an MCP client gets it."""
    schema = tool_schema(get_tool(name))
    return Announced.model_validate({**schema, "inputSchema": form(schema["inputSchema"])})


def nodes(schema: Any) -> list[dict[str, Any]]:
    """Every schema within a schema."""
    found = [schema]
    for key in ("properties", "$defs"):
        found += [node for one in schema.get(key, {}).values() for node in nodes(one)]
    found += nodes(schema["items"]) if "items" in schema else []
    return found + [node for one in schema.get("anyOf", ()) for node in nodes(one)]


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_plain_and_closed_at_every_depth(name: str) -> None:
    schema = tool_schema(get_tool(name))["inputSchema"]
    Draft202012Validator.check_schema(schema)
    assert "$" not in json.dumps(schema)
    for node in nodes(schema):
        assert not {"anyOf", "allOf", "oneOf", "default", "title", "nullable"} & set(node)
        assert isinstance(node["type"], str)
        if node["type"] == "object":
            assert node["additionalProperties"] is False and node["properties"]
        if node["type"] == "array":
            assert node["items"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NAMES)
def test_openai_takes_it_as_strict(name: str, form: str) -> None:
    tool = announced(name, FORMS[form])
    server = MCPServerStdio(params={"command": "ketools", "args": ["serve"]}, name="ketools")
    made = MCPUtil.to_function_tool(tool, server, convert_schemas_to_strict=True)
    assert made.strict_json_schema and made.name == name
    strict = ensure_strict_json_schema(copy.deepcopy(tool.input_schema))
    for node in nodes(strict):
        if node["type"] == "object":
            assert node["additionalProperties"] is False and set(node["required"]) == set(node["properties"])


@pytest.mark.parametrize("name", NAMES)
def test_openai_takes_the_argument_models_as_strict(name: str) -> None:
    made: Any = pydantic_function_tool(input_model(get_tool(name)), name=name)
    assert made["function"]["strict"] and "$ref" not in json.dumps(made)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NAMES)
def test_anthropic_takes_it(name: str, form: str) -> None:
    tool = announced(name, FORMS[form])
    made: Any = async_mcp_tool(tool, None, strict=True).to_dict()  # type: ignore[arg-type]
    assert made["name"] == name and set(made["input_schema"]["properties"]) == set(tool.input_schema["properties"])
    assert transform_schema(tool.input_schema)["additionalProperties"] is False


@pytest.mark.parametrize("name", NAMES)
def test_google_takes_the_open_form_whole(name: str) -> None:
    tool = announced(name)
    (made,) = mcp_to_gemini_tools([tool])
    assert made.function_declarations is not None
    parameters = made.function_declarations[0].parameters
    assert parameters is not None and parameters.type is google.Type.OBJECT
    assert set(parameters.properties or {}) == set(tool.input_schema["properties"])
    assert (parameters.required or []) == tool.input_schema.get("required", [])
    for key, told in tool.input_schema["properties"].items():
        assert (parameters.properties or {})[key].description == told.get("description")


@pytest.mark.parametrize("name", NAMES)
def test_google_takes_the_closed_form_as_json_schema(name: str) -> None:
    (made,) = mcp_to_gemini_tools([announced(name, FORMS["closed"])], is_agent_platform=True)
    assert made.function_declarations and made.function_declarations[0].name == name


@pytest.mark.parametrize(
    ("client", "closed"),
    [("mcp", False), ("", False), ("gemini-cli-mcp-client", False), ("Google ADK", False), ("claude-ai", True)],
)
def test_the_form_follows_the_client(client: str, closed: bool) -> None:
    assert takes_closed_objects(client) is closed


def test_langchain_tells_a_model_the_same_as_mcp() -> None:
    for made in KEToolkit(None, toolsets=["all"]).get_tools():  # type: ignore[arg-type]
        told = convert_to_openai_tool(made)["function"]
        assert "$ref" not in json.dumps(told) and "anyOf" not in json.dumps(told)
        wire = tool_schema(get_tool(made.name))["inputSchema"]
        assert told["parameters"]["properties"] == wire["properties"]
        assert told["parameters"].get("required", []) == wire.get("required", [])


def forms_of(name: str) -> dict[str, Any]:
    """A tool in the forms in which models read it."""
    schema = tool_schema(get_tool(name))
    told = {"name": name, "description": schema["description"]}
    function = {**told, "parameters": schema["inputSchema"], "strict": True}
    wire = {key: value for key, value in schema.items() if key != "outputSchema"}
    return {
        "mcp": wire,
        "anthropic": {**told, "input_schema": schema["inputSchema"]},
        "openai": {"type": "function", "function": function},
    }


@pytest.mark.parametrize("form", ["mcp", "anthropic", "openai"])
def test_the_default_set_costs_a_model_at_most_1700_tokens(smollm2: Path, form: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    core = [forms_of(tool.name)[form] for tool in tools() if tool.toolset is ToolSet.CORE]
    assert len(tokenizer.encode(json.dumps(core, separators=(",", ":")))) <= BUDGET
