"""Reads numbers as people and programs write them; what is no finite number is told apart, never rounded or guessed away."""

from __future__ import annotations

import math
import re
from decimal import Decimal

__all__ = ["Number", "loses_digits", "parse_duration", "parse_number"]

_PLAIN = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_NON_FINITE = {
    "nan": "NaN",
    "inf": "Infinity",
    "+inf": "Infinity",
    "infinity": "Infinity",
    "+infinity": "Infinity",
    "-inf": "-Infinity",
    "-infinity": "-Infinity",
}

Number = int | float | dict[str, str]


def parse_number(text: str, decimal: str = ".", thousands: str = "") -> Number | None:
    """A number in a declared notation.

    Args:
        text: As in the file; surrounding white space is ignored.
        decimal: The decimal mark.
        thousands: The mark between groups of three digits of the whole part, or nothing.

    Returns:
        An int where the text has only digits and every one of them counts, a float, `{"nonFinite": ...}` for NaN and the
        infinities, or None: not a number, or too large for one.
    """
    text = text.strip()
    known = _NON_FINITE.get(text.lower())
    if known:
        return {"nonFinite": known}
    plain = text if decimal == "." and not thousands else _plain(text, decimal, thousands)
    if not _PLAIN.fullmatch(plain):
        return None
    if _INTEGER.fullmatch(plain) and abs(int(plain)) < 2**53:
        return int(plain)
    value = float(plain)
    return value if math.isfinite(value) else None


def loses_digits(text: str, value: float) -> bool:
    """Whether `value` says less than the plain decimal `text`: more digits than a double holds, or an underflow to zero."""
    return len(text) > 15 and Decimal(text) != Decimal(repr(value))


def _plain(text: str, decimal: str, thousands: str) -> str:
    """Rewrite a declared notation with a point and no groups; what breaks its rules comes out as no number."""
    whole, mark, rest = text.partition(decimal)
    if thousands and thousands in whole:
        sign = whole[:1] if whole[:1] in "+-" else ""
        first, *others = whole[len(sign) :].split(thousands)
        if not 1 <= len(first) <= 3 or any(len(group) != 3 for group in others):
            return ""
        whole = sign + first + "".join(others)
    if decimal != "." and "." in whole + rest:
        return ""
    return whole + ("." + rest if mark else "")


def parse_duration(text: str) -> tuple[float, bool] | None:
    """Seconds as test runners write them: with a point, a comma, or both.

    With both, the last one is the decimal mark. A lone comma before exactly three digits groups thousands (`1,234` is 1234 s,
    as the common readers of these files agree), unless the whole part is 0.

    Returns:
        The seconds, zero or more, and whether a comma could have been read the other way; None for what is negative, not
        finite or no number.
    """
    text = text.strip()
    ambiguous = False
    if "," in text:
        text, ambiguous = _settle_commas(text)
    if not _PLAIN.fullmatch(text):
        return None
    seconds = float(text)
    return (seconds + 0.0, ambiguous) if math.isfinite(seconds) and seconds >= 0 else None


def _settle_commas(text: str) -> tuple[str, bool]:
    point, comma = text.rfind("."), text.rfind(",")
    if point > comma:
        return text.replace(",", ""), False
    if point < 0 and text.count(",") > 1:
        return text.replace(",", ""), False
    whole, _, rest = text.rpartition(",")
    if point < 0 and len(rest) == 3 and whole.lstrip("+-0"):
        return whole + rest, True
    return whole.replace(".", "") + "." + rest, False
