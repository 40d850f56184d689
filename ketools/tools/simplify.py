"""JSON Schema in the form that every vendor's function calling takes, in as few tokens as possible."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

BOUNDS = ("minLength", "maxLength", "minItems", "maxItems")
"""Bounds that validation enforces and no language model heeds; strict function calling refuses some of them."""
SILENT = ("title", "default", *BOUNDS)


def simplified(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema without `$ref`, unions with null, titles, defaults and lengths; objects refuse other properties.

    The top level loses its description: the tool has it. Raises `KeyError` for a reference to nowhere.
    """
    found = _simplified(schema, schema.get("$defs", {}))
    if found.get("type") == "object" and "properties" in found:
        found.pop("description", None)
    return found


def _simplified(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> dict[str, Any]:
    rest = {key: value for key, value in schema.items() if key not in ("$defs", "$ref", "anyOf", *SILENT)}
    if "$ref" in schema:
        rest = {**_without_text(defs[schema["$ref"].rpartition("/")[2]], defs), **rest}
    if "anyOf" in schema:
        some = [_simplified(one, defs) for one in schema["anyOf"] if one.get("type") != "null"]
        rest = {**some[0], **rest} if len(some) == 1 else {"anyOf": some, **rest}
    if "items" in schema:
        rest["items"] = _simplified(schema["items"], defs)
    if "properties" in schema:
        rest["properties"] = {name: _simplified(one, defs) for name, one in schema["properties"].items()}
        rest["additionalProperties"] = False
    return rest


def _without_text(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> dict[str, Any]:
    """A definition without its docstring, which is for readers of the code."""
    return {key: value for key, value in _simplified(schema, defs).items() if key != "description"}
