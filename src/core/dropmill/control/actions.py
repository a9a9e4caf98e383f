"""Bulk actions on files and deliveries: by id, or all that match a filter, in batches that are each committed before the next.

Used by the API and, with no agent running, by the command line. A bulk action walks its filter once, by id, so that what fails
again at once is not met twice; it stops after `BUDGET` seconds and says where to go on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ParamSpec, Protocol, TypeVar

from dropmill.control.errors import Conflict
from dropmill.control.filters import delivery_query, file_query
from dropmill.control.queries import Queries
from dropmill.control.shapes import ChangedShape
from dropmill.foundation.clock import Clock
from dropmill.queue.errors import NotHeld
from dropmill.queue.reader import DeliveryQuery, FileQuery
from dropmill.queue.records import DeliveryState, FileState
from dropmill.queue.store import QueueStore

__all__ = ["BATCH", "BUDGET", "RETRYABLE", "Actions", "Bulk", "InThread"]

BATCH = 500
BUDGET = 20.0
RETRYABLE = (FileState.FAILED, FileState.PARKED)

P = ParamSpec("P")
T = TypeVar("T")
FilterT = TypeVar("FilterT", FileQuery, DeliveryQuery)


class InThread(Protocol):
    """Runs a function that reads the disk, off the event loop."""

    def __call__(self, function: Callable[P, T], /, *args: P.args, **named: P.kwargs) -> Awaitable[T]: ...


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
        for file_id in ids:
            file = await self._in_thread(self._queries.file, file_id)
            if file["state"] in RETRYABLE:
                release.append(file_id)
            elif file["dead"] and converter is None:
                deliveries += [one["id"] for one in file["deliveries"] if one["state"] == DeliveryState.DEAD]
            else:
                raise Conflict(
                    f"the file is {file['state']}: there is nothing to retry",
                    where=file_id,
                    todo=f"only failed and parked files and dead deliveries can be retried; `dropmill explain {file_id}`"
                    " tells where it stands",
                )
        if not dry_run:
            if release:
                await self._store.release_files(release, reason=reason, converter=converter)
            if deliveries:
                await self._store.retry(deliveries)
        return _changed(len(ids), 0 if dry_run else len(ids), dry_run=dry_run)

    async def retry_matching_files(
        self, wanted: FileQuery, *, after: str | None, converter: str | None, reason: str, dry_run: bool = False
    ) -> ChangedShape:
        """As `retry_files`, for all failed and parked files that match."""
        wanted = _with_states(wanted, RETRYABLE)
        if dry_run:
            return _changed(await self._in_thread(self._queries.count_files, wanted), 0, dry_run=True)

        async def change(ids: Sequence[str]) -> int:
            return await self._release(ids, reason, converter)

        return await self._walk(lambda cursor: self._queries.file_ids(wanted, cursor, BATCH), change, after)

    async def retry_deliveries(self, ids: Sequence[int], *, dry_run: bool = False) -> ChangedShape:
        """Dead letters become ready, with fresh attempts.

        Raises:
            NotFound, Conflict: one of them is unknown, or not dead; nothing was changed.
        """
        await self._dead(ids)
        return _changed(len(ids), 0 if dry_run else await self._store.retry(ids), dry_run=dry_run)

    async def retry_matching_deliveries(
        self, wanted: DeliveryQuery, *, after: str | None, dry_run: bool = False
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
        self, wanted: DeliveryQuery, *, after: str | None, reason: str, dry_run: bool = False
    ) -> ChangedShape:
        """All dead letters that match are given up for good."""
        return await self._matching_deliveries(wanted, after, dry_run, lambda ids: self._store.drop(ids, reason=reason))

    async def _release(self, ids: Sequence[str], reason: str, converter: str | None) -> int:
        """Files may have moved on since they were listed: then those that are still held, one by one."""
        try:
            await self._store.release_files(ids, reason=reason, converter=converter)
        except NotHeld:
            if len(ids) == 1:
                return 0
            return sum([await self._release([one], reason, converter) for one in ids])
        return len(ids)

    async def _dead(self, ids: Sequence[int]) -> None:
        for delivery_id in ids:
            state = (await self._in_thread(self._queries.delivery, delivery_id))["state"]
            if state != DeliveryState.DEAD:
                raise Conflict(
                    f"the delivery is {state}, not dead",
                    where=str(delivery_id),
                    todo="only dead letters can be retried or dropped",
                )

    async def _matching_deliveries(
        self,
        wanted: DeliveryQuery,
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


class Bulk:
    """`Actions` by the bodies of the API's requests, as its route checks them.

    Args:
        by: Who acts, for the record.
    """

    def __init__(self, actions: Actions, *, by: str) -> None:
        self._actions = actions
        self._by = by

    async def retry(self, body: Mapping[str, Any]) -> ChangedShape:
        """Of `POST /v1/retry`."""
        dry, after, by_id = body.get("dryRun", False), body.get("after"), "ids" in body
        if body["what"] == "deliveries":
            if by_id:
                return await self._actions.retry_deliveries(body["ids"], dry_run=dry)
            wanted = delivery_query(body["filter"])
            return await self._actions.retry_matching_deliveries(wanted, after=after, dry_run=dry)
        how: Any = {"converter": body.get("converter"), "reason": f"retried by {self._by}", "dry_run": dry}
        if by_id:
            return await self._actions.retry_files(body["ids"], **how)
        return await self._actions.retry_matching_files(file_query(body["filter"]), after=after, **how)

    async def drop(self, body: Mapping[str, Any]) -> ChangedShape:
        """Of `POST /v1/drop`."""
        how: Any = {"reason": body.get("reason", f"dropped by {self._by}"), "dry_run": body.get("dryRun", False)}
        if "ids" in body:
            return await self._actions.drop_deliveries(body["ids"], **how)
        return await self._actions.drop_matching_deliveries(
            delivery_query(body["filter"]), after=body.get("after"), **how
        )


def _with_states(wanted: FilterT, states: Sequence[str]) -> FilterT:
    """Narrowed to the states that the action applies to; the request's check lets no others through."""
    return wanted if wanted.state else replace(wanted, state=tuple(str(state) for state in states))


def _changed(matched: int, changed: int, *, dry_run: bool, following: str | None = None) -> ChangedShape:
    return {"matched": matched, "changed": changed, "dryRun": dry_run, "next": following}
