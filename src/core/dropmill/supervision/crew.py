"""A bounded set of concurrent jobs that one supervised child owns.

The only place besides the supervisor that makes tasks: a child that needs several things at a time starts them in a crew, so
that none outlives it, none fails unseen and there are never more than `limit`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

__all__ = ["Crew"]


class Crew:
    """Use as `async with Crew("lane reports", 4) as crew: await crew.start(job())`.

    A job handles what it expects to go wrong. What one raises is kept: the others finish, and the first such error comes out
    of the next `start`, `wait_free` or `drain`, or of leaving the block; a SystemExit or KeyboardInterrupt too, which therefore
    never reaches the event loop. Leaving by an exception (a cancellation too) cancels the jobs, again every second, and waits
    until all have ended, whoever else cancels in the meantime.
    """

    def __init__(self, name: str, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"a crew has at least one place, not {limit}")
        self._name = name
        self._limit = limit
        self._jobs: set[asyncio.Task[None]] = set()
        self._error: BaseException | None = None
        self._started = 0

    def __len__(self) -> int:
        """Jobs under way."""
        return len(self._jobs)

    @property
    def free(self) -> int:
        """Places left."""
        return self._limit - len(self._jobs)

    async def start(self, job: Coroutine[Any, Any, None]) -> None:
        """Start a job, waiting for a free place first."""
        try:
            await self.wait_free()
        except BaseException:
            job.close()
            raise
        self._started += 1
        task = asyncio.get_running_loop().create_task(self._guard(job), name=f"{self._name} #{self._started}")
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)
        task.add_done_callback(lambda _: job.close())  # one that was cancelled before its first step was never awaited

    async def wait_free(self) -> None:
        """Wait until a place is free.

        Raises:
            BaseException: what an earlier job raised.
        """
        while len(self._jobs) >= self._limit and self._error is None:
            await asyncio.wait(self._jobs, return_when=asyncio.FIRST_COMPLETED)
        self._raise()

    async def drain(self) -> None:
        """Wait until all jobs have ended."""
        while self._jobs:
            await asyncio.wait(self._jobs)
        self._raise()

    async def _guard(self, job: Coroutine[Any, Any, None]) -> None:
        try:
            await job
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling() == 0:
                self._keep(RuntimeError("something that a job waited for was cancelled"), error)
        except BaseException as error:  # noqa: BLE001 - it comes out where the crew is used
            self._keep(error)

    def _keep(self, error: BaseException, cause: BaseException | None = None) -> None:
        if cause is not None:
            error.__cause__ = cause
        if self._error is None:
            self._error = error

    def _raise(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            try:
                await self._cancel()
            finally:
                if self._error is not None:
                    error.add_note(f"a job of the crew {self._name!r} raised as well: {self._error!r}")
            return
        try:
            await self.drain()
        except BaseException:
            await self._cancel()
            raise

    async def _cancel(self) -> None:
        cancelled: asyncio.CancelledError | None = None
        while self._jobs:
            for task in self._jobs:
                task.cancel()
            try:
                await asyncio.wait(self._jobs, timeout=1.0)
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled
