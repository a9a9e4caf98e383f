"""Writes what becomes of files into the queue, and sees it through: a queue that cannot be written is asked again until it can.

Invariant: a file that was handed in has left the state *converting* when the call returns, unless somebody else took it away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import structlog

from dropmill.conversion.decisions import Fail, Park, Publish, Release, Transition
from dropmill.conversion.pool import ConversionPool
from dropmill.conversion.publication import publication
from dropmill.conversion.staged import StagedReports
from dropmill.foundation.clock import Clock
from dropmill.queue.errors import NotHeld, QueueFull, StoreClosed, StoreUnavailable, TooLarge
from dropmill.queue.records import FileRecord, NewReport, ParkReason, Published
from dropmill.queue.store import QueueStore

__all__ = ["Desk", "Publisher"]

_FULL_AGAIN, _FULL_AGAIN_CAP = 5.0, 300.0
_STORE_AGAIN, _STORE_AGAIN_CAP = 1.0, 30.0
_PAGES = (1_000, 10_000, 100_000)


class Publisher(Protocol):
    """`dropmill.queue.admission.Admission`, as far as it is needed here."""

    async def publish(
        self,
        file_id: str,
        reports: Sequence[NewReport],
        *,
        converter: str,
        warnings: Sequence[Mapping[str, Any]] = (),
        folder: str | None = None,
    ) -> Published: ...


class Desk:
    """Used by the dispatcher alone."""

    def __init__(self, store: QueueStore, admission: Publisher, pool: ConversionPool, clock: Clock) -> None:
        self._store = store
        self._admission = admission
        self._pool = pool
        self._clock = clock
        self._turned_away: dict[str, int] = {}
        """How often each file's reports found no room."""
        self._log = structlog.get_logger(__name__)

    async def settle(self, file: FileRecord, transition: Transition, lanes: Sequence[str]) -> None:
        """Carry a transition out; `lanes` are where the file's reports go."""
        if isinstance(transition, Publish):
            try:
                follow_up = await self._publish(file, transition, lanes)
            finally:
                await self._pool.discard(transition.outcome)
            if follow_up is None:
                self._turned_away.pop(file.id, None)
                return
            transition = follow_up
        await self._insist(file, lambda: self._apply(file, transition))

    async def give_back(self, file: FileRecord, reason: str) -> None:
        """The agent stops: the file is as if it had not been taken. What cannot be written is put right when the store closes."""
        try:
            await self._store.release_files([file.id], reason=reason)
        except (NotHeld, StoreUnavailable):
            pass

    async def release_parked(self, parked: ParkReason, plugin: str | None, *, reason: str, most: int = 100_000) -> int:
        """Release files that wait for a plugin (None: for any), the oldest first; how many there were."""
        released = 0
        for page in _PAGES:
            files = await self._store.parked_files(parked, page)
            wanted = [file.id for file in files if plugin is None or (file.error or {}).get("plugin") == plugin]
            for start in range(0, min(len(wanted), most), _PAGES[0]):
                some = wanted[start : min(start + _PAGES[0], most)]
                try:
                    await self._store.release_files(some, reason=reason)
                    released += len(some)
                except NotHeld:
                    released += await self._release_each(some, reason)
            if released >= most or len(files) < page:
                break
        return released

    async def _release_each(self, ids: Sequence[str], reason: str) -> int:
        """Some of them were taken away meanwhile."""
        released = 0
        for file_id in ids:
            try:
                await self._store.release_files([file_id], reason=reason)
                released += 1
            except NotHeld:
                continue
        return released

    async def _publish(self, file: FileRecord, publish: Publish, lanes: Sequence[str]) -> Transition | None:
        """Publish; what else becomes of the file where that cannot be."""
        outcome = publish.outcome
        try:
            if await self._beyond_all(outcome.reports, lanes):
                raise TooLarge(f"{len(outcome.reports)} reports are more than the whole queue holds")
            reports = await self._pool.in_thread(lambda: publication(outcome.reports, lanes), outcome.reports)
            await self._admission.publish(
                file.id, reports, converter=publish.converter, warnings=outcome.warnings, folder=file.folder
            )
        except NotHeld as error:
            self._log.info("reports are not needed any more", code=error.code, file=file.id, what=error.problem.what)
        except TooLarge as error:
            record = {**error.problem.as_dict(), "reports": len(outcome.reports), "message": error.problem.what}
            return Park(reason=ParkReason.TOO_LARGE, error=record, converter=publish.converter)
        except QueueFull as error:
            return Release(reason=ParkReason.QUEUE_FULL, after=self._wait_for_room(file, error))
        except StoreUnavailable as error:
            self._log.warning("reports cannot be published now", code=error.code, file=file.id, what=error.problem.what)
            return Release(reason="the queue cannot be written", after=_FULL_AGAIN)
        return None

    async def _beyond_all(self, reports: Sequence[Any], lanes: Sequence[str]) -> bool:
        """Whether the queue could not take them even if it were empty: no need to read them then."""
        if not isinstance(reports, StagedReports) or not reports.spooled:
            return False
        view = await self._store.view()
        return len(reports) * len(lanes) > view.max_items or reports.size * len(lanes) > view.max_bytes

    def _wait_for_room(self, file: FileRecord, full: QueueFull) -> float:
        """The queue hands the file out again when there is room; where it says so in vain, more and more seldom."""
        if len(self._turned_away) > _PAGES[0]:
            self._turned_away.clear()
        turns = self._turned_away[file.id] = self._turned_away.get(file.id, -1) + 1
        return 0.0 if turns == 0 else min(max(full.retry_after, _FULL_AGAIN) * 2 ** (turns - 1), _FULL_AGAIN_CAP)

    async def _apply(self, file: FileRecord, transition: Transition) -> None:
        store = self._store
        if isinstance(transition, Fail):
            await store.fail_file(
                file.id,
                code=transition.code,
                reason=transition.reason,
                error=transition.error,
                converter=transition.converter,
            )
        elif isinstance(transition, Park):
            await store.park_file(
                file.id, reason=transition.reason, error=transition.error, converter=transition.converter
            )
        elif isinstance(transition, Release):
            if transition.event is not None:
                await store.record_event(file.id, transition.event, transition.details or {})
            not_before = self._clock.time() + transition.after if transition.after > 0 else 0.0
            await store.release_files(
                [file.id], reason=transition.reason, not_before=not_before, charge=transition.charge
            )

    async def _insist(self, file: FileRecord, change: Callable[[], Awaitable[None]]) -> None:
        """Make a change, over and over where the queue cannot be written."""
        delay = _STORE_AGAIN
        while True:
            try:
                await change()
                return
            except NotHeld as error:
                self._log.info(
                    "a file was taken away meanwhile", code=error.code, file=file.id, what=error.problem.what
                )
                return
            except StoreClosed:
                return
            except StoreUnavailable as error:
                self._log.warning(
                    "a file's end waits for the queue", code=error.code, file=file.id, what=error.problem.what
                )
                await asyncio.sleep(delay)
                delay = min(delay * 2, _STORE_AGAIN_CAP)
