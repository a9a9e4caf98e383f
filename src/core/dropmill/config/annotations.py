"""Finds which parts of a schema speak of which value: where quantities, paths and secrets stand in a document.

Values are visited with every subschema that may apply to them. Branches of `anyOf` and `oneOf` all count, so that a secret is
known as one even where its value is wrong, unless those that fit are asked for; of `if` only the branch that applies.
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


def visit(schema: Schema, value: Any, root: Schema, *, fitting: bool = False) -> Iterator[Visit]:
    """Every value in `value` (itself too) with every subschema of `schema` that speaks of it.

    Args:
        schema: What speaks of `value`.
        value: Of plain JSON.
        root: Where references lead into.
        fitting: Whether branches of `anyOf` and `oneOf` count only where the value fits them.
    """
    yield from _Visitor(root, fitting).visit(schema, value, (), 0)


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


class _Visitor:
    def __init__(self, root: Schema, fitting: bool) -> None:
        self._root = root
        self._fitting = fitting

    def visit(self, schema: Any, value: Any, path: KeyPath, depth: int) -> Iterator[Visit]:
        if not isinstance(schema, Mapping) or depth > _MOST_DEPTH:
            return
        schema = follow(dict(schema), self._root)
        yield path, schema, value
        for keyword in ("allOf", "anyOf", "oneOf"):
            for part in schema.get(keyword, ()):
                if keyword == "allOf" or not self._fitting or self._holds(part, value):
                    yield from self.visit(part, value, path, depth + 1)
        if "if" in schema:
            branch = schema.get("then" if self._holds(schema["if"], value) else "else")
            yield from self.visit(branch, value, path, depth + 1)
        if isinstance(value, dict):
            for key, item in value.items():
                for part in _of_key(schema, key):
                    yield from self.visit(part, item, (*path, key), depth + 1)
        elif isinstance(value, list):
            first = schema.get("prefixItems", [])
            for number, item in enumerate(value):
                part = first[number] if number < len(first) else schema.get("items")
                yield from self.visit(part, item, (*path, number), depth + 1)

    def _holds(self, condition: Any, value: Any) -> bool:
        if isinstance(condition, bool):
            return condition
        whole = {**condition, "$defs": self._root["$defs"]} if "$defs" in self._root else condition
        return bool(Draft202012Validator(whole).is_valid(value))


def _of_key(schema: Schema, key: str) -> Iterator[Any]:
    found = [part for pattern, part in schema.get("patternProperties", {}).items() if re.search(pattern, key)]
    if key in schema.get("properties", {}):
        found.append(schema["properties"][key])
    yield from found or [schema.get("additionalProperties")]
