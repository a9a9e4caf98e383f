"""Finds which parts of a schema speak of which value: where quantities, paths and secrets stand in a document.

Values are visited with every subschema that may apply to them. Branches of `anyOf` and `oneOf` all count, so that a secret is
known as one even where its value is wrong; of `if` only the branch that applies.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator

from dropmill.config.positions import KeyPath
from dropmill.config.vocabulary import Schema

__all__ = ["Visit", "follow", "visit"]

Visit = tuple[KeyPath, Schema, Any]
"""Where, the subschema, the value."""

_MOST_DEPTH = 60


def visit(schema: Schema, value: Any, root: Schema, path: KeyPath = ()) -> Iterator[Visit]:
    """Every value in `value` (itself too) with every subschema of `schema` that speaks of it; references lead into `root`."""
    yield from _visit(schema, value, root, path, 0)


def follow(schema: Schema, root: Schema) -> Schema:
    """What a local reference leads to, with what stands beside it on top; the schema itself where it has none."""
    for _ in range(_MOST_DEPTH):
        reference = schema.get("$ref")
        if reference is None:
            break
        target: Any = root
        for part in reference.removeprefix("#").split("/")[1:]:
            target = target[part.replace("~1", "/").replace("~0", "~")]
        schema = {**target, **{keyword: found for keyword, found in schema.items() if keyword != "$ref"}}
    return schema


def _visit(schema: Any, value: Any, root: Schema, path: KeyPath, depth: int) -> Iterator[Visit]:
    if not isinstance(schema, Mapping) or depth > _MOST_DEPTH:
        return
    schema = follow(dict(schema), root)
    yield path, schema, value
    for keyword in ("allOf", "anyOf", "oneOf"):
        for part in schema.get(keyword, ()):
            yield from _visit(part, value, root, path, depth + 1)
    if "if" in schema:
        holds = _holds(schema["if"], value, root)
        yield from _visit(schema.get("then" if holds else "else", {}), value, root, path, depth + 1)
    if isinstance(value, dict):
        for key, item in value.items():
            for part in _of_key(schema, key):
                yield from _visit(part, item, root, (*path, key), depth + 1)
    elif isinstance(value, list):
        first = schema.get("prefixItems", [])
        for number, item in enumerate(value):
            part = first[number] if number < len(first) else schema.get("items", {})
            yield from _visit(part, item, root, (*path, number), depth + 1)


def _of_key(schema: Schema, key: str) -> Iterator[Any]:
    found = False
    if key in schema.get("properties", {}):
        found = True
        yield schema["properties"][key]
    for pattern, part in schema.get("patternProperties", {}).items():
        if re.search(pattern, key):
            found = True
            yield part
    if not found:
        yield schema.get("additionalProperties", {})


def _holds(condition: Schema, value: Any, root: Schema) -> bool:
    if "$defs" in root:
        condition = {**condition, "$defs": root["$defs"]}
    return bool(Draft202012Validator(condition).is_valid(value))
