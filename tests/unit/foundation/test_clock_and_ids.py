"""Clocks and ids."""

from __future__ import annotations

import time
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from dropmill.foundation.clock import Clock, ManualClock, SystemClock, utc_iso
from dropmill.foundation.ids import IdSource


def test_the_system_clock_is_the_machines() -> None:
    clock: Clock = SystemClock()
    assert abs(clock.time() - time.time()) < 5
    before = clock.monotonic()
    assert before <= time.monotonic() <= clock.monotonic() + 1e-6 or clock.monotonic() >= before


def test_a_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock(100.0)
    wall, ticks = clock.time(), clock.monotonic()
    assert (clock.time(), clock.monotonic()) == (wall, ticks)
    clock.advance(5)
    assert (clock.time() - wall, clock.monotonic() - ticks) == (5, 5)
    clock.step(-3600)
    assert (clock.time() - wall, clock.monotonic() - ticks) == (5 - 3600, 5)


def test_times_for_people() -> None:
    assert utc_iso(0) == "1970-01-01T00:00:00.000Z"
    assert utc_iso(1_700_000_000.1239) == "2023-11-14T22:13:20.123Z"


@given(st.lists(st.floats(0, 1000), min_size=2, max_size=50))
def test_ids_sort_by_the_time_they_were_made(pauses: list[float]) -> None:
    clock = ManualClock()
    source = IdSource(clock, Random(1))
    made = []
    for pause in pauses:
        clock.advance(pause + 0.001)
        made.append(source.new())
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_ids_are_short_safe_and_distinct() -> None:
    source = IdSource(ManualClock(), Random(2))
    ids = [source.new() for _ in range(10_000)]
    assert len(set(ids)) == 10_000, "35 random bits within one millisecond"
    assert {len(one) for one in ids} == {16}
    assert set("".join(ids)) <= set("0123456789abcdefghjkmnpqrstvwxyz")
    assert len({one[:9] for one in ids}) == 1, "the first 45 bits are the time"
