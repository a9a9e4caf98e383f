"""Turns what people may write into what settings hold: texts with units into numbers, shorthand entries into tables.

Works on a copy; what cannot be read is left as it is, for the schema to complain about.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

from dropmill.config.annotations import visit
from dropmill.config.positions import KeyPath
from dropmill.config.quantities import parse
from dropmill.config.vocabulary import Schema

__all__ = ["get", "normalized", "not_finite", "put", "remove"]


def normalized(data: dict[str, Any], schema: Schema) -> dict[str, Any]:
    """A copy in which every quantity that can be read is a number, durations always with a fraction."""
    result = copy.deepcopy(data)
    for path, part, value in list(visit(schema, data, schema)):
        unit = part.get("x-unit")
        number = parse(value, unit) if unit and isinstance(value, str) else value
        if unit and isinstance(number, int | float) and not isinstance(number, bool):
            put(result, path, float(number) if unit == "seconds" else number)
    return result


def not_finite(value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Where `nan` and `inf` stand, which TOML knows and no setting takes."""
    if isinstance(value, float) and not math.isfinite(value):
        yield path
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from not_finite(item, (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from not_finite(item, (*path, number))


def get(data: Any, path: KeyPath) -> Any:
    """The value at a path, or None."""
    for part in path:
        if isinstance(part, int):
            if not isinstance(data, list) or part >= len(data):
                return None
        elif not isinstance(data, dict) or part not in data:
            return None
        data = data[part]
    return data


def put(data: Any, path: KeyPath, value: Any) -> None:
    """Replace the value at a path that exists."""
    get(data, path[:-1])[path[-1]] = value


def remove(data: Any, path: KeyPath) -> None:
    """Take a key out, where it is still there; an element of a list becomes None, so that its neighbours keep their places."""
    parent = get(data, path[:-1])
    if isinstance(parent, dict) and path:
        parent.pop(path[-1], None)
    elif isinstance(parent, list) and isinstance(path[-1], int) and path[-1] < len(parent):
        parent[path[-1]] = None
