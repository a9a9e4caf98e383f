"""Keeps a document that no mapping explains: every value becomes a measurement that is named by its JSON Pointer.

Nothing is dropped and nothing is judged: a document can be built again from it. An array of single values is one measurement
with a series; an empty array or object is one with its type in `misc`; of a repeated name every value is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from dropmill.api import BadInput
from dropmill_plugins.converters.common.steps import misc_entry
from dropmill_plugins.converters.common.strict_json import Doubled, Inexact
from dropmill_plugins.converters.json.pointers import escape

__all__ = ["MAX_DEPTH", "MAX_VALUES", "flatten"]

MAX_VALUES = 500_000
"""Measurements of one document."""
MAX_DEPTH = 500

Measurement = dict[str, Any]


def flatten(value: Any, pointer: str, warn: Callable[..., None], line: int | None = None) -> list[Measurement]:
    """The measurements of a value, in the order of the document.

    Raises:
        BadInput: Too many values, or too deep.
    """
    made: list[Measurement] = []
    waiting: list[Iterator[tuple[str, Any]]] = [iter([(pointer, value)])]
    while waiting:
        entry = next(waiting[-1], None)
        if entry is None:
            waiting.pop()
            continue
        name, one = entry
        if isinstance(one, (dict, list)) and one:
            if isinstance(one, list) and (series := _series(name, one)) is not None:
                made.append(series)
            else:
                if len(waiting) > MAX_DEPTH:
                    raise BadInput("JSON-TOO-DEEP", f"the document nests more than {MAX_DEPTH} deep", line=line)
                waiting.append(_members(name, one, warn, line))
        else:
            made.append(_leaf(name, one, warn, line))
        if len(made) > MAX_VALUES:
            raise BadInput("JSON-TOO-LARGE", f"one document has more than {MAX_VALUES} values", line=line)
    return made


def _members(
    pointer: str, value: dict[str, Any] | list[Any], warn: Callable[..., None], line: int | None
) -> Iterator[tuple[str, Any]]:
    if isinstance(value, list):
        yield from ((f"{pointer}/{index}", member) for index, member in enumerate(value))
        return
    if isinstance(value, Doubled):
        names = ", ".join(sorted(value.repeated))
        warn(
            "JSON-DUPLICATE-NAME",
            f"the object {pointer or 'at the top'} repeats {names[:80]}: every value is kept",
            line=line,
        )
        yield from ((f"{pointer}/{escape(name)}", member) for name, member in value.pairs)
        return
    yield from ((f"{pointer}/{escape(name)}", member) for name, member in value.items())


def _leaf(name: str, value: Any, warn: Callable[..., None], line: int | None) -> Measurement:
    if isinstance(value, Inexact):
        warn("JSON-NUMBER", f"{name} is {value.text[:40]}, which no number here can hold: kept as text too", line=line)
        return {"name": name, "value": value.number, "status": "unknown", "raw": value.text}
    if isinstance(value, (dict, list)):
        kind = "object" if isinstance(value, dict) else "array"
        return {"name": name, "value": None, "status": "unknown", "misc": [misc_entry("type", kind)]}
    return {"name": name, "value": value, "status": "unknown"}


def _series(name: str, values: list[Any]) -> Measurement | None:
    """An array of single values as one measurement: its length, and the values in a series."""
    if any(isinstance(value, (dict, list, Inexact)) for value in values):
        return None
    axis = {"name": name, "values": values}
    return {"name": name, "value": len(values), "status": "unknown", "series": {"axes": [axis]}}
