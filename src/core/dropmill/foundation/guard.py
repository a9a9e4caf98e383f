"""Runs a call that may raise anything or never end: a plugin's code, a look at a share that hangs.

It runs in a daemon thread: whatever it raises (`SystemExit` too) comes back as a value, and a call that outlives its limit is
left behind. What no thread can contain (`os._exit`, a crash) needs a process of its own.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Hung", "Raised", "Returned", "describe", "place", "run_guarded"]

T = TypeVar("T")

_TEXT = 500


@dataclass(frozen=True)
class Returned(Generic[T]):
    """The call returned `value` after `seconds`."""

    value: T
    seconds: float


@dataclass(frozen=True)
class Raised:
    """The call raised."""

    error: BaseException


@dataclass(frozen=True)
class Hung:
    """The call had not ended after its limit; its thread was left behind."""

    limit: float


def run_guarded(call: Callable[[], T], *, limit: float, name: str) -> Returned[T] | Raised | Hung:
    """Call in a thread named `name` and wait at most `limit` seconds. A Ctrl-C meanwhile interrupts the waiting caller."""
    ended = threading.Event()
    outcome: list[Returned[T] | Raised] = []

    def run() -> None:
        start = time.monotonic()
        try:
            outcome.append(Returned(call(), time.monotonic() - start))
        except BaseException as error:  # noqa: BLE001 - this is the guard
            outcome.append(Raised(error))
        finally:
            ended.set()

    threading.Thread(target=run, name=name, daemon=True).start()
    return outcome[0] if ended.wait(limit) else Hung(limit)


def describe(error: BaseException) -> str:
    """`TypeName: text` of an exception that may come from a plugin, so that its `__str__` may fail; at most 500 characters."""
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001 - even that is the plugin's code
        text = "(its text cannot be made)"
    name = type(error).__name__
    return (f"{name}: {text}" if text else name)[:_TEXT]


def place(error: BaseException) -> str:
    """`file:line` where it was raised, or nothing where it has no traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
