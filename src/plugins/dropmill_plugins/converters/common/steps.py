"""Small pieces that every converter builds reports from: outcomes of many as one, misc entries, names fit for JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["misc_entry", "overall", "shown"]

_SEVERITY = ("error", "failed", "aborted", "unknown", "passed", "skipped")


def overall(outcomes: Iterable[str]) -> str:
    """The outcome of a group: the most severe one within it; `unknown` for none, `skipped` only where all are.

    Error comes before failed, as in test executives and JUnit's readers: what could not be run says nothing of the unit.
    """
    found = set(outcomes)
    return next((outcome for outcome in _SEVERITY if outcome in found), "unknown")


def misc_entry(name: str, value: str | float | bool | None, kind: str | None = None) -> dict[str, Any]:
    """An entry of the schema's `misc`."""
    entry: dict[str, Any] = {"name": name, "value": value}
    if kind is not None:
        entry["type"] = kind
    return entry


def shown(name: str) -> str:
    """A file's name with the bytes that are not UTF-8 replaced, so that it can stand in JSON."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
