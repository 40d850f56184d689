"""One schema per tool, from its signature: what MCP, LangChain, the CLI and `tool_schemas/` all use."""

from __future__ import annotations

import inspect
import json
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    create_model,
    model_validator,
)
from pydantic.json_schema import GenerateJsonSchema

from ketools.core.errors import NotFound
from ketools.core.results import Result
from ketools.tools.calling import FORMAT
from ketools.tools.reading import read_arguments
from ketools.tools.simplify import simplified
from ketools.tools.toolbox import Tool, tools


class Arguments(BaseModel):
    """Base of every tool's arguments: an unknown argument is an error, not a surprise."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _as_models_write(cls, data: Any) -> Any:
        return read_arguments(cls, data) if isinstance(data, dict) else data

    def one_level(self) -> dict[str, Any]:
        """The arguments as keyword arguments; nested models stay models."""
        return {name: getattr(self, name) for name in type(self).model_fields}


class _Terse(GenerateJsonSchema):
    """JSON Schema without a title per field, which would only repeat the field's name to the agent."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


Format = Annotated[Literal["concise", "detailed"], Field(description="Default concise.")]


def get_tool(name: str) -> Tool:
    """The tool of that name. Raises `NotFound` with the near names."""
    known = {tool.name: tool for tool in tools()}
    if name not in known:
        raise NotFound("tool", name, known)
    return known[name]


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def field(annotation: Any, default: Any) -> tuple[Any, Any]:
    """An argument as a field of a pydantic model, which announces itself in the simplest form.

    The default is made by a factory, since what a schema says of defaults some vendors refuse.
    """
    announced = simplified(TypeAdapter(annotation).json_schema(schema_generator=_Terse))
    told = Annotated[annotation, WithJsonSchema(announced)]
    return (told, ...) if default is inspect.Parameter.empty else (told, Field(default_factory=lambda: default))


@cache
def input_model(tool: Tool) -> type[Arguments]:
    """The arguments of a tool as a pydantic model, made from the signature of its method."""
    fields: dict[str, Any] = {p.name: field(p.annotation, p.default) for p in tool.parameters.values()}
    if tool.lengthy:
        fields[FORMAT] = field(Format, "concise")
    return create_model(f"{_camel(tool.name)}Arguments", __base__=Arguments, __doc__=tool.description, **fields)


@cache
def output_model(tool: Tool) -> type[Result]:
    """The result model of a tool: the return type of its method."""
    result = inspect.signature(tool.method, eval_str=True).return_annotation
    if not (isinstance(result, type) and issubclass(result, Result)):
        raise TypeError(f"the tool {tool.name} must return a Result, not {result!r}")
    return result


def input_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON Schema of a tool's arguments; the tool carries the description, so the schema does not."""
    return simplified(model.model_json_schema(schema_generator=_Terse))


def output_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON Schema of a tool's result as it is serialised."""
    return model.model_json_schema(schema_generator=_Terse, mode="serialization")


def hints(tool: Tool) -> dict[str, Any]:
    """MCP's hints about a tool, in wire form."""
    return {
        "title": tool.title,
        "readOnlyHint": tool.read_only,
        "destructiveHint": tool.destructive,
        "idempotentHint": tool.idempotent,
        "openWorldHint": False,
    }


def tool_schema(tool: Tool) -> dict[str, Any]:
    """The whole announcement of a tool, in MCP's wire form."""
    return {
        "name": tool.name,
        "title": tool.title,
        "description": tool.description,
        "inputSchema": input_schema(input_model(tool)),
        "outputSchema": output_schema(output_model(tool)),
        "annotations": hints(tool),
    }


def render() -> dict[str, str]:
    """File name to content of every committed schema."""
    return {f"{t.name}.json": json.dumps(tool_schema(t), indent=2) + "\n" for t in tools()}


def write(directory: Path) -> list[str]:
    """Write every schema, remove those of tools that are gone; returns the names that changed."""
    directory.mkdir(parents=True, exist_ok=True)
    wanted = render()
    changed = _differing(directory, wanted)
    for name in changed:
        if name in wanted:
            (directory / name).write_text(wanted[name], encoding="utf-8")
        else:
            (directory / name).unlink()
    return changed


def check(directory: Path) -> list[str]:
    """Names of the files that differ from the signatures, are missing, or belong to no tool."""
    return _differing(directory, render())


def _differing(directory: Path, wanted: dict[str, str]) -> list[str]:
    found = {path.name: path.read_text(encoding="utf-8") for path in directory.glob("*.json")}
    return sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))


def explain(error: ValidationError) -> str:
    """A validation error as one line that names each field; the rejected values are not repeated."""
    parts = []
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        where = ".".join(str(step) for step in item["loc"]) or "request"
        parts.append(f"{where}: {item['msg'].removeprefix('Value error, ')}")
    return "Invalid arguments. " + "; ".join(parts) + ". Correct them and call again."
