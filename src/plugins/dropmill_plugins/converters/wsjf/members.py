"""Reads the members of a WSJF object one by one and knows which have been read, so that the rest can be kept and nothing is lost.

WSJF writers differ: the standard's short names (`sn`, `totTime`) and the longer ones of a client library's own dump
(`serialNumber`, `stepResults`) both occur. A member is asked for by all its names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dropmill.api import BadInput
from dropmill_plugins.converters.common.numbers import Number, parse_duration, parse_number
from dropmill_plugins.converters.common.steps import misc_entry
from dropmill_plugins.converters.common.strict_json import Doubled, Inexact
from dropmill_plugins.converters.common.timestamps import Timestamp, parse_timestamp
from dropmill_plugins.converters.json.flattening import flatten

__all__ = ["Members", "outcome_of"]

_OUTCOMES = {
    "p": "passed",
    "passed": "passed",
    "d": "passed",
    "done": "passed",
    "f": "failed",
    "failed": "failed",
    "e": "error",
    "error": "error",
    "t": "aborted",
    "terminated": "aborted",
    "s": "skipped",
    "skipped": "skipped",
}


def outcome_of(text: str | None) -> str | None:
    """The outcome of a status letter or word; done counts as passed. None: not known."""
    return None if text is None else _OUTCOMES.get(text.strip().lower())


class Members:
    """One object of the document."""

    def __init__(self, value: Any, where: str, warn: Any) -> None:
        if not isinstance(value, dict):
            raise BadInput("WSJF-SHAPE", f"{where or 'the report'} should be an object")
        if isinstance(value, Doubled):
            name = min(value.repeated)[:60]
            raise BadInput("JSON-DUPLICATE-NAME", f"{where or 'the report'} has {name!r} more than once")
        self._value: Mapping[str, Any] = value
        self._where = where
        self._warn = warn
        self._read: set[str] = set()

    def has(self, *names: str) -> bool:
        """Whether one of the members is there and not null."""
        return any(self._value.get(name) is not None for name in names)

    def take(self, *names: str) -> Any:
        """The first of these members that is there and not null; all of them count as read."""
        self._read.update(names)
        return next((self._value[name] for name in names if self._value.get(name) is not None), None)

    def text(self, *names: str) -> str | None:
        """A member as text; a number as it is written."""
        value = self.take(*names)
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, Inexact):
            return value.text
        if isinstance(value, (int, float)):
            return str(value)
        raise self.bad(names[0], "a single value")

    def array(self, *names: str) -> list[Any]:
        """A member that is an array; nothing is an empty one."""
        value = self.take(*names)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.bad(names[0], "an array")
        return value

    def object(self, *names: str) -> Members | None:
        """A member that is an object."""
        value = self.take(*names)
        return None if value is None else Members(value, self.path(names[0]), self._warn)

    def number(self, *names: str) -> tuple[Number | str | None, str | None]:
        """A number, and its text where that says more; a text that is none stays text."""
        value = self.take(*names)
        if isinstance(value, Inexact):
            return value.number, value.text
        if isinstance(value, str):
            found = parse_number(value)
            return (value, None) if found is None else (found, value)
        if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
            return value, None
        if isinstance(value, bool):
            return str(value).lower(), None
        raise self.bad(names[0], "a number")

    def seconds(self, *names: str) -> float | None:
        """A duration; one that cannot be right is a warning and None."""
        text = self.text(*names)
        if text is None:
            return None
        found = parse_duration(text)
        if found is None:
            self._warn("WSJF-DURATION", f"{self.path(names[0])} is {text[:40]!r}, which is no duration: left out")
            return None
        return found[0]

    def time(self, *names: str) -> tuple[Timestamp | None, str | None]:
        """A time, and its text where it cannot be read."""
        text = self.text(*names)
        if not text:
            return None, None
        found = parse_timestamp(text)
        if found is None:
            self._warn("WSJF-TIME", f"{self.path(names[0])} is {text[:40]!r}, which is no time: kept as text")
            return None, text
        return found, None

    def outcome(self, *names: str) -> tuple[str, str | None]:
        """An outcome and how the file words it; an unknown wording is a warning."""
        text = self.text(*names)
        found = outcome_of(text)
        if found is None and text is not None:
            self._warn("WSJF-STATUS", f"{self.path(names[0])} is {text[:40]!r}, which is not known")
        return found or "unknown", text

    def rest(self, prefix: str = "") -> list[dict[str, Any]]:
        """Every member that has not been read, as misc entries; null and empty ones say nothing and are left out."""
        kept = []
        for name, value in self._value.items():
            if name not in self._read and value is not None and value != [] and value != {}:
                kept.extend(_entries(value, prefix + name))
        return kept

    def path(self, name: str) -> str:
        """Where a member is, for messages."""
        return f"{self._where}.{name}" if self._where else name

    def bad(self, name: str, wanted: str) -> BadInput:
        """The refusal of a member that is not what it should be."""
        return BadInput("WSJF-SHAPE", f"{self.path(name)} should be {wanted}")


def _entries(value: Any, name: str) -> list[dict[str, Any]]:
    if isinstance(value, Inexact):
        return [misc_entry(name, value.text, "number")]
    if not isinstance(value, (dict, list)):
        return [misc_entry(name, value)]
    entries: list[dict[str, Any]] = []
    for one in flatten(value, name, _quiet):
        if "series" in one:
            members = one["series"]["axes"][0]["values"]
            entries.extend(misc_entry(f"{one['name']}/{index}", member) for index, member in enumerate(members))
        elif one["value"] is not None or "raw" in one:
            entries.append(misc_entry(one["name"], one.get("raw", one["value"])))
    return entries


def _quiet(code: str, message: str, *, line: int | None = None) -> None:
    """Nothing is lost that would need a warning: the text is kept."""
