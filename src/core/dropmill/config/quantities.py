"""Sizes and durations as people write them: `"10 GB"`, `"1 h 30 min"`; plain numbers are bytes and seconds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Literal

__all__ = ["PATTERNS", "UNITS", "Unit", "parse", "write"]

Unit = Literal["bytes", "seconds"]

UNITS: Mapping[Unit, Mapping[str, float]] = {
    "bytes": {
        "B": 1,
        "kB": 1e3,
        "KB": 1e3,
        "MB": 1e6,
        "GB": 1e9,
        "TB": 1e12,
        "KiB": 2**10,
        "MiB": 2**20,
        "GiB": 2**30,
        "TiB": 2**40,
    },
    "seconds": {"ms": 0.001, "s": 1, "min": 60, "h": 3600, "d": 86400},
}
"""What may follow a number, and what it is worth."""

_NUMBER = r"[0-9]+(?:\.[0-9]+)?"


def _part(unit: Unit) -> str:
    return rf"({_NUMBER})\s*({'|'.join(UNITS[unit])})"


PATTERNS: Mapping[Unit, str] = {
    "bytes": rf"^\s*{_NUMBER}\s*(?:{'|'.join(UNITS['bytes'])})?\s*$",
    "seconds": rf"^\s*(?:{_NUMBER}|{_NUMBER}\s*(?:{'|'.join(UNITS['seconds'])})"
    rf"(?:\s+{_NUMBER}\s*(?:{'|'.join(UNITS['seconds'])}))*)\s*$",
}
"""Regular expressions (of JSON Schema) that exactly the readable texts match."""


def parse(text: str, unit: Unit) -> float | None:
    """The number of bytes or seconds, or None where the text cannot be read. Whole numbers come as `int`."""
    if re.match(PATTERNS[unit], text) is None:
        return None
    parts = re.findall(_part(unit), text)
    value = sum(float(number) * UNITS[unit][name] for number, name in parts) if parts else float(text)
    return int(value) if value == int(value) else value


def write(value: float, unit: Unit) -> str:
    """The shortest exact way to write it, for documentation and samples: `10 GB`, `30 d`, `2 s`."""
    for name, worth in sorted(UNITS[unit].items(), key=lambda pair: -pair[1]):
        if name != "KB" and worth >= 1 and value >= worth and value % worth == 0:
            return f"{_plain(value / worth)} {name}"
    return f"{_plain(value)} {'B' if unit == 'bytes' else 's'}"


def _plain(value: float) -> str:
    """Without an exponent."""
    return format(Decimal(repr(value)).normalize(), "f")
