from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dropmill.conversion.breaker import Breakers


@pytest.fixture
def breakers() -> Breakers:
    return Breakers(files=3, window=600.0, rest=60.0)


def open_it(breakers: Breakers, now: float = 0.0) -> None:
    for file in ("a", "b"):
        assert not breakers.faulted("acme", file, "boo", now)
    assert breakers.faulted("acme", "c", "boo", now)


def test_three_files_in_the_window_open_it(breakers: Breakers) -> None:
    open_it(breakers)
    assert "faulted on 3 files within 10 minutes, last with: boo" in (breakers.ask("acme", "d", 1.0) or "")
    assert breakers.reason("acme")
    assert breakers.ask("other", "d", 1.0) is None
    assert breakers.reason("other") is None
    (view,) = breakers.views
    assert (view.plugin, view.retry_at, view.trying) == ("acme", 60.0, None)


def test_one_file_many_times_does_not(breakers: Breakers) -> None:
    assert not any(breakers.faulted("acme", "a", "boo", float(now)) for now in range(50))


def test_old_faults_do_not_count(breakers: Breakers) -> None:
    breakers.faulted("acme", "a", "boo", 0.0)
    breakers.faulted("acme", "b", "boo", 300.0)
    assert not breakers.faulted("acme", "c", "boo", 600.0)
    assert breakers.faulted("acme", "d", "boo", 601.0)


def test_one_file_tries_it_and_closes_it(breakers: Breakers) -> None:
    open_it(breakers)
    assert breakers.due(59.0) == []
    assert breakers.next_due() == 60.0
    assert breakers.due(60.0) == ["acme"]
    assert breakers.ask("acme", "d", 60.0) is None
    assert breakers.ask("acme", "e", 60.0) is not None
    assert breakers.ask("acme", "d", 60.0) is None, "the same file may ask again"
    assert breakers.due(70.0) == []
    assert breakers.next_due() is None
    assert not breakers.worked("acme", "e")
    assert breakers.worked("acme", "d")
    assert breakers.ask("acme", "e", 61.0) is None
    assert breakers.views == []
    assert not breakers.faulted("acme", "f", "boo", 62.0), "it begins anew"


def test_a_trial_that_fails_rests_longer(breakers: Breakers) -> None:
    open_it(breakers)
    now, rests = 60.0, []
    for turn in range(8):
        assert breakers.ask("acme", f"t{turn}", now) is None
        assert not breakers.faulted("acme", f"t{turn}", "again", now)
        (view,) = breakers.views
        rests.append(view.retry_at - now)
        now = view.retry_at
    assert rests == [120, 240, 480, 960, 1920, 3600, 3600, 3600]


def test_a_trial_that_teaches_nothing_leaves_it_to_the_next_file(breakers: Breakers) -> None:
    open_it(breakers)
    assert breakers.ask("acme", "d", 60.0) is None
    breakers.left("d")
    assert breakers.ask("acme", "e", 60.0) is None


def test_a_fault_of_a_file_that_began_before_changes_nothing(breakers: Breakers) -> None:
    open_it(breakers)
    assert not breakers.faulted("acme", "late", "boo", 5.0)
    assert breakers.due(60.0) == ["acme"]


def test_reset(breakers: Breakers) -> None:
    open_it(breakers)
    assert breakers.reset("acme")
    assert breakers.ask("acme", "d", 1.0) is None
    assert not breakers.reset("acme")
    assert not breakers.worked("acme", "d")


class Machine(RuleBasedStateMachine):
    """Whatever happens, an open plugin is asked by one file at most, and never before its time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.breakers = Breakers(files=2, window=100.0, rest=10.0)
        self.asking: set[str] = set()

    @rule(seconds=st.floats(0, 50))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(file=st.sampled_from("abcdef"))
    def ask(self, file: str) -> None:
        was_open = self.breakers.reason("p") is not None
        due = self.breakers.due(self.now) == ["p"]
        answer = self.breakers.ask("p", file, self.now)
        if was_open and answer is None:
            assert due or file in self.asking
            self.asking.add(file)

    @rule(file=st.sampled_from("abcdef"))
    def fault(self, file: str) -> None:
        self.breakers.faulted("p", file, "x", self.now)
        self.asking.discard(file)

    @rule(file=st.sampled_from("abcdef"))
    def work(self, file: str) -> None:
        if self.breakers.worked("p", file):
            assert file in self.asking
            self.asking.clear()

    @rule(file=st.sampled_from("abcdef"))
    def leave(self, file: str) -> None:
        self.breakers.left(file)
        self.asking.discard(file)

    @invariant()
    def one_at_a_time(self) -> None:
        if self.breakers.views:
            (view,) = self.breakers.views
            assert (view.trying is None) == (not self.asking)
        assert len(self.asking) <= 1


TestBreakers = Machine.TestCase
