"""Bulk actions on files and deliveries: by id, or all that match a filter, in batches that are each committed before the next.

Used by the API and, with no agent running, by the command line. A bulk action walks its filter once, by id, so that what fails
again at once is not met twice; it stops after `BUDGET` seconds and says where to go on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, ParamSpec, Protocol, TypeVar

from dropmill.control.errors import Conflict
from dropmill.control.filters import DeliveryFilter, FileFilter
from dropmill.control.queries import Queries
from dropmill.control.shapes import ChangedShape
from dropmill.foundation.clock import Clock
from dropmill.queue.records import DeliveryState, FileState
from dropmill.queue.store import QueueStore

__all__ = ["BATCH", "BUDGET", "RETRYABLE", "Actions", "InThread"]

BATCH = 500
BUDGET = 20.0
RETRYABLE = (FileState.FAILED, FileState.PARKED)

P = ParamSpec("P")
T = TypeVar("T")
FilterT = TypeVar("FilterT", FileFilter, DeliveryFilter)


class InThread(Protocol):
    """Runs a function that reads the disk, off the event loop."""

    def __call__(self, function: Callable[P, T], *args: P.args, **named: P.kwargs) -> Awaitable[T]: ...


class Actions:
    """What changes rows that exist."""

    def __init__(self, store: QueueStore, queries: Queries, in_thread: InThread, clock: Clock) -> None:
        self._store = store
        self._queries = queries
        self._in_thread = in_thread
        self._clock = clock

    async def retry_files(
        self, ids: Sequence[str], *, converter: str | None, reason: str, dry_run: bool = False
    ) -> ChangedShape:
        """Failed and parked files go back to be converted; of files that were converted, the dead deliveries are re-armed.

        Raises:
            NotFound: one of the ids is unknown; nothing was changed.
            Conflict: one of the files has nothing to retry; nothing was changed.
        """
        release: list[str] = []
        deliveries: list[int] = []
        for record in await self._in_thread(self._queries.file_records, ids):
            if record.state in RETRYABLE:
                release.append(record.id)
            elif record.dead and converter is None:
                wanted = DeliveryFilter(file=record.id, state=(DeliveryState.DEAD,))
                deliveries += (await self._in_thread(self._queries.delivery_ids, wanted, None, 10_000))[0]
            else:
                raise Conflict(
                    f"the file is {record.state}: there is nothing to retry",
                    where=record.id,
                    todo=f"only failed and parked files, and dead deliveries, can be retried; `dropmill explain {record.id}`"
                    " tells where it stands",
                )
        if not dry_run:
            if release:
                await self._store.release_files(release, reason=reason, converter=converter)
            if deliveries:
                await self._store.retry(deliveries)
        return _changed(len(ids), 0 if dry_run else len(ids), dry_run=dry_run)

    async def retry_matching_files(
        self, wanted: FileFilter, *, after: str | None, converter: str | None, reason: str, dry_run: bool = False
    ) -> ChangedShape:
        """As `retry_files`, for all failed and parked files that match."""
        wanted = _with_states(wanted, RETRYABLE)
        if dry_run:
            return _changed(await self._in_thread(self._queries.count_files, wanted), 0, dry_run=True)

        async def change(ids: Sequence[str]) -> int:
            await self._store.release_files(ids, reason=reason, converter=converter)
            return len(ids)

        return await self._walk(lambda cursor: self._queries.file_ids(wanted, cursor, BATCH), change, after)

    async def retry_deliveries(self, ids: Sequence[int], *, dry_run: bool = False) -> ChangedShape:
        """Dead letters become ready, with fresh attempts.

        Raises:
            NotFound, Conflict: one of them is unknown, or not dead; nothing was changed.
        """
        await self._dead(ids)
        return _changed(len(ids), 0 if dry_run else await self._store.retry(ids), dry_run=dry_run)

    async def retry_matching_deliveries(
        self, wanted: DeliveryFilter, *, after: str | None, dry_run: bool = False
    ) -> ChangedShape:
        """All dead letters that match become ready."""
        return await self._matching_deliveries(wanted, after, dry_run, self._store.retry)

    async def drop_deliveries(self, ids: Sequence[int], *, reason: str, dry_run: bool = False) -> ChangedShape:
        """Dead letters are given up for good, on record.

        Raises:
            NotFound, Conflict: one of them is unknown, or not dead; nothing was changed.
        """
        await self._dead(ids)
        return _changed(len(ids), 0 if dry_run else await self._store.drop(ids, reason=reason), dry_run=dry_run)

    async def drop_matching_deliveries(
        self, wanted: DeliveryFilter, *, after: str | None, reason: str, dry_run: bool = False
    ) -> ChangedShape:
        """All dead letters that match are given up for good."""
        return await self._matching_deliveries(wanted, after, dry_run, lambda ids: self._store.drop(ids, reason=reason))

    async def _dead(self, ids: Sequence[int]) -> None:
        for shape in await self._in_thread(self._queries.delivery_records, ids):
            if shape.state != DeliveryState.DEAD:
                raise Conflict(
                    f"the delivery is {shape.state}, not dead",
                    where=str(shape.id),
                    todo="only dead letters can be retried or dropped",
                )

    async def _matching_deliveries(
        self,
        wanted: DeliveryFilter,
        after: str | None,
        dry_run: bool,
        change: Callable[[Sequence[int]], Awaitable[int]],
    ) -> ChangedShape:
        wanted = _with_states(wanted, (DeliveryState.DEAD,))
        if dry_run:
            return _changed(await self._in_thread(self._queries.count_deliveries, wanted), 0, dry_run=True)
        return await self._walk(lambda cursor: self._queries.delivery_ids(wanted, cursor, BATCH), change, after)

    async def _walk(
        self,
        page: Callable[[str | None], tuple[Sequence[Any], str | None]],
        change: Callable[[Sequence[Any]], Awaitable[int]],
        after: str | None,
    ) -> ChangedShape:
        matched = changed = 0
        deadline = self._clock.monotonic() + BUDGET
        cursor = after
        while True:
            ids, cursor = await self._in_thread(page, cursor)
            if ids:
                matched += len(ids)
                changed += await change(ids)
            if cursor is None or self._clock.monotonic() > deadline:
                return _changed(matched, changed, dry_run=False, following=cursor)


def _with_states(wanted: FilterT, states: Sequence[str]) -> FilterT:
    """Narrowed to the states that the action applies to; the request's check lets no others through."""
    return wanted if wanted.state else replace(wanted, state=tuple(str(state) for state in states))


def _changed(matched: int, changed: int, *, dry_run: bool, following: str | None = None) -> ChangedShape:
    return {"matched": matched, "changed": changed, "dryRun": dry_run, "next": following}
