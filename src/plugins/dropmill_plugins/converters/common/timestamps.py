"""Reads the times that files state, keeping exactly as much as they tell: never an offset, a time or a digit that is not there.

What cannot be read for sure is None, for the caller to warn about and to keep as text. The result's text matches the
report schema's `start`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta

__all__ = ["EXACT", "Timestamp", "parse_timestamp"]

EXACT = "exact"

_ISO = re.compile(
    r"""(?P<date>\d{4}-\d{2}-\d{2})
        (?:(?:[Tt]|\s)\s*(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d+))?)?
           \s*(?P<offset>[Zz]|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?)?""",
    re.VERBOSE | re.ASCII,
)
_RFC_5322 = re.compile(
    r"""(?:[A-Za-z]{3},\s*)?(?P<day>\d{1,2})\s+(?P<month>[A-Za-z]{3})\s+(?P<year>\d{4})
        \s+(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2}))?\s*(?P<offset>UTC|GMT|Z|[+-]\d{2}:?\d{2})?""",
    re.VERBOSE | re.ASCII,
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


@dataclass(frozen=True)
class Timestamp:
    """A time as the report schema wants it, and how much of it the file told."""

    text: str
    """ISO 8601: a date, a local time, or a time with its offset."""
    precision: str
    """`exact`, `local-no-offset` or `date-only`."""

    @property
    def exact(self) -> bool:
        """Whether the offset is known, so that the text is an RFC 3339 date-time."""
        return self.precision == EXACT


def parse_timestamp(text: str, pattern: str | None = None) -> Timestamp | None:
    """Read a time in ISO 8601 and its common misspellings, or as an e-mail date; or by `pattern` alone.

    Args:
        text: As in the file; surrounding white space is ignored.
        pattern: A `strptime` format; `%z` makes the time exact, and one without `%H` or `%I` gives a date.

    Returns:
        None where the text is no such time, or names a day or an hour that does not exist.
    """
    text = text.strip()
    if pattern is not None:
        return _by_pattern(text, pattern)
    found = _ISO.fullmatch(text)
    if found:
        return _build(found["date"], found)
    found = _RFC_5322.fullmatch(text)
    if found and found["month"].lower() in _MONTHS:
        month = _MONTHS.index(found["month"].lower()) + 1
        return _build(f"{found['year']}-{month:02}-{int(found['day']):02}", found)
    return None


def _build(day: str, found: re.Match[str]) -> Timestamp | None:
    parts = found.groupdict()
    hour = parts["hour"]
    try:
        if hour is None:
            date.fromisoformat(day)
            return Timestamp(day, "date-only")
        clock = f"{int(hour):02}:{parts['minute']}"
        if parts["second"] is not None:
            clock += f":{parts['second']}"
        datetime.fromisoformat(f"{day}T{clock}")
    except ValueError:
        return None
    if parts["second"] is None:
        clock += ":00"  # RFC 3339 has no time without seconds
    if parts.get("fraction"):
        clock += f".{parts['fraction']}"
    if parts["offset"] is None:
        return Timestamp(f"{day}T{clock}", "local-no-offset")
    offset = _offset(parts["offset"])
    return None if offset is None else Timestamp(f"{day}T{clock}{offset}", EXACT)


def _offset(text: str) -> str | None:
    if text[0] not in "+-":
        return "Z"
    digits = text[1:].replace(":", "").ljust(4, "0")
    return f"{text[0]}{digits[:2]}:{digits[2:]}" if int(digits[:2]) < 24 and int(digits[2:]) < 60 else None


def _by_pattern(text: str, pattern: str) -> Timestamp | None:
    try:
        # without %z the result is naive, and stays so: a made-up offset would be an invention
        moment = datetime.strptime(text, pattern)  # noqa: DTZ007
    except ValueError:
        return None
    if not ("%H" in pattern or "%I" in pattern or "%c" in pattern or "%X" in pattern or "%T" in pattern):
        return Timestamp(moment.date().isoformat(), "date-only")
    if moment.tzinfo is None:
        return Timestamp(moment.isoformat(), "local-no-offset")
    offset = moment.utcoffset() or timedelta(0)
    if offset.seconds % 60:
        return None
    return Timestamp(moment.isoformat(), EXACT)
