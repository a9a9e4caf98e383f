from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from dropmill.api import AgentEvent
from dropmill.foundation.errors import Problem
from dropmill.plugins import EventBroadcaster, Listener

WAIT = 5.0


def event(number: int = 0) -> AgentEvent:
    return AgentEvent(name="file.claimed", time=float(number))


class Ear:
    """A listener that says when it has heard `expected` events."""

    def __init__(self, expected: int, act: Callable[[AgentEvent], Any] = lambda _: None) -> None:
        self.heard: list[float] = []
        self.done = threading.Event()
        self._expected = expected
        self._act = act

    def __call__(self, told: AgentEvent) -> None:
        self.heard.append(told.time)
        try:
            self._act(told)
        finally:
            if len(self.heard) >= self._expected:
                self.done.set()


def ignore(_: Problem) -> None:
    pass


def test_every_listener_hears_every_event_in_order() -> None:
    ears = {"one": Ear(3), "two": Ear(3)}
    broadcaster = EventBroadcaster([Listener(plugin=name, call=ear) for name, ear in ears.items()], ignore)
    broadcaster.start()
    for number in range(3):
        broadcaster.publish(event(number))
    assert broadcaster.stop() == []
    assert [ear.heard for ear in ears.values()] == [[0, 1, 2]] * 2
    assert broadcaster.counts()["one"].delivered == 3


@pytest.mark.parametrize("failure", [ValueError("no"), SystemExit(3), KeyboardInterrupt()])
def test_a_listener_that_raises_is_counted_and_told_of_once(failure: BaseException) -> None:
    def act(_: AgentEvent) -> None:
        raise failure

    told: list[Problem] = []
    broadcaster = EventBroadcaster([Listener(plugin="bad", call=Ear(5, act))], told.append)
    broadcaster.start()
    for number in range(5):
        broadcaster.publish(event(number))
    assert broadcaster.stop() == []
    counts = broadcaster.counts()["bad"]
    assert (counts.failed, counts.delivered) == (5, 0)
    assert type(failure).__name__ in counts.last_error
    [problem] = told
    assert problem.code == "DM-P050"
    assert "'bad'" in problem.what


def test_recovery_is_told_once_it_lasts() -> None:
    def act(told: AgentEvent) -> None:
        if told.time < 2:
            raise ValueError

    told: list[str] = []
    broadcaster = EventBroadcaster([Listener(plugin="p", call=act)], lambda problem: told.append(problem.code))
    broadcaster.start()
    for number in range(20):
        broadcaster.publish(event(number))
    broadcaster.stop()
    assert told == ["DM-P050", "DM-P051"]


def test_a_listener_that_hangs_holds_nobody_up_and_its_buffer_is_bounded() -> None:
    release, entered = threading.Event(), threading.Event()

    def hang(_: AgentEvent) -> None:
        entered.set()
        release.wait(WAIT)

    quick = Ear(100)
    broadcaster = EventBroadcaster(
        [Listener(plugin="stuck", call=hang), Listener(plugin="quick", call=quick)], ignore, buffer=10
    )
    broadcaster.start()
    broadcaster.publish(event())
    assert entered.wait(WAIT)
    for number in range(1, 100):
        broadcaster.publish(event(number))
        assert not quick.done.wait(0) or number == 99
        while len(quick.heard) < number:
            threading.Event().wait(0.001)
    assert quick.done.wait(WAIT)
    counts = broadcaster.counts()["stuck"]
    assert (counts.waiting, counts.dropped) == (10, 89)
    assert counts.busy > 0
    assert broadcaster.stop(timeout=0.05) == ["stuck"]
    assert broadcaster.counts()["stuck"].dropped == 99
    release.set()


def test_after_stopping_nothing_is_taken() -> None:
    ear = Ear(1)
    broadcaster = EventBroadcaster([Listener(plugin="p", call=ear)], ignore)
    broadcaster.start()
    broadcaster.stop()
    broadcaster.publish(event())
    assert ear.heard == []
    assert broadcaster.counts()["p"].waiting == 0


def test_it_may_be_stopped_without_having_been_started() -> None:
    broadcaster = EventBroadcaster([Listener(plugin="p", call=Ear(1))], ignore)
    assert broadcaster.stop() == []


def test_without_listeners_publishing_does_nothing() -> None:
    broadcaster = EventBroadcaster([], ignore)
    broadcaster.start()
    broadcaster.publish(event())
    assert broadcaster.stop() == []
    assert broadcaster.counts() == {}
