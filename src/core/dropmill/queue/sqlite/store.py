"""The queue on SQLite: the default engine, and the one that every agent lands its files in.

The event loop's side of it: a call becomes an operation for the writer thread, and comes back with one wake-up for each group.
Nothing here touches the disk.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from dropmill.api import Evict, QueueView
from dropmill.config.settings import QueueSettings
from dropmill.foundation.clock import Clock
from dropmill.foundation.failpoints import Failpoints
from dropmill.foundation.lock import FileLock, LockHeld
from dropmill.queue.errors import PayloadDamaged, StoreBusy, StoreClosed
from dropmill.queue.records import (
    Acknowledged,
    Claimed,
    Disposal,
    FileRecord,
    Gauges,
    Lease,
    NewFile,
    NewReport,
    Published,
)
from dropmill.queue.sqlite import (
    answering,
    compaction,
    file_reads,
    files,
    flags,
    leasing,
    letters,
    publishing,
    reading,
    recovery,
    retention,
)
from dropmill.queue.sqlite import engine as engines
from dropmill.queue.sqlite.codec import pack
from dropmill.queue.sqlite.engine import Engine, Group, Operation, unavailable
from dropmill.queue.sqlite.payloads import Placed
from dropmill.queue.sqlite.segments import SEGMENT_SIZE
from dropmill.queue.sqlite.transaction import Notice, Transaction
from dropmill.queue.sqlite.writer import Writer
from dropmill.queue.wakeups import Wakeups

__all__ = ["Audit", "SqliteStore"]

T = TypeVar("T")

_LARGE = 256 * 1024
"""Payloads above this size are written and synced by a thread of their own before their transaction begins."""


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What the shutdown's last look found and put right."""

    deliveries: int
    """Leases that were still held, now given back."""
    files: int
    """Conversions that were still going on, now given back."""
    problem: str = ""
    """Why the store could not be asked; empty: it is as it should be."""

    @property
    def clean(self) -> bool:
        """Nothing was held, and nothing went wrong."""
        return not (self.deliveries or self.files or self.problem)


