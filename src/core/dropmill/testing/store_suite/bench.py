"""What a test of a queue engine stands on: a store in a folder, a clock that only moves when told, and material."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any, Protocol

from dropmill.config.settings import QueueSettings
from dropmill.foundation.clock import Clock, ManualClock
from dropmill.foundation.ids import IdSource
from dropmill.queue.records import FileIdentity, Lease, NewFile, NewReport
from dropmill.queue.store import QueueStore

__all__ = ["Bench", "StoreFactory", "deliver", "dispose", "keys_of", "scenario", "whole"]


class StoreFactory(Protocol):
    """Makes an engine's store, not yet open."""

    def __call__(self, place: Path, settings: QueueSettings, *, clock: Clock, instance: str) -> QueueStore: ...


class Bench:
    """One test's store, clock and material."""

    def __init__(self, factory: StoreFactory, place: Path) -> None:
        self.place = place
        self.clock = ManualClock()
        self._factory = factory
        self._ids = IdSource(self.clock, Random(1))  # noqa: S311
        self._opened = 0

    @asynccontextmanager
    async def store(self, *, clean: bool = True, **settings: Any) -> AsyncIterator[QueueStore]:
        """An open store with these settings; leaving it closes it."""
        self._opened += 1
        store = self._factory(
            self.place, QueueSettings(**settings), clock=self.clock, instance=f"instance-{self._opened}"
        )
        await store.open()
        try:
            yield store
        finally:
            await store.close(clean=clean)

    def file(self, name: str = "a.csv", *, folder: str = "inbox", content: str | None = None, **more: Any) -> NewFile:
        """A file that is about to be claimed."""
        self.clock.advance(0.001)
        file_id = self._ids.new()
        text = name if content is None else content
        return NewFile(
            id=file_id,
            folder=folder,
            name=name,
            place=f"/{folder}/.dropmill/work/{file_id}-{name}",
            origin=f"/{folder}/{name}",
            identity=FileIdentity(len(text), 1, 2, 3, 2**64 - 1),
            sha256=hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest(),
            **more,
        )

    @staticmethod
    def report(
        uid: str,
        body: bytes = b"{}",
        *lanes: str,
        staged: Path | None = None,
        ordinal: int = 0,
        fields: Mapping[str, Any] | None = None,
    ) -> NewReport:
        """A report for these lanes (`out` where none is named)."""
        if staged is not None:
            staged.write_bytes(body)
        return NewReport(
            uid=uid,
            media_type="application/json",
            schema=None,
            fields=fields or {},
            body=body if staged is None else None,
            staged=None if staged is None else str(staged),
            size=len(body),
            sha256=hashlib.sha256(body).hexdigest(),
            lanes=lanes or ("out",),
            ordinal=ordinal,
        )

    async def converting(self, store: QueueStore, *files: NewFile) -> None:
        """Claim the files and begin to convert them."""
        ids = [file.id for file in files]
        await store.add_files(files)
        await store.confirm_files(ids)
        await store.start_conversions(ids)

    async def converted(self, store: QueueStore, file: NewFile, *reports: NewReport) -> None:
        """Take a file all the way to its deliveries."""
        await self.converting(store, file)
        await store.publish(file.id, reports, converter="csv 1.0")


def scenario(test: Callable[[Any, Bench], Awaitable[None]]) -> Callable[[Any, Path], None]:
    """A test that runs a coroutine with a bench."""

    def run(self: Any, tmp_path: Path) -> None:
        asyncio.run(asyncio.wait_for(test(self, Bench(self.factory, tmp_path)), 60))

    run.__name__ = test.__name__
    run.__doc__ = test.__doc__
    return run


async def deliver(store: QueueStore, lane: str = "out") -> list[str]:
    """Send everything that is ready in a lane; the keys, in order."""
    keys = []
    while leases := (await store.claim(lane, 10)).leases:
        await store.acknowledge(leases, [{"ref": lease.key} for lease in leases])
        keys += [lease.key for lease in leases]
    return keys


async def keys_of(store: QueueStore, limit: int = 100, **more: Any) -> list[str]:
    """Keys of what a claim hands out."""
    return [lease.key for lease in (await store.claim("out", limit, **more)).leases]


async def whole(store: QueueStore, lease: Lease, size: int = 65_536) -> bytes:
    """A lease's payload, read in pieces."""
    return b"".join([piece async for piece in store.read(lease, size)])


async def dispose(store: QueueStore) -> Mapping[str, str]:
    """Move everything whose fate is settled; outcome by file id."""
    outcomes = {disposal.file.id: disposal.outcome for disposal in await store.next_disposals(100)}
    places = {file_id: f"/{outcome}/{file_id}" for file_id, outcome in outcomes.items()}
    await store.plan_disposals(places)
    await store.finish_disposals(places)
    return outcomes
