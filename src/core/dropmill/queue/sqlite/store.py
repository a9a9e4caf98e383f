"""The queue on SQLite: the default engine, and the one that every agent lands its files in.

Says for each call which operation it is and how it travels (`bridge`); the operations themselves are functions of a
transaction in the modules beside this one.
"""

from __future__ import annotations

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
from dropmill.queue.errors import PayloadDamaged, QueueError, StoreBusy
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
    ballast,
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
from dropmill.queue.sqlite.bridge import Bridge
from dropmill.queue.sqlite.codec import pack
from dropmill.queue.sqlite.engine import Engine
from dropmill.queue.sqlite.faults import unavailable
from dropmill.queue.sqlite.segments import SEGMENT_SIZE

__all__ = ["Audit", "SqliteStore"]

T = TypeVar("T")


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
        free_disk: Callable[[Path], int] = ballast.free_disk,
    ) -> None:
        self._state = state
        self._clock = clock
        self._engine = Engine(
            state,
            settings,
            clock=clock,
            failpoints=failpoints,
            instance=instance,
            free_disk=free_disk,
            listening=on_event is not None,
        )
        self._bridge = Bridge(self._engine, state, clock=clock, on_event=on_event)
        self.wakeups = self._bridge.wakeups
        self._lock = FileLock(state / "owner.lock", instance=instance, clock=clock)
        self._retention = settings.retention
        self._min_free_disk = settings.min_free_disk

    # --- life ------------------------------------------------------------------------------------------------------------

    async def open(self, *, wait: float = 0.0) -> None:
        """See `QueueStore.open`; waits up to `wait` seconds for another process (a command) to let go of the store."""
        if self._bridge.is_open:
            raise RuntimeError("the store is open")
        await self._bridge.open(partial(self._take_lock, wait), self._lock.release)

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

    async def close(self, *, clean: bool) -> None:
        """See `QueueStore.close`.

        Raises:
            StoreUnavailable: the end could not be marked; the next start finds everything and repairs what there is.
        """
        problem = await self._bridge.close(clean=clean)
        self._lock.release()
        if problem is not None:
            raise unavailable(problem, self._state)

    def verify_clean(self, *, timeout: float = 5.0) -> Audit:
        """The last look of a shutdown, synchronous, from any thread: whatever is still leased or converting is given back with
        the reason `shutdown`, uncharged, and nothing is handed out from now on."""
        self._engine.seal()
        try:
            given = self._bridge.ask_now(partial(recovery.give_back, reason="shutdown"), timeout)
        except (QueueError, TimeoutError) as error:
            return Audit(deliveries=0, files=0, problem=str(error))
        return Audit(deliveries=given.deliveries, files=given.files)

    @property
    def gauges(self) -> Gauges:
        """See `QueueStore.gauges`."""
        return self._bridge.gauges

    # --- files -----------------------------------------------------------------------------------------------------------

    async def add_files(self, files_: Sequence[NewFile]) -> Sequence[FileRecord]:
        return await self._bridge.submit(partial(files.add, files=files_))

    async def confirm_files(self, ids: Sequence[str]) -> None:
        await self._bridge.submit(partial(files.confirm, ids=ids), defers=True)

    async def remove_files(self, ids: Sequence[str], reason: str) -> None:
        await self._bridge.submit(partial(files.remove, ids=ids, reason=reason))

    async def unconfirmed_files(self) -> Sequence[FileRecord]:
        return await self._bridge.submit(file_reads.unconfirmed, relaxed=True)

    async def live_files(self, folder: str, after: str = "", limit: int = 1000) -> Sequence[FileRecord]:
        return await self._bridge.submit(
            partial(file_reads.live, folder=folder, after=after, limit=limit), relaxed=True
        )

    async def known_content(self, folder: str, sha256: str) -> Sequence[FileRecord]:
        return await self._bridge.submit(partial(file_reads.known_content, folder=folder, sha256=sha256), relaxed=True)

    async def next_files(self, limit: int) -> Sequence[FileRecord]:
        return await self._bridge.submit(partial(file_reads.next_to_convert, limit=limit), relaxed=True)

    async def claimed_files(self) -> int:
        return self.gauges.claimed + self.gauges.converting

    async def start_conversions(self, ids: Sequence[str]) -> None:
        give_back = partial(
            files.release,
            ids=ids,
            reason="the conversion was cancelled",
            not_before=0.0,
            charge=False,
            converter=None,
        )

        def undo(_: None) -> None:
            self._bridge.post(give_back)

        await self._bridge.submit(partial(files.start, ids=ids), relaxed=True, undo=undo)

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
        return await self._bridge.submit_reports(run, reports)

    async def fail_file(
        self, file_id: str, *, code: str, reason: str, error: Mapping[str, Any], converter: str | None
    ) -> None:
        await self._bridge.submit(
            partial(files.fail, file_id=file_id, code=code, reason=reason, error=error, converter=converter)
        )

    async def park_file(
        self, file_id: str, *, reason: str, error: Mapping[str, Any] | None = None, converter: str | None = None
    ) -> None:
        await self._bridge.submit(partial(files.park, file_id=file_id, reason=reason, error=error, converter=converter))

    async def release_files(
        self,
        ids: Sequence[str],
        *,
        reason: str,
        not_before: float = 0.0,
        charge: bool = False,
        converter: str | None = None,
    ) -> None:
        await self._bridge.submit(
            partial(files.release, ids=ids, reason=reason, not_before=not_before, charge=charge, converter=converter)
        )

    async def release_conversions(self, *, reason: str) -> int:
        return await self._bridge.submit(partial(files.release_converting, reason=reason))

    async def parked_files(self, reason: str, limit: int = 1000) -> Sequence[FileRecord]:
        return await self._bridge.submit(partial(file_reads.parked, reason=reason, limit=limit), relaxed=True)

    async def next_disposals(self, limit: int, *, skip_folders: Collection[str] = ()) -> Sequence[Disposal]:
        return await self._bridge.submit(
            partial(file_reads.next_disposals, limit=limit, skip_folders=skip_folders), relaxed=True
        )

    async def plan_disposals(self, targets: Mapping[str, str]) -> None:
        await self._bridge.submit(partial(files.plan_disposals, targets=targets), defers=True)

    async def finish_disposals(self, places: Mapping[str, str]) -> None:
        await self._bridge.submit(partial(files.finish_disposals, places=places))

    async def relocate_file(self, file_id: str, place: str) -> None:
        await self._bridge.submit(partial(files.relocate, file_id=file_id, place=place))

    async def record_event(self, subject: str, name: str, data: Mapping[str, Any]) -> None:
        await self._bridge.submit(lambda tx: tx.event(pack(subject), name, data))

    # --- deliveries ------------------------------------------------------------------------------------------------------

    async def offer(self, reports: Sequence[NewReport], *, evict: Evict | None = None) -> Sequence[str]:
        return await self._bridge.submit_reports(partial(publishing.offer, reports=reports, evict=evict), reports)

    async def claim(self, lane: str, limit: int, *, max_bytes: int | None = None, ordered: bool = False) -> Claimed:
        return await self._bridge.submit(
            partial(leasing.claim, lane=lane, limit=limit, max_bytes=max_bytes, ordered=ordered),
            relaxed=True,
            undo=self._undo_claim,
        )

    def _undo_claim(self, claimed: Claimed) -> None:
        if claimed.leases:
            self._bridge.post(
                partial(answering.snooze, leases=claimed.leases, delay=0.0, reason="the claim was cancelled")
            )

    async def read(self, lease: Lease, size: int) -> AsyncIterator[bytes]:
        if lease.body is not None:
            for start in range(0, len(lease.body), size):
                yield lease.body[start : start + size]
            return
        location = await self._bridge.submit(
            partial(reading.locate, lease=lease), relaxed=True, undo=lambda found: found.close()
        )
        pieces = reading.Pieces(location, lease, size)
        try:
            while data := await self._bridge.in_thread(pieces.next):
                yield data
        except PayloadDamaged:
            await self._bridge.submit(partial(leasing.damaged, delivery=lease.id, fence=lease.fence))
            raise
        finally:
            location.close()

    async def acknowledge(
        self, leases: Sequence[Lease], receipts: Sequence[Mapping[str, Any]]
    ) -> Sequence[Acknowledged]:
        return await self._bridge.submit(partial(answering.acknowledge, leases=leases, receipts=receipts), defers=True)

    async def fail(
        self, lease: Lease, *, error: Mapping[str, Any], delay: float | None, permanent: bool = False
    ) -> Acknowledged:
        return await self._bridge.submit(
            partial(answering.fail, lease=lease, error=error, delay=delay, permanent=permanent), defers=True
        )

    async def snooze(self, leases: Sequence[Lease], *, delay: float, reason: str) -> None:
        await self._bridge.submit(partial(answering.snooze, leases=leases, delay=delay, reason=reason), defers=True)

    async def release_lane(self, lane: str, *, reason: str) -> int:
        return await self._bridge.submit(partial(leasing.release_lane, lane=lane, reason=reason))

    async def set_lane(self, lane: str, *, max_attempts: int) -> None:
        await self._bridge.submit(partial(leasing.set_lane, lane=lane, max_attempts=max_attempts))

    async def retry(self, delivery_ids: Sequence[int]) -> int:
        return await self._bridge.submit(partial(letters.retry, ids=delivery_ids))

    async def drop(self, delivery_ids: Sequence[int], *, reason: str) -> int:
        return await self._bridge.submit(partial(letters.drop, ids=delivery_ids, reason=reason))

    # --- the whole -------------------------------------------------------------------------------------------------------

    async def view(self) -> QueueView:
        return await self._bridge.submit(publishing.view, relaxed=True)

    async def flags(self) -> Mapping[str, Mapping[str, Any]]:
        return await self._bridge.submit(flags.all_flags, relaxed=True)

    async def set_flag(self, name: str, value: Mapping[str, Any] | None) -> None:
        await self._bridge.submit(partial(flags.set_flag, name=name, value=value))

    async def maintain(self) -> bool:
        before = self._clock.time() - self._retention
        more = await self._bridge.submit(partial(retention.forget, before=before), ended=self._engine.upkeep)
        more |= await self._bridge.submit(compaction.compact)
        if not more and self.gauges.free_disk - self._min_free_disk > 4 * SEGMENT_SIZE:
            try:
                await self._bridge.in_thread(self._engine.payloads.segments.provide)
            except OSError as error:
                raise unavailable(error, self._state) from error
        return more
