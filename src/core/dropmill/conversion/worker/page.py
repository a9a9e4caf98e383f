"""A page of memory that the agent and a worker share: who works on what, how far, and what is cancelled.

It costs no system call and no frame, cannot be flooded, and still tells the truth at the instant of a crash or a hang: which call
was being worked on, by which converter, and how many bytes of the file were read. The worker writes all words but the cancel
slots. Each word is 64 bits and aligned, so that neither side ever sees half of one.
"""

from __future__ import annotations

from typing import Final

__all__ = ["SIZE", "STACK_OFFSET", "WINDOW", "Cancelled", "Page"]

SIZE: Final = 4096
STACK_OFFSET: Final = SIZE
"""Where in the shared file the stacks of a hang or crash are written."""
WINDOW: Final = 8
"""Most calls that a worker may have before it, the one under way included: each has a cancel slot of its own."""

_CALL, _CANDIDATE, _READ, _WORK, _DONE = range(5)
_CANCEL = 8
_MILLION = 1_000_000


class Cancelled(BaseException):
    """The agent no longer wants the result. No `except Exception` of a plugin holds it up."""


class Page:
    """The page, over any writable memory of at least `SIZE` bytes."""

    def __init__(self, memory: memoryview) -> None:
        self._words = memory[:SIZE].cast("Q")

    def release(self) -> None:
        """Let the memory go; the page is of no more use."""
        self._words.release()

    # --- the worker's side ---------------------------------------------------------------------------------------------

    def begin(self, call: int) -> None:
        """Work on a call begins."""
        words = self._words
        words[_CANDIDATE] = words[_READ] = words[_WORK] = words[_DONE] = 0
        words[_CALL] = call

    def end(self) -> None:
        """Nothing is being worked on."""
        self._words[_CALL] = 0

    def candidate(self, index: int) -> None:
        """The code of the call's `index`-th candidate runs now."""
        self._words[_CANDIDATE] = index

    def advance(self, count: int) -> None:
        """`count` bytes of the file were read.

        Raises:
            Cancelled: the call is, or has ended (and a thread that it left behind goes on).
        """
        words = self._words
        words[_READ] += count
        call = words[_CALL]
        if not call or words[_CANCEL + call % WINDOW] == call:
            raise Cancelled

    def beat(self, done: float | None = None) -> None:
        """Work goes on.

        Args:
            done: How much of it is done, from 0 to 1.

        Raises:
            Cancelled: as for `advance`.
        """
        words = self._words
        words[_WORK] += 1
        if done is not None:
            words[_DONE] = int(min(max(done, 0.0), 1.0) * _MILLION)
        call = words[_CALL]
        if not call or words[_CANCEL + call % WINDOW] == call:
            raise Cancelled

    # --- the agent's side ----------------------------------------------------------------------------------------------

    @property
    def call(self) -> int:
        """The call under way, or 0."""
        return self._words[_CALL]

    @property
    def candidate_index(self) -> int:
        """Whose code runs, or ran last."""
        return self._words[_CANDIDATE]

    @property
    def read(self) -> int:
        """Bytes of the file read in this call."""
        return self._words[_READ]

    @property
    def work(self) -> int:
        """Reports yielded, and calls of `context.progress`, in this call."""
        return self._words[_WORK]

    @property
    def done(self) -> float:
        """What the converter says is done, from 0 to 1."""
        return self._words[_DONE] / _MILLION

    def cancel(self, call: int) -> None:
        """Ask for a call to end at its next read or yield, or not to begin."""
        self._words[_CANCEL + call % WINDOW] = call

    def cancelled(self, call: int) -> bool:
        return self._words[_CANCEL + call % WINDOW] == call
