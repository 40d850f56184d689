"""Reads what language models write for arguments.

Null and an empty text stand for the default of an optional argument. Lists, objects and numbers may come as strings,
numbers where a text belongs, one text where a list of texts belongs, and a choice in capital letters.
"""

from __future__ import annotations

import ast
import json
import types
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

LONGEST = 1_000_000
"""The longest string, in characters, that is read as a list or an object."""
_UNIONS = (Union, types.UnionType)


def read_arguments(model: type[BaseModel], given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as the model's fields expect them; what cannot be read stays for validation to refuse."""
    read = {}
    for name, value in given.items():
        field = model.model_fields.get(name)
        if field is None:
            read[name] = value
            continue
        value = _read(field.annotation, value)
        if field.is_required() or not (value is None or value == ""):
            read[name] = value
    return read


def _read(kind: Any, value: Any) -> Any:
    """A value as its annotation expects it."""
    kind = _plain(kind)
    if isinstance(value, str):
        value = value.strip()
    if _is_list(kind):
        return _list(get_args(kind), value)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return _model(kind, _parsed(value) if isinstance(value, str) else value)
    if choices := _choices(kind):
        return next((c for c in choices if isinstance(value, str) and c == value.lower()), value)
    if kind is str and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value


def _plain(kind: Any) -> Any:
    """The type itself, without metadata and without None."""
    if get_origin(kind) is Annotated:
        return _plain(get_args(kind)[0])
    if get_origin(kind) in _UNIONS:
        rest = [one for one in get_args(kind) if one is not type(None)]
        return _plain(rest[0]) if len(rest) == 1 else kind
    return kind


def _is_list(kind: Any) -> bool:
    origin = get_origin(kind)
    return isinstance(origin, type) and issubclass(origin, Sequence)


def _choices(kind: Any) -> tuple[str, ...]:
    if get_origin(kind) is Literal:
        return tuple(str(one) for one in get_args(kind))
    return tuple(str(one.value) for one in kind) if isinstance(kind, type) and issubclass(kind, Enum) else ()


def _model(kind: type[BaseModel], value: Any) -> Any:
    """An object's arguments; a text alone is the only one that the object cannot do without."""
    required = [name for name, field in kind.model_fields.items() if field.is_required()]
    if isinstance(value, str) and len(required) == 1:
        return {required[0]: value}
    return read_arguments(kind, value) if isinstance(value, Mapping) else value


def _list(kinds: tuple[Any, ...], value: Any) -> Any:
    """A list of the items' type; one item alone, or a string that holds a list, counts as a list."""
    item = kinds[0] if kinds else Any
    if isinstance(value, str):
        parsed = _parsed(value)
        value = parsed if isinstance(parsed, list | Mapping) else [value] if value else None
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list | tuple):
        return value
    return [_read(item, one) for one in value if one is not None and one != ""]


def _parsed(text: str) -> Any:
    """The value that a string holds as JSON, also written twice, or as Python writes it; the string if none."""
    if len(text) > LONGEST or not text.startswith(("[", "{", '"')):
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = _literal(text)
    return _parsed(value) if isinstance(value, str) and value != text else value


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return text
