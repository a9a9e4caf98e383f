from __future__ import annotations

import threading

import pytest

from dropmill.foundation.guard import Hung, Raised, Returned, describe, place, run_guarded


def test_what_a_call_returns_comes_back() -> None:
    outcome = run_guarded(lambda: threading.current_thread().name, limit=5, name="a name")
    assert isinstance(outcome, Returned)
    assert outcome.value == "a name"
    assert outcome.seconds >= 0


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(1), KeyboardInterrupt()])
def test_whatever_a_call_raises_is_a_value(error: BaseException) -> None:
    def call() -> None:
        raise error

    outcome = run_guarded(call, limit=5, name="call")
    assert outcome == Raised(error)
    assert place(error).endswith(f"{call.__code__.co_filename}:{call.__code__.co_firstlineno + 1}")


def test_a_call_that_does_not_end_is_left_behind() -> None:
    release = threading.Event()
    assert run_guarded(lambda: release.wait(5), limit=0.01, name="call") == Hung(0.01)
    release.set()


class _Hostile(Exception):
    def __str__(self) -> str:
        raise SystemExit


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("x"), "ValueError: x"),
        (SystemExit(), "SystemExit"),
        (_Hostile(), "_Hostile: (its text cannot be made)"),
        (ValueError("y" * 1000), "ValueError: " + "y" * 488),
    ],
)
def test_exceptions_are_described_in_bounds(error: BaseException, text: str) -> None:
    assert describe(error) == text
    assert place(error) == ""
