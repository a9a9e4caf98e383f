"""Back-off never storms, never waits longer than it may, and never comes back before the destination said."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dropmill.delivery.backoff import MAX_RETRY_AFTER, Backoff

backoffs = st.builds(
    lambda base, factor: Backoff(base, base * factor),
    st.floats(0.001, 60, allow_nan=False),
    st.floats(1, 10_000, allow_nan=False),
)
fractions = st.floats(0, 1, allow_nan=False, exclude_max=True)
failures = st.integers(1, 1000)
wishes = st.none() | st.floats(allow_nan=True, allow_infinity=True)


def test_it_doubles_up_to_the_cap() -> None:
    backoff = Backoff(1.0, 300.0)
    assert [backoff.ceiling(failures) for failures in (1, 2, 3, 4, 9, 10, 100)] == [1, 2, 4, 8, 256, 300, 300]


def test_full_jitter_spreads_over_the_whole_interval() -> None:
    backoff = Backoff(1.0, 300.0)
    assert backoff.full(4, 0.0) == 0
    assert backoff.full(4, 0.5) == 4
    assert backoff.full(4, 0.999) < 8


def test_what_a_destination_asks_for_is_a_floor_with_some_spread() -> None:
    backoff = Backoff(1.0, 300.0)
    assert backoff.full(1, 0.0, after=120) == 120
    assert backoff.full(1, 0.5, after=120) == 126
    assert backoff.full(1, 0.5, after=1e9) == MAX_RETRY_AFTER * 1.05
    assert backoff.full(4, 0.5, after=0) == 4  # "at once" is no reason to storm
    assert backoff.full(4, 0.5, after=-5) == 4


@given(backoffs, failures, fractions, wishes)
def test_bounds(backoff: Backoff, number: int, fraction: float, after: float | None) -> None:
    for delay in (backoff.full(number, fraction, after=after), backoff.spaced(number, fraction, after=after)):
        assert 0 <= delay <= max(backoff.cap, MAX_RETRY_AFTER * 1.1)
        if after is not None and after > 0:
            assert delay >= min(after, MAX_RETRY_AFTER)


@given(backoffs, failures, fractions)
def test_asking_again_is_never_immediate(backoff: Backoff, number: int, fraction: float) -> None:
    assert backoff.spaced(number, fraction) >= backoff.ceiling(number) / 2


@given(backoffs, failures, fractions)
def test_more_failures_never_shorten_the_wait(backoff: Backoff, number: int, fraction: float) -> None:
    assert backoff.full(number + 1, fraction) >= backoff.full(number, fraction)
