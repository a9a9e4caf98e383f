"""The breaker against a plain model, and the properties that people rely on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dropmill.delivery.backoff import Backoff
from dropmill.delivery.breaker import Breaker, Cause, Circuit

PACE = Backoff(1.0, 30.0)
SLOW = Backoff(30.0, 300.0)
fractions = st.floats(0, 1, exclude_max=True, allow_nan=False)


def breaker(threshold: int = 3) -> Breaker:
    return Breaker(pace=PACE, pace_authentication=SLOW, threshold=threshold)


def test_it_opens_after_failures_in_a_row_and_closes_after_one_trial() -> None:
    state = breaker(3)
    for _ in range(2):
        state = state.failed(0, "503", fraction=0.5)
        assert state.circuit is Circuit.CLOSED
    state = state.failed(0, "503", fraction=0.5)
    assert (state.circuit, state.cause, state.reason) == (Circuit.OPEN, Cause.FAILURES, "503")
    assert not state.due(0.74)
    assert state.due(0.75)
    state = state.probed()
    assert state.circuit is Circuit.TRIAL
    state = state.succeeded()
    assert (state.circuit, state.failures, state.opened, state.reason) == (Circuit.CLOSED, 0, 0, "")


def test_a_success_between_failures_starts_the_count_again() -> None:
    state = breaker(2).failed(0, "", fraction=0).succeeded().failed(0, "", fraction=0)
    assert state.circuit is Circuit.CLOSED


def test_a_failed_trial_opens_for_longer_although_the_probe_went_well() -> None:
    state = breaker(1)
    waits = []
    for now in range(0, 600, 60):
        state = state.failed(now, "503", fraction=0.0).probed() if now else state.failed(now, "503", fraction=0.0)
        waits.append(state.until - now)
        state = state.probed()
    assert waits == [0.5, 1, 2, 4, 8, 15, 15, 15, 15, 15]


def test_refused_credentials_are_tried_at_a_pace_that_locks_no_account() -> None:
    state = breaker().refused(0, Cause.AUTHENTICATION, "401", fraction=0.5)
    assert state.until == 22.5
    assert state.probed().refused(100, Cause.AUTHENTICATION, "401", fraction=0.5).until == 145


def test_what_comes_late_while_open_changes_only_what_is_told() -> None:
    state = breaker().refused(0, Cause.UNAVAILABLE, "refused", fraction=0.5)
    late = state.late_refusal(Cause.AUTHENTICATION, "401")
    assert (late.until, late.opened) == (state.until, state.opened)
    assert (late.cause, late.reason) == (Cause.AUTHENTICATION, "401")
    failed = state.failed(0, "503", fraction=0.5)
    assert (failed.until, failed.opened, failed.reason) == (state.until, state.opened, "refused")


def test_a_wish_of_the_destination_is_honoured() -> None:
    assert breaker(1).failed(0, "429", fraction=0, after=120).until == 120
    assert breaker().refused(0, Cause.UNAVAILABLE, "", fraction=0, after=120).until == 120


def test_somebody_may_ask_for_a_trial_at_once() -> None:
    state = breaker(1).failed(0, "", fraction=0.5)
    assert state.hurried(0.1).due(0.1)
    assert breaker().hurried(0.1) == breaker()


@given(st.integers(1, 20), fractions)
def test_only_the_threshold_opens_it(threshold: int, fraction: float) -> None:
    state = breaker(threshold)
    for number in range(1, threshold + 1):
        state = state.failed(0, "x", fraction=fraction)
        assert (state.circuit is Circuit.OPEN) == (number == threshold)


class BreakerMachine(RuleBasedStateMachine):
    """Any order of events: the breaker agrees with a model of a few lines, and its waits stay within bounds."""

    @initialize(threshold=st.integers(1, 6))
    def start(self, threshold: int) -> None:
        self.now = 0.0
        self.threshold = threshold
        self.real = breaker(threshold)
        self.circuit = "closed"
        self.in_a_row = 0
        self.opened = 0

    @rule(seconds=st.floats(0, 100))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def success(self) -> None:
        self.real = self.real.succeeded()
        self.circuit, self.in_a_row, self.opened = "closed", 0, 0

    @rule(fraction=fractions)
    def failure(self, fraction: float) -> None:
        self.real = self.real.failed(self.now, "failed", fraction=fraction)
        self.in_a_row += 1
        if self.circuit == "trial" or (self.circuit == "closed" and self.in_a_row >= self.threshold):
            self.circuit = "open"
            self.opened += 1

    @precondition(lambda self: self.circuit != "open")
    @rule(cause=st.sampled_from([Cause.UNAVAILABLE, Cause.AUTHENTICATION]), fraction=fractions)
    def refusal(self, cause: Cause, fraction: float) -> None:
        self.real = self.real.refused(self.now, cause, "refused", fraction=fraction)
        self.circuit = "open"
        self.opened += 1

    @precondition(lambda self: self.circuit == "open" and self.real.due(self.now))
    @rule()
    def probe(self) -> None:
        self.real = self.real.probed()
        self.circuit = "trial"

    @rule()
    def hurry(self) -> None:
        self.real = self.real.hurried(self.now)
        assert self.circuit != "open" or self.real.due(self.now)

    @invariant()
    def agrees(self) -> None:
        if hasattr(self, "real"):
            assert self.real.circuit.value == self.circuit
            assert self.real.opened == self.opened
            assert self.real.failures == self.in_a_row
            assert self.real.until - self.now <= SLOW.cap
            assert bool(self.real.cause) == (self.circuit != "closed")


TestBreakerMachine = BreakerMachine.TestCase
