"""Builds measurements and their limits, the same way for every declared mapping."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from dropmill_plugins.converters.common.numbers import Number, loses_digits

__all__ = ["LimitError", "judge", "limit", "measurement"]

Value = Number | str | bool | None

_NEEDS_LOW = frozenset({"GT", "GE", "GTLT", "GTLE", "GELT", "GELE", "LTGT", "LEGE"})
_NEEDS_HIGH = frozenset({"LT", "LE", "GTLT", "GTLE", "GELT", "GELE", "LTGT", "LEGE"})
_NEEDS_EXPECTED = frozenset({"EQ", "NE", "CASE_EQ", "MATCH", "IN"})


class LimitError(ValueError):
    """The comparator needs a bound that is not there."""


def limit(comparator: str | None, low: Value, high: Value, expected: Value) -> dict[str, Any] | None:
    """A limit of the schema; without a comparator it follows from the bounds, both of them included.

    Returns:
        None where there is nothing to compare with.

    Raises:
        LimitError: The comparator needs a bound that is missing.
    """
    if comparator is None:
        if expected is not None:
            comparator = "EQ"
        elif low is not None or high is not None:
            comparator = "GELE" if low is not None and high is not None else "GE" if low is not None else "LE"
        else:
            return None
    lacks = (
        "a low limit"
        if comparator in _NEEDS_LOW and low is None
        else "a high limit"
        if comparator in _NEEDS_HIGH and high is None
        else "an expected value"
        if comparator in _NEEDS_EXPECTED and expected is None
        else None
    )
    if lacks:
        raise LimitError(f"the comparator {comparator} needs {lacks}")
    bounds = {"low": low, "high": high, "expected": expected}
    return {"comparator": comparator, **{key: value for key, value in bounds.items() if value is not None}}


def measurement(
    name: str,
    value: Value,
    status: str,
    *,
    text: str | None = None,
    unit: str | None = None,
    limits: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A measurement; `text` is kept beside a number that has lost digits of it."""
    built: dict[str, Any] = {"name": name, "value": value, "status": status}
    if unit is not None:
        built["unit"] = unit
    if (
        text is not None
        and isinstance(value, (int, float))
        and not isinstance(value, bool)
        and loses_digits(text, value)
    ):
        built["raw"] = text
    if limits is not None:
        built["limits"] = [dict(limits)]
    return built


def judge(value: Value, limits: Mapping[str, Any] | None) -> str:
    """`passed` or `failed` by a limit; `unknown` where there is none, or it cannot be applied to the value."""
    if limits is None or limits["comparator"] in ("LOG", "MATCH", "IN"):
        return "unknown"
    comparator, expected = limits["comparator"], limits.get("expected")
    if comparator in ("EQ", "NE", "CASE_EQ"):
        return _equal(value, expected, comparator)
    if isinstance(value, dict):
        return "failed" if value["nonFinite"] == "NaN" else "unknown"
    low, high = limits.get("low"), limits.get("high")
    if not _number(value) or (low is not None and not _number(low)) or (high is not None and not _number(high)):
        return "unknown"
    return "passed" if _within(value, comparator, low, high) else "failed"


def _equal(value: Value, expected: Value, comparator: str) -> str:
    if isinstance(value, dict) or isinstance(expected, dict) or value is None:
        return "unknown"
    same = value == expected
    if comparator == "CASE_EQ" and isinstance(value, str) and isinstance(expected, str):
        same = value.casefold() == expected.casefold()
    return "passed" if same is (comparator != "NE") else "failed"


def _number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _within(value: float, comparator: str, low: float | None, high: float | None) -> bool:
    below_low, above_high = low is not None and value < low, high is not None and value > high
    at_low, at_high = value == low, value == high
    if comparator == "LTGT":
        return below_low or above_high
    if comparator == "LEGE":
        return below_low or above_high or at_low or at_high
    excluded = (at_low and comparator.startswith("GT")) or (at_high and comparator.endswith("LT"))
    return not (below_low or above_high or excluded)
