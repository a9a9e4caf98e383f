from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from dropmill.config.quantities import PATTERNS, UNITS, Unit, parse, write


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("10 GB", "bytes", 10_000_000_000),
        ("64MiB", "bytes", 64 * 2**20),
        ("1.5 KiB", "bytes", 1536),
        ("512", "bytes", 512),
        ("7 B", "bytes", 7),
        ("2 kB", "bytes", 2000),
        ("2 KB", "bytes", 2000),
        ("5 min", "seconds", 300),
        ("1 h 30 min", "seconds", 5400),
        ("500 ms", "seconds", 0.5),
        (" 2.5 s ", "seconds", 2.5),
        ("30 d", "seconds", 2_592_000),
        ("90", "seconds", 90),
    ],
)
def test_what_people_write(text: str, unit: Unit, value: float) -> None:
    assert parse(text, unit) == value


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("", "bytes"),
        ("10 gigs", "bytes"),
        ("-1 GB", "bytes"),
        ("1 GB 2 MB", "bytes"),
        ("1e3", "bytes"),
        ("5 m", "seconds"),
        ("5 minutes", "seconds"),
        ("min", "seconds"),
        ("1 h30 min", "seconds"),
        ("1,5 s", "seconds"),
        ("1 h 30", "seconds"),
        ("nan", "seconds"),
        ("\u0661 s", "seconds"),
    ],
)
def test_what_cannot_be_read(text: str, unit: Unit) -> None:
    assert parse(text, unit) is None
    assert re.search(PATTERNS[unit], text) is None


@settings(deadline=None)
@given(some.integers(0, 2**53), some.sampled_from(["bytes", "seconds"]))
def test_what_is_written_reads_as_the_same(value: int, unit: Unit) -> None:
    assert parse(write(value, unit), unit) == value


@settings(deadline=None)
@given(some.floats(0, 1e6), some.sampled_from(sorted(UNITS["seconds"])))
def test_every_unit_has_its_worth(number: float, name: str) -> None:
    text = f"{number:.3f} {name}"
    assert parse(text, "seconds") == pytest.approx(float(f"{number:.3f}") * UNITS["seconds"][name])


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (10_000_000_000, "bytes", "10 GB"),
        (2**30, "bytes", "1 GiB"),
        (1000, "bytes", "1 kB"),
        (0, "bytes", "0 B"),
        (2, "seconds", "2 s"),
        (0.25, "seconds", "0.25 s"),
        (90, "seconds", "90 s"),
        (5400, "seconds", "90 min"),
        (86400, "seconds", "1 d"),
    ],
)
def test_the_shortest_way_to_write_it(value: float, unit: Unit, text: str) -> None:
    assert write(value, unit) == text
