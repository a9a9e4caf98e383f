"""A queue's life for a process that is going to be killed: it says on standard output what it was told, line by line.

    python life.py STATE SEED TURNS

A line is written only after the call has come back: what stands there is what the queue has promised.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from pathlib import Path
from random import Random

import structlog

from dropmill.api import Evict
from dropmill.config.settings import QueueSettings
from dropmill.foundation.clock import SystemClock
from dropmill.foundation.failpoints import Failpoints
from dropmill.foundation.ids import IdSource
from dropmill.queue.errors import QueueFull, StoreUnavailable
from dropmill.queue.records import FileIdentity, NewFile, NewReport
from dropmill.queue.sqlite import SqliteStore

SIZES = (10, 3_000, 20_000, 70_000, 300_000)
SETTINGS = QueueSettings(max_items=120, max_bytes=20_000_000, retention=0.2)


def body_of(uid: str, size: int) -> bytes:
    return (hashlib.sha256(uid.encode()).digest() * (size // 32 + 1))[:size]


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


class Life:
    def __init__(self, state: Path, seed: int) -> None:
        self.random = Random(seed)
        self.clock = SystemClock()
        self.ids = IdSource(self.clock, self.random)
        self.store = SqliteStore(
            state, SETTINGS, clock=self.clock, failpoints=Failpoints.from_environment(), instance=f"life {seed}"
        )
        self.count = 0
        if "LIFE_SEGMENT" in os.environ:  # groups that reach over two segments
            self.store._engine.payloads.segments._size = int(os.environ["LIFE_SEGMENT"])

    def report(self) -> NewReport:
        self.count += 1
        uid = f"{self.ids.new()}-{self.count}"
        size = self.random.choice(SIZES)
        body = body_of(uid, size)
        return NewReport(
            uid=uid,
            media_type="application/octet-stream",
            schema=None,
            fields={"size": size},
            body=body,
            size=size,
            sha256=hashlib.sha256(body).hexdigest(),
            lanes=self.random.choice((["a"], ["b"], ["a", "b"])),
        )

    async def file(self) -> None:
        file_id = self.ids.new()
        new = NewFile(
            id=file_id,
            folder="inbox",
            name=f"{file_id}.csv",
            place=f"/work/{file_id}",
            origin=f"/inbox/{file_id}.csv",
            identity=FileIdentity(1, 2, 3, 4, 5),
            sha256=hashlib.sha256(file_id.encode()).hexdigest(),
        )
        await self.store.add_files([new])
        say("claimed", file_id)
        await self.store.confirm_files([file_id])
        await self.store.start_conversions([file_id])
        reports = [self.report() for _ in range(self.random.randint(1, 3))]
        evict = self.random.choice((None, Evict(5)))
        try:
            await self.store.publish(file_id, reports, converter="c 1", evict=evict)
        except QueueFull:
            await self.store.release_files([file_id], reason="queue full")
            return
        for report in reports:
            for lane in report.lanes:
                say("queued", report.uid, lane, report.size)
        say("published", file_id)

    async def offer(self) -> None:
        report = self.report()
        try:
            await self.store.offer([report])
        except QueueFull:
            return
        for lane in report.lanes:
            say("queued", report.uid, lane, report.size)

    async def deliver(self, lane: str) -> None:
        leases = (await self.store.claim(lane, self.random.randint(1, 6))).leases
        for lease in leases:
            payload = b"".join([piece async for piece in self.store.read(lease, 65_536)])
            assert payload == body_of(lease.report_id, lease.size)
            say("sending", lease.report_id, lane)
        if self.random.random() < 0.8:
            await self.store.acknowledge(leases, [{"ref": lease.key} for lease in leases])
            for lease in leases:
                say("sent", lease.report_id, lane)
        else:
            for lease in leases:
                await self.store.fail(lease, error={"code": "X"}, delay=0.01)

    async def dispose(self) -> None:
        found = await self.store.next_disposals(10)
        places = {one.file.id: f"/{one.outcome}/{one.file.id}" for one in found}
        await self.store.plan_disposals(places)
        await self.store.finish_disposals(places)
        for file_id in places:
            say("laid", file_id)

    async def run(self, turns: int) -> None:
        await self.store.open()
        say("open")
        await asyncio.gather(*(self.worker(turns) for _ in range(6)))
        await self.store.close(clean=True)
        say("closed")

    async def worker(self, turns: int) -> None:
        for _ in range(turns):
            step = self.random.choice((self.file, self.offer, self.offer, self.dispose, self.store.maintain, None))
            try:
                if step is None:
                    await self.deliver(self.random.choice("ab"))
                else:
                    await step()
            except StoreUnavailable as error:
                say("unavailable", type(error).__name__)
                await asyncio.sleep(0.05)


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(Life(Path(sys.argv[1]), int(sys.argv[2])).run(int(sys.argv[3])))
