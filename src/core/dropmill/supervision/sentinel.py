"""A thread that watches the event loop from outside: it says what blocks it, and ends the process when a stop runs out of time.

It never touches what belongs to the loop; it reads a few numbers and may post one callback. It is the only thing that works
while the loop hangs in Python code or in a call that lets the interpreter go, so the hard deadline of a stop lives here.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dropmill.supervision.exits import ExitCode
from dropmill.supervision.stacks import format_tasks, format_thread, format_threads

__all__ = ["Blockage", "Sentinel"]

_WRITE_LIMIT = 2.0
"""Seconds that printing the stacks may take: stderr may be a pipe that nobody reads."""


@dataclass(frozen=True)
class Blockage:
    """The loop did not turn for a while."""

    task: str
    """The task that ran, where one did."""
    stack: str
    """Of the loop's thread, taken while it was blocked."""


class Sentinel:
    """Watches one loop.

    Args:
        loop: The running loop of the calling thread.
        deadline: From the times of the stop signals so far to the time at which the process ends; monotonic.
        signals: The times of the stop signals so far; read from the thread.
        on_blocked: Called on the loop, once it turns again.
        blocked_after: Seconds without a `beat` after which the loop counts as blocked.
        end: Ends the process.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        deadline: Callable[[Sequence[float]], float],
        signals: Callable[[], Sequence[float]],
        on_blocked: Callable[[Blockage], None],
        blocked_after: float = 1.0,
        poll: float = 0.5,
        monotonic: Callable[[], float] = time.monotonic,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        self._loop = loop
        self._loop_thread = threading.get_ident()
        self._deadline = deadline
        self._signals = signals
        self._on_blocked = on_blocked
        self._blocked_after = blocked_after
        self._poll = poll
        self._monotonic = monotonic
        self._end = end
        self._last_turn = monotonic()
        self._reported = False
        self._quit = threading.Event()
        self._cap: float | None = None

    def start(self) -> None:
        threading.Thread(target=self._run, name="sentinel", daemon=True).start()

    def stop(self) -> None:
        """Watch no more."""
        self._quit.set()

    def beat(self) -> None:
        """The loop turns. Called on it."""
        self._last_turn = self._monotonic()
        self._reported = False

    def rest(self) -> None:
        """The loop will end; only the deadline counts from now on. Called on it."""
        self._reported = True

    def cap(self, deadline: float) -> None:
        """Never later than this, monotonic."""
        self._cap = deadline if self._cap is None else min(self._cap, deadline)

    def _run(self) -> None:
        while not self._quit.wait(self._poll):
            self.look()

    def look(self) -> None:
        """One look at the clock; the thread's step."""
        now = self._monotonic()
        if not self._reported and now - self._last_turn > self._blocked_after:
            self._reported = True
            self._report_blockage()
        times = self._signals()
        limits = [self._deadline(times)] if times else []
        if self._cap is not None:
            limits.append(self._cap)
        if limits and now >= min(limits):
            self._finish(now - times[0] if times else None)

    def _report_blockage(self) -> None:
        try:
            task = asyncio.current_task(self._loop)
            blockage = Blockage("" if task is None else task.get_name(), format_thread(self._loop_thread))
            self._loop.call_soon_threadsafe(self._on_blocked, blockage)
        except RuntimeError:
            pass  # the loop is closed: there is nothing left to report to

    def _finish(self, elapsed: float | None) -> None:
        try:
            printer = threading.Thread(target=self._print, args=(elapsed,), name="last words", daemon=True)
            printer.start()
            printer.join(_WRITE_LIMIT)
        finally:
            self._end(int(ExitCode.DEADLINE))

    def _print(self, elapsed: float | None) -> None:
        since = "" if elapsed is None else f" {elapsed:.0f} s after the signal"
        text = (
            f"DM-S011: the stop has not ended{since}; the process ends now with exit code {int(ExitCode.DEADLINE)}. "
            f"Nothing is lost: the next start gives back what was under way.\n\n{format_threads()}{format_tasks(self._loop)}"
        )
        data = text.encode(errors="backslashreplace")
        while data:
            data = data[os.write(_stderr(), data) :]


def _stderr() -> int:
    try:
        return sys.__stderr__.fileno() if sys.__stderr__ is not None else 2
    except (OSError, ValueError):
        return 2
