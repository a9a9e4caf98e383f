"""The two breaker rules and the back-off, as arithmetic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropmill.supervision.restarts import FailureLog, OpenBreaker, RestartAfter
from dropmill.supervision.spec import ChildSpec, SupervisionError
from support.children import obedient


def log(**options: object) -> FailureLog:
    return FailureLog(ChildSpec(name="c", run=obedient, **options))


def test_backoff_doubles_to_its_cap() -> None:
    failures = log(intensity=100, max_failures=100)
    delays = [failures.record(1000.0 * n, 1.0, chance=0.5) for n in range(9)]
    assert delays == [RestartAfter(delay) for delay in (1, 2, 4, 8, 16, 32, 60, 60, 60)]


@given(st.integers(0, 99), st.floats(0, 1, exclude_max=True))
def test_jitter_is_a_fifth_and_never_above_the_cap(earlier: int, chance: float) -> None:
    failures = log(intensity=1000, max_failures=1000)
    for n in range(earlier):
        failures.record(1000.0 * n, 1.0, chance=0.5)
    verdict = failures.record(1000.0 * earlier, 1.0, chance=chance)
    assert isinstance(verdict, RestartAfter)
    nominal = min(60.0, 2.0 ** min(earlier, 60))
    assert 0.8 * nominal <= verdict.delay <= min(60.0, 1.2 * nominal)


def test_the_fourth_failure_in_the_period_opens() -> None:
    failures = log()
    assert [type(failures.record(now, 1.0, chance=0.5)) for now in (0, 100, 200, 300)] == [
        RestartAfter,
        RestartAfter,
        RestartAfter,
        OpenBreaker,
    ]


def test_one_that_lies_just_outside_the_period_does_not_count() -> None:
    failures = log()
    verdicts = [failures.record(now, 1.0, chance=0.5) for now in (0, 100, 200, 300.001)]
    assert all(isinstance(verdict, RestartAfter) for verdict in verdicts)


def test_slow_crashes_open_at_the_tenth() -> None:
    failures = log()
    verdicts = [failures.record(500.0 * n, 450.0, chance=0.5) for n in range(10)]
    assert [isinstance(verdict, OpenBreaker) for verdict in verdicts] == [False] * 9 + [True]
    assert "10 failures without 600 s" in verdicts[-1].reason


def test_a_long_life_forgives() -> None:
    failures = log()
    for n in range(9):
        failures.record(500.0 * n, 450.0, chance=0.5)
    assert failures.record(10_000.0, 600.0, chance=0.5) == RestartAfter(1.0)
    assert failures.failures == 1


def test_a_failed_trial_opens_again_at_once() -> None:
    failures = log()
    assert isinstance(failures.record(10_000.0, 5.0, chance=0.5, trial=True), OpenBreaker)


def test_no_patience_at_all() -> None:
    assert isinstance(log(intensity=0).record(0.0, 1.0, chance=0.5), OpenBreaker)
    assert isinstance(log(max_failures=1).record(0.0, 1.0, chance=0.5), OpenBreaker)


@given(st.lists(st.floats(0, 700), min_size=1, max_size=40), st.integers(0, 6), st.integers(1, 12))
def test_as_a_simple_model_says(lives: list[float], intensity: int, max_failures: int) -> None:
    """Against a model that keeps every failure and counts anew each time."""
    failures = log(intensity=intensity, max_failures=max_failures)
    now, times, run = 0.0, [], 0
    for life in lives:
        now += life
        if life >= 600:
            times, run = [], 0
        times.append(now)
        run += 1
        verdict = failures.record(now, life, chance=0.5)
        opened = sum(now - time <= 300 for time in times) > intensity or run >= max_failures
        assert isinstance(verdict, OpenBreaker) == opened
        if opened:
            break
        now += verdict.delay


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"reset": 300.0}, "reset is not greater than period"),
        ({"intensity": -1}, "intensity is negative"),
        ({"period": 0.0}, "period is not positive"),
        ({"backoff": 0.0}, "backoff is not positive"),
        ({"backoff": 90.0}, "backoff_cap is less than backoff"),
        ({"max_failures": 0}, "max_failures is less than 1"),
        ({"heartbeat": 0.0}, "heartbeat is not positive"),
        ({"depends": ("c",)}, "it depends on itself"),
    ],
)
def test_a_specification_that_cannot_be_is_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(SupervisionError, match=said) as caught:
        ChildSpec(name="c", run=obedient, **options)
    assert caught.value.code == "DM-S008"


def test_a_child_needs_a_name() -> None:
    with pytest.raises(SupervisionError, match="needs a name"):
        ChildSpec(name="", run=obedient)
