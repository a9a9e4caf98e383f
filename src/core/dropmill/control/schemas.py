"""JSON Schema from the types in `shapes`, so that the OpenAPI document cannot differ from what type checkers hold the code to."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterable
from typing import Annotated, Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict

__all__ = ["components", "reference", "resolved"]

_PLAIN: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    Any: {},
}


def reference(shape: type) -> dict[str, Any]:
    """A reference to a shape's schema among the components."""
    return {"$ref": f"#/components/schemas/{_name(shape)}"}


def components(shapes: Iterable[type]) -> dict[str, Any]:
    """The schemas of shapes and of all shapes within them, by name."""
    found: dict[str, Any] = {}
    waiting = list(shapes)
    while waiting:
        shape = waiting.pop()
        if _name(shape) not in found:
            found[_name(shape)] = _object(shape, waiting)
    return dict(sorted(found.items()))


def resolved(shape: type) -> dict[str, Any]:
    """A schema that stands alone, for validators."""
    return {**reference(shape), "components": {"schemas": components([shape])}}


def _name(shape: type) -> str:
    return shape.__name__.removesuffix("Shape")


def _object(shape: type, waiting: list[type]) -> dict[str, Any]:
    hints = get_type_hints(shape, include_extras=True)
    return {
        "type": "object",
        "description": inspect.getdoc(shape) or "",
        "properties": {name: _schema(hint, waiting) for name, hint in hints.items()},
        "required": sorted(shape.__required_keys__),  # type: ignore[attr-defined]
    }


def _schema(hint: Any, waiting: list[type]) -> dict[str, Any]:
    origin = get_origin(hint)
    if origin is NotRequired:
        return _schema(get_args(hint)[0], waiting)
    if origin is Annotated:
        inner, description = get_args(hint)[:2]
        return {**_schema(inner, waiting), "description": description}
    if is_typeddict(hint):
        waiting.append(hint)
        return reference(hint)
    if origin is Literal:
        return {"enum": list(get_args(hint))}
    if origin in (Union, types.UnionType):
        parts = [_schema(part, waiting) for part in get_args(hint)]
        if all(part.keys() == {"type"} for part in parts):
            return {"type": [part["type"] for part in parts]}
        return {"anyOf": parts}
    if origin is list:
        return {"type": "array", "items": _schema(get_args(hint)[0], waiting)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(get_args(hint)[1], waiting)}
    return dict(_PLAIN[hint])
