"""Notices a stop signal from the first instant of the process: import this first, `install`, and only then import the rest.

The handler stays in place to the end. It is an ordinary signal handler rather than one of the event loop's, because it must
also run while the loop is blocked: the sentinel's thread reads from here when the hard deadline began. It only counts, notes
the time and pokes the loop.
"""

from __future__ import annotations

import signal
import time

__all__ = ["StopSignals"]

TYPE_CHECKING = False  # `typing` is heavy: see above
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType


class StopSignals:
    """Counts SIGTERM and SIGINT; SIGHUP (the terminal went away) begins a stop too, but never hastens one."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._listener: Callable[[], object] | None = None
        self._previous: dict[int, object] = {}
        self.times: list[float] = []
        """When each one came, monotonic; at most three, as more mean nothing more."""
        self.names: list[str] = []

    @property
    def count(self) -> int:
        """Stop signals so far: 1 asks for a graceful stop, 2 for a quick one, 3 for the end."""
        return len(self.times)

    @property
    def first_at(self) -> float | None:
        """When the first one came, monotonic."""
        return self.times[0] if self.times else None

    def install(self) -> None:
        """Take the signals over. What whoever started us chose to ignore (nohup, a background job) stays ignored, except
        SIGTERM. Main thread only."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if number != signal.SIGTERM and signal.getsignal(number) == signal.SIG_IGN:
                continue
            self._previous[number] = signal.signal(number, self._handle)

    def uninstall(self) -> None:
        """Put back what was there before."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._previous.clear()

    def listen(self, listener: Callable[[], object] | None) -> None:
        """Call `listener` at every signal from now on, in a signal handler's context: it may do no more than
        `loop.call_soon_threadsafe`. One that came earlier is in `count`."""
        self._listener = listener

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if len(self.times) < 3 and not (number == signal.SIGHUP and self.times):
            self.times.append(self._monotonic())
            self.names.append(signal.Signals(number).name)
            if self._listener is not None:
                self._listener()
