"""Between the event loop and the writer thread: a call goes over as an operation, and comes back with one wake-up a group.

On the loop's side nothing touches the disk. What nobody waits for any more when it comes back is undone where that matters: a
lease or a conversion that was begun for a caller who was cancelled is given back, never both kept and given back.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from dropmill.foundation.clock import Clock
from dropmill.queue.errors import StoreClosed
from dropmill.queue.records import Gauges, NewReport
from dropmill.queue.sqlite import file_reads
from dropmill.queue.sqlite.engine import Engine
from dropmill.queue.sqlite.faults import unavailable
from dropmill.queue.sqlite.operation import Group, Operation
from dropmill.queue.sqlite.payloads import Placed
from dropmill.queue.sqlite.transaction import Notice, Transaction
from dropmill.queue.sqlite.writer import Writer
from dropmill.queue.wakeups import Wakeups

__all__ = ["Bridge"]

T = TypeVar("T")

_LARGE = 256 * 1024
"""Payloads above this size are written and synced by a thread of their own before their transaction begins."""


class Bridge:
    """Carries operations to an engine's thread and their results back to one event loop."""

    def __init__(
        self,
        engine: Engine,
        state: Path,
        *,
        clock: Clock,
        on_event: Callable[[str, str, Mapping[str, Any]], None] | None,
    ) -> None:
        self.wakeups = Wakeups()
        self.gauges = Gauges()
        self._engine = engine
        self._state = state
        self._clock = clock
        self._on_event = on_event
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writer: Writer | None = None
        self._disk: concurrent.futures.ThreadPoolExecutor | None = None
        self._files_due: asyncio.TimerHandle | None = None

    @property
    def is_open(self) -> bool:
        """Whether operations are carried."""
        return self._writer is not None

    async def open(self, prepare: Callable[[], None], give_up: Callable[[], None]) -> None:
        """`prepare` in a thread, then start the engine in its own; where either fails `give_up` is called in a thread."""
        loop = self._loop = asyncio.get_running_loop()
        disk = concurrent.futures.ThreadPoolExecutor(2, thread_name_prefix="queue-payloads")
        writer = Writer(self._engine, self._answer, name="queue-writer")
        try:
            await loop.run_in_executor(disk, prepare)
            opened: concurrent.futures.Future[Sequence[Notice]] = concurrent.futures.Future()
            writer.start(opened)
            notices = await asyncio.shield(asyncio.wrap_future(opened))
        except BaseException as error:
            writer.stop(clean=False)
            await loop.run_in_executor(disk, writer.join, 10.0)
            await loop.run_in_executor(disk, give_up)
            disk.shutdown(wait=False)
            told = unavailable(error, self._state)
            if told is error:
                raise
            raise told from error
        self._writer, self._disk = writer, disk
        self.gauges = self._engine.gauges()
        self._tell(notices)
        if self._engine.file_due is not None:
            self._schedule_files(self._engine.file_due)

    async def close(self, *, clean: bool) -> Exception | None:
        """Finish what was accepted and close the engine; why that did not go well."""
        writer, self._writer = self._writer, None
        disk, self._disk = self._disk, None
        if writer is None or disk is None:
            return None
        if self._files_due is not None:
            self._files_due.cancel()
            self._files_due = None
        await asyncio.to_thread(disk.shutdown)  # payloads that are being placed come first
        writer.stop(clean=clean)
        await asyncio.to_thread(writer.join, None)
        return writer.problem

    # --- going over ------------------------------------------------------------------------------------------------------

    def submit(
        self,
        run: Callable[[Transaction], T],
        *,
        defers: bool = False,
        relaxed: bool = False,
        size: int = 0,
        ended: Callable[[], None] | None = None,
        undo: Callable[[T], None] | None = None,
    ) -> asyncio.Future[T]:
        """Have `run` carried out in a transaction; see `Operation` for the rest.

        Raises:
            StoreClosed: nothing is carried.
        """
        writer, loop = self._writer, self._loop
        if writer is None or loop is None:
            raise StoreClosed("the queue is not open", where=str(self._state))
        future: asyncio.Future[T] = loop.create_future()
        writer.submit(Operation(run, future, size, defers, relaxed, ended, undo))
        return future

    def post(self, run: Callable[[Transaction], object], *, relaxed: bool = False) -> None:
        """Like `submit`, and nobody waits for it; nothing happens where nothing is carried any more."""
        if self._writer is not None:
            self._writer.submit(Operation(run, relaxed=relaxed))

    def submit_reports(self, run: Callable[..., T], reports: Sequence[NewReport]) -> asyncio.Future[T]:
        """Like `submit`; large payloads are written first, in a thread, so that the writer does not wait for them.

        `run` is given `placed`: by index the payloads that are on disk already, each with a set that its id is put into if the
        transaction uses it.
        """
        size = sum(report.size for report in reports if report.size <= _LARGE)
        large = {index: report for index, report in enumerate(reports) if report.size > _LARGE}
        if not large:
            return self.submit(partial(run, placed={}), defers=True, size=size)
        writer, loop, disk = self._writer, self._loop, self._disk
        if writer is None or loop is None or disk is None:
            raise StoreClosed("the queue is not open", where=str(self._state))
        future: asyncio.Future[T] = loop.create_future()
        operation = Operation(run, future, size, defers=True)
        disk.submit(self._place_and_submit, run, operation, large, writer)
        return future

    def _place_and_submit(
        self, run: Callable[..., Any], operation: Operation, large: Mapping[int, NewReport], writer: Writer
    ) -> None:
        payloads = self._engine.payloads
        placed: dict[int, Placed] = {}
        used: set[int] = set()

        def discard_unused() -> None:
            for payload in placed.values():
                if id(payload) not in used:
                    payloads.discard(payload)

        try:
            for index, report in large.items():
                placed[index] = payload = payloads.place(report)
                if payload.segment is not None:
                    payloads.segments.sync_one(payload.segment)
        except Exception as error:  # noqa: BLE001 - raised where the call is awaited
            discard_unused()
            operation.error = unavailable(error, self._state)
            self._answer((operation,), Group())
            return
        operation.run = partial(run, placed={index: (payload, used) for index, payload in placed.items()})
        operation.ended = discard_unused
        writer.submit(operation)

    def ask_now(self, run: Callable[[Transaction], T], timeout: float) -> T:
        """Like `submit`, synchronous, from any thread, without the loop: for the last look of a shutdown.

        Raises:
            StoreClosed: nothing is carried.
            TimeoutError: no answer came in time.
        """
        writer = self._writer
        if writer is None:
            raise StoreClosed("the queue is not open", where=str(self._state))
        done = threading.Event()
        operation = Operation(run, ended=done.set)
        writer.submit(operation)
        if not done.wait(timeout):
            raise TimeoutError(f"the queue did not answer within {timeout:g} s")
        if operation.error is not None:
            raise operation.error
        result: T = operation.result
        return result

    async def in_thread(self, call: Callable[..., T], *arguments: Any) -> T:
        """Run what reads or writes payload files.

        Raises:
            StoreClosed: nothing is carried.
        """
        if self._disk is None or self._loop is None:
            raise StoreClosed("the queue is not open", where=str(self._state))
        return await self._loop.run_in_executor(self._disk, partial(call, *arguments))

    # --- coming back -----------------------------------------------------------------------------------------------------

    def _answer(self, operations: Sequence[Operation], group: Group) -> None:
        """In the writer thread: hand a group's results to the loop."""
        if self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(self._resolve, operations, group, self._engine.gauges())
            except RuntimeError:
                pass  # the loop is closed: nobody waits any more

    def _resolve(self, operations: Sequence[Operation], group: Group, gauges: Gauges) -> None:
        self.gauges = gauges
        for operation in operations:
            future = operation.future
            if future is None:
                continue
            if future.done():
                if operation.undo is not None and operation.error is None:
                    operation.undo(operation.result)
            elif operation.error is not None:
                future.set_exception(operation.error)
            else:
                future.set_result(operation.result)
        for topic in group.topics:
            self.wakeups.notify(topic)
        if group.file_due is not None:
            self._schedule_files(group.file_due)
        self._tell(group.notices)

    def _tell(self, notices: Sequence[Notice]) -> None:
        if self._on_event is not None:
            for name, subject, data in notices:
                self._on_event(name, subject, data)

    def _schedule_files(self, at: float) -> None:
        """Notify `files` when the next file that is held back by time is due."""
        loop = self._loop
        assert loop is not None
        when = loop.time() + max(0.0, at - self._clock.time())
        if self._files_due is not None:
            if self._files_due.when() <= when:
                return
            self._files_due.cancel()
        self._files_due = loop.call_at(when, self._wake_due_files)

    def _wake_due_files(self) -> None:
        self._files_due = None
        self.wakeups.notify("files")
        self.post(file_reads.next_due, relaxed=True)
