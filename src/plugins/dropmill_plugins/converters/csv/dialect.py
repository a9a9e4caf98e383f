"""Finds the delimiter of a text from how evenly each candidate splits its rows. Deterministic, and unsure rather than wrong.

A candidate is judged by the rows that it makes of the sample, quotes respected. It wins when it alone splits them evenly, or
when no other candidate occurs. A comma that stands only between digits beside an even other one is a decimal mark.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["CANDIDATES", "Guess", "find_delimiter"]

CANDIDATES = (",", ";", "\t", "|")
NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_DECIMAL_COMMA = re.compile(r"(?<=\d),(?=\d)")


@dataclass(frozen=True)
class Guess:
    """What the sample shows."""

    delimiter: str | None
    """None: unsure."""
    columns: int
    """That most of the sample's rows have; 1 where no candidate occurs."""
    reason: str
    """For a person: why, or what speaks against a decision."""


def find_delimiter(lines: Sequence[str], formats: Mapping[str, Any], *, truncated: bool) -> Guess:
    """Judge every candidate.

    Args:
        lines: The start of the text, with line ends.
        formats: The csv module's other parameters.
        truncated: Whether the text goes on, so that the last row may be incomplete.
    """
    seen: dict[str, Counter[int]] = {}
    for candidate in CANDIDATES:
        if any(candidate in line for line in lines):
            widths = _widths(lines, candidate, formats, truncated=truncated)
            if max(widths, default=1) > 1:
                seen[candidate] = widths
    if not seen:
        return Guess(",", 1, "no delimiter occurs: one column")
    even = [candidate for candidate, widths in seen.items() if len(widths) == 1]
    if len(even) == 1:
        return _sure(even[0], seen, "splits every row evenly")
    if len(even) > 1:
        return _settle(even, lines, seen)
    if len(seen) == 1:
        ((candidate, widths),) = seen.items()
        width, often = _usual(widths)
        if min(widths) > 1 or (width > 1 and often * 2 >= sum(widths.values())):
            return _sure(candidate, seen, "is the only delimiter that occurs")
        return Guess(None, 1, f"a {NAMES[candidate]} occurs, but most rows have none")
    mostly = [
        candidate
        for candidate, widths in seen.items()
        if _usual(widths)[0] > 1 and _usual(widths)[1] * 5 >= sum(widths.values()) * 4
    ]
    if len(mostly) == 1:
        return _sure(mostly[0], seen, "splits nearly every row evenly")
    rivals = mostly or list(seen)
    return Guess(None, 1, f"{' and '.join(NAMES[one] for one in rivals)} occur, and none alone splits the rows evenly")


def _sure(candidate: str, seen: Mapping[str, Counter[int]], reason: str) -> Guess:
    return Guess(candidate, _usual(seen[candidate])[0], f"{NAMES[candidate]} {reason}")


def _settle(even: list[str], lines: Iterable[str], seen: Mapping[str, Counter[int]]) -> Guess:
    """Several split evenly: only a comma that is a decimal mark everywhere can be ruled out."""
    others = [candidate for candidate in even if candidate != ","]
    if len(others) == 1 and all(line.count(",") == len(_DECIMAL_COMMA.findall(line)) for line in lines):
        return _sure(others[0], seen, "splits every row evenly, and commas stand only between digits")
    return Guess(None, 1, f"{' and '.join(NAMES[one] for one in even)} all split the rows evenly")


def _usual(widths: Counter[int]) -> tuple[int, int]:
    """The most frequent width, the larger of two that are as frequent, and how often it occurs."""
    width = max(widths, key=lambda one: (widths[one], one))
    return width, widths[width]


def _widths(lines: Sequence[str], candidate: str, formats: Mapping[str, Any], *, truncated: bool) -> Counter[int]:
    rows: list[int] = []
    blank = 0
    try:
        for row in csv.reader(lines, delimiter=candidate, **{**formats, "strict": False}):
            if any(row):
                rows.append(len(row))
            else:
                blank += 1
    except csv.Error:
        return Counter()
    if truncated and len(rows) > 1:
        rows.pop()
    return Counter(rows)