class SqliteStore:
    """A `QueueStore` in a folder. Make it anywhere; `open` it and use it on one event loop."""

    def __init__(
        self,
        state: Path,
        settings: QueueSettings,
        *,
        clock: Clock,
        failpoints: Failpoints,
        instance: str,
        on_event: Callable[[str, str, Mapping[str, Any]], None] | None = None,
        free_disk: Callable[[Path], int] = engines.free_disk,
    ) -> None:
        self.wakeups = Wakeups()
        self._state = state
        self._clock = clock
        self._on_event = on_event
        self._engine = Engine(
            state,
            settings,
            clock=clock,
            failpoints=failpoints,
            instance=instance,
            free_disk=free_disk,
            listening=on_event is not None,
        )
        self._lock = FileLock(state / "owner.lock", instance=instance, clock=clock)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writer: Writer | None = None
        self._disk: concurrent.futures.ThreadPoolExecutor | None = None
        self._gauges = Gauges()
        self._retention = settings.retention
        self._min_free_disk = settings.min_free_disk
        self._files_due: asyncio.TimerHandle | None = None

    # --- life ------------------------------------------------------------------------------------------------------------

    async def open(self, *, wait: float = 0.0) -> None:
        """See `QueueStore.open`; waits up to `wait` seconds for another process (a command) to let go of the store."""
        if self._writer is not None:
            raise RuntimeError("the store is open")
        self._loop = asyncio.get_running_loop()
        self._disk = concurrent.futures.ThreadPoolExecutor(2, thread_name_prefix="queue-payloads")
        writer = Writer(self._engine, self._answer, name="queue-writer")
        try:
            await self._in_thread(self._take_lock, wait)
            opened: concurrent.futures.Future[Sequence[Notice]] = concurrent.futures.Future()
            writer.start(opened)
            notices = await asyncio.shield(asyncio.wrap_future(opened))
        except BaseException as error:
            await self._in_thread(self._abandon, writer)
            self._disk.shutdown(wait=False)
            self._disk = None
            told = unavailable(error, self._state)
            if told is error:
                raise
            raise told from error
        self._writer = writer
        self._gauges = self._engine.gauges()
        self._tell(notices)
        if self._engine.file_due is not None:
            self._schedule_files(self._engine.file_due)

    def _take_lock(self, wait: float) -> None:
        self._state.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(wait=wait)
        except LockHeld as error:
            raise StoreBusy(
                f"the queue is in use by {error.holder or 'another process'}",
                where=str(self._state),
                todo="stop that process, or wait until it has finished",
            ) from error

    def _abandon(self, writer: Writer) -> None:
        writer.stop(clean=False)
        writer.join(10.0)
        self._lock.release()

    async def close(self, *, clean: bool) -> None:
        """See `QueueStore.close`.

        Raises:
            StoreUnavailable: the end could not be marked; the next start finds everything and repairs what there is.
        """
        writer, self._writer = self._writer, None
        disk, self._disk = self._disk, None
        if writer is None or disk is None:
            return
        if self._files_due is not None:
            self._files_due.cancel()
        await asyncio.to_thread(disk.shutdown)  # payloads that are being placed come first
        writer.stop(clean=clean)
        await asyncio.to_thread(writer.join, None)
        self._lock.release()
        if writer.problem is not None:
            raise unavailable(writer.problem, self._state)

    def verify_clean(self, *, timeout: float = 5.0) -> Audit:
        """The last look of a shutdown, synchronous, from any thread: whatever is still leased or converting is given back with
        the reason `shutdown`, uncharged, and nothing is handed out from now on."""
        writer = self._writer
        if writer is None:
            return Audit(deliveries=0, files=0, problem="the queue is not open")
        done = threading.Event()
        operation = Operation(partial(recovery.give_back, reason="shutdown"), ended=done.set)
        self._engine.seal()
        writer.submit(operation)
        if not done.wait(timeout):
            return Audit(deliveries=0, files=0, problem=f"the queue did not answer within {timeout:g} s")
        if operation.error is not None:
            return Audit(deliveries=0, files=0, problem=str(operation.error))
        return Audit(deliveries=operation.result.deliveries, files=operation.result.files)

    # --- operations ------------------------------------------------------------------------------------------------------

    def _submit(
        self,
        run: Callable[[Transaction], T],
        *,
        defers: bool = False,
        relaxed: bool = False,
        size: int = 0,
        ended: Callable[[], None] | None = None,
        undo: Callable[[T], None] | None = None,
    ) -> asyncio.Future[T]:
        writer, loop = self._writer, self._loop
        if writer is None or loop is None:
            raise StoreClosed("the queue is not open", where=str(self._state))
        future: asyncio.Future[T] = loop.create_future()
        writer.submit(Operation(run, future, size, defers, relaxed, ended, undo))
        return future

    def _answer(self, operations: Sequence[Operation], group: Group) -> None:
        """In the writer thread: hand a group's results to the loop."""
        if self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(self._resolve, operations, group, self._engine.gauges())
            except RuntimeError:
                pass  # the loop is closed: nobody waits any more

    def _resolve(self, operations: Sequence[Operation], group: Group, gauges: Gauges) -> None:
        self._gauges = gauges
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
        if self._writer is not None:
            self._writer.submit(Operation(file_reads.next_due, relaxed=True))

    async def _in_thread(self, call: Callable[..., T], *arguments: Any) -> T:
        if self._disk is None or self._loop is None:
            raise StoreClosed("the queue is not open", where=str(self._state))
        return await self._loop.run_in_executor(self._disk, partial(call, *arguments))

    @property
    def gauges(self) -> Gauges:
        """See `QueueStore.gauges`."""
        return self._gauges

    # --- files -----------------------------------------------------------------------------------------------------------

    async def add_files(self, files_: Sequence[NewFile]) -> Sequence[FileRecord]:
        return await self._submit(partial(files.add, files=files_))

    async def confirm_files(self, ids: Sequence[str]) -> None:
        await self._submit(partial(files.confirm, ids=ids), defers=True)

    async def remove_files(self, ids: Sequence[str], reason: str) -> None:
        await self._submit(partial(files.remove, ids=ids, reason=reason))

    async def unconfirmed_files(self) -> Sequence[FileRecord]:
        return await self._submit(file_reads.unconfirmed, relaxed=True)

    async def live_files(self, folder: str, after: str = "", limit: int = 1000) -> Sequence[FileRecord]:
        return await self._submit(partial(file_reads.live, folder=folder, after=after, limit=limit), relaxed=True)

    async def known_content(self, folder: str, sha256: str) -> Sequence[FileRecord]:
        return await self._submit(partial(file_reads.known_content, folder=folder, sha256=sha256), relaxed=True)

    async def next_files(self, limit: int) -> Sequence[FileRecord]:
        return await self._submit(partial(file_reads.next_to_convert, limit=limit), relaxed=True)

    async def claimed_files(self) -> int:
        return self._gauges.claimed + self._gauges.converting

    async def start_conversions(self, ids: Sequence[str]) -> None:
        def undo(_: None) -> None:
            if self._writer is not None:
                self._writer.submit(
                    Operation(
                        partial(
                            files.release,
                            ids=ids,
                            reason="the conversion was cancelled",
                            not_before=0.0,
                            charge=False,
                            converter=None,
                        )
                    )
                )

        await self._submit(partial(files.start, ids=ids), relaxed=True, undo=undo)

    async def publish(
        self,
        file_id: str,
        reports: Sequence[NewReport],
        *,
        converter: str,
        warnings: Sequence[Mapping[str, Any]] = (),
        evict: Evict | None = None,
    ) -> Published:
        run = partial(
            publishing.publish, file_id=file_id, reports=reports, converter=converter, warnings=warnings, evict=evict
        )
        return await self._submit_reports(run, reports)

    async def fail_file(
        self, file_id: str, *, code: str, reason: str, error: Mapping[str, Any], converter: str | None
    ) -> None:
        await self._submit(
            partial(files.fail, file_id=file_id, code=code, reason=reason, error=error, converter=converter)
        )

    async def park_file(
        self, file_id: str, *, reason: str, error: Mapping[str, Any] | None = None, converter: str | None = None
    ) -> None:
        await self._submit(partial(files.park, file_id=file_id, reason=reason, error=error, converter=converter))

    async def release_files(
        self,
        ids: Sequence[str],
        *,
        reason: str,
        not_before: float = 0.0,
        charge: bool = False,
        converter: str | None = None,
    ) -> None:
        await self._submit(
            partial(files.release, ids=ids, reason=reason, not_before=not_before, charge=charge, converter=converter)
        )

    async def release_conversions(self, *, reason: str) -> int:
        return await self._submit(partial(files.release_converting, reason=reason))

    async def parked_files(self, reason: str, limit: int = 1000) -> Sequence[FileRecord]:
        return await self._submit(partial(file_reads.parked, reason=reason, limit=limit), relaxed=True)

    async def next_disposals(self, limit: int, *, skip_folders: Collection[str] = ()) -> Sequence[Disposal]:
        return await self._submit(
            partial(file_reads.next_disposals, limit=limit, skip_folders=skip_folders), relaxed=True
        )

    async def plan_disposals(self, targets: Mapping[str, str]) -> None:
        await self._submit(partial(files.plan_disposals, targets=targets), defers=True)

    async def finish_disposals(self, places: Mapping[str, str]) -> None:
        await self._submit(partial(files.finish_disposals, places=places))

    async def relocate_file(self, file_id: str, place: str) -> None:
        await self._submit(partial(files.relocate, file_id=file_id, place=place))

    async def record_event(self, subject: str, name: str, data: Mapping[str, Any]) -> None:
        await self._submit(lambda tx: tx.event(pack(subject), name, data))

    # --- deliveries ------------------------------------------------------------------------------------------------------

    async def offer(self, reports: Sequence[NewReport], *, evict: Evict | None = None) -> Sequence[str]:
        return await self._submit_reports(partial(publishing.offer, reports=reports, evict=evict), reports)

    def _submit_reports(self, run: Callable[..., T], reports: Sequence[NewReport]) -> asyncio.Future[T]:
        """Like `_submit`; large payloads are written first, in a thread, so that the writer does not wait for them."""
        size = sum(report.size for report in reports if report.size <= _LARGE)
        large = {index: report for index, report in enumerate(reports) if report.size > _LARGE}
        if not large:
            return self._submit(partial(run, placed={}), defers=True, size=size)
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

    async def claim(self, lane: str, limit: int, *, max_bytes: int | None = None, ordered: bool = False) -> Claimed:
        return await self._submit(
            partial(leasing.claim, lane=lane, limit=limit, max_bytes=max_bytes, ordered=ordered),
            relaxed=True,
            undo=self._undo_claim,
        )

    def _undo_claim(self, claimed: Claimed) -> None:
        if claimed.leases and self._writer is not None:
            give_back = partial(answering.snooze, leases=claimed.leases, delay=0.0, reason="the claim was cancelled")
            self._writer.submit(Operation(give_back))

    async def read(self, lease: Lease, size: int) -> AsyncIterator[bytes]:
        if lease.body is not None:
            for start in range(0, len(lease.body), size):
                yield lease.body[start : start + size]
            return
        location = await self._submit(
            partial(reading.locate, lease=lease), relaxed=True, undo=lambda found: found.close()
        )
        pieces = reading.Pieces(location, lease, size)
        try:
            while data := await self._in_thread(pieces.next):
                yield data
        except PayloadDamaged:
            await self._submit(partial(leasing.damaged, delivery=lease.id, fence=lease.fence))
            raise
        finally:
            location.close()

    async def acknowledge(
        self, leases: Sequence[Lease], receipts: Sequence[Mapping[str, Any]]
    ) -> Sequence[Acknowledged]:
        return await self._submit(partial(answering.acknowledge, leases=leases, receipts=receipts), defers=True)

    async def fail(
        self, lease: Lease, *, error: Mapping[str, Any], delay: float | None, permanent: bool = False
    ) -> Acknowledged:
        return await self._submit(
            partial(answering.fail, lease=lease, error=error, delay=delay, permanent=permanent), defers=True
        )

    async def snooze(self, leases: Sequence[Lease], *, delay: float, reason: str) -> None:
        await self._submit(partial(answering.snooze, leases=leases, delay=delay, reason=reason), defers=True)

    async def release_lane(self, lane: str, *, reason: str) -> int:
        return await self._submit(partial(leasing.release_lane, lane=lane, reason=reason))

    async def set_lane(self, lane: str, *, max_attempts: int) -> None:
        await self._submit(partial(leasing.set_lane, lane=lane, max_attempts=max_attempts))

    async def retry(self, delivery_ids: Sequence[int]) -> int:
        return await self._submit(partial(letters.retry, ids=delivery_ids))

    async def drop(self, delivery_ids: Sequence[int], *, reason: str) -> int:
        return await self._submit(partial(letters.drop, ids=delivery_ids, reason=reason))

    # --- the whole -------------------------------------------------------------------------------------------------------

    async def view(self) -> QueueView:
        return await self._submit(publishing.view, relaxed=True)

    async def flags(self) -> Mapping[str, Mapping[str, Any]]:
        return await self._submit(flags.all_flags, relaxed=True)

    async def set_flag(self, name: str, value: Mapping[str, Any] | None) -> None:
        await self._submit(partial(flags.set_flag, name=name, value=value))

    async def maintain(self) -> bool:
        before = self._clock.time() - self._retention
        more = await self._submit(partial(retention.forget, before=before), ended=self._engine.upkeep)
        more |= await self._submit(compaction.compact)
        if not more and self._gauges.free_disk - self._min_free_disk > 4 * SEGMENT_SIZE:
            try:
                await self._in_thread(self._engine.payloads.segments.provide)
            except OSError as error:
                raise unavailable(error, self._state) from error
        return more
