"""The queue by itself: an offer, and the whole cycle of offer, claim and acknowledgement, beside the disk's own limit.

The limit is f: one write and fdatasync of the same payload into a file that has its room already, alternated with the queue's
operations in the same run, because a disk's mood changes by the second. What does not sync before it answers (an operation's
fixed cost on the processor) is allowed for in milliseconds beside the multiples of f. The plain file spool is what people
write themselves: a file for each item, synced, renamed, its folder synced.
"""

from __future__ import annotations

import asyncio
import os
import resource
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from statistics import median

from benchmarks.harness import Figure, percentile
from dropmill.config.settings import QueueSettings
from dropmill.foundation.clock import SystemClock
from dropmill.foundation.failpoints import Failpoints
from dropmill.foundation.files import fsync_directory, write_all
from dropmill.queue.queries import DeliveryQuery
from dropmill.queue.reader import QueueReader
from dropmill.queue.records import Lease, NewReport
from dropmill.queue.sqlite import SqliteStore

__all__ = ["figures"]

MS = 1000.0
MANY = int(os.environ.get("DROPMILL_BENCH_WAITING", "200000"))


def figures(scratch: Path) -> Iterator[Figure]:
    """All figures."""
    for measure in (one_at_a_time, many_at_a_time, very_many_waiting):
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            yield from asyncio.run(measure(Path(folder)))


class Limit:
    """One write and fdatasync of `size` bytes at a time, into a file whose blocks are there."""

    ROOM = 32 * 1024 * 1024

    def __init__(self, folder: Path, size: int) -> None:
        self._descriptor = os.open(folder / f"limit-{size}", os.O_RDWR | os.O_CREAT)
        self._data = os.urandom(size)
        self._at = 0
        self.seconds: list[float] = []
        write_all(self._descriptor, bytes(self.ROOM))
        os.fsync(self._descriptor)

    def once(self) -> None:
        start = time.perf_counter()
        os.pwrite(self._descriptor, self._data, self._at)
        os.fdatasync(self._descriptor)
        self.seconds.append(time.perf_counter() - start)
        self._at = (self._at + len(self._data) + 4095) // 4096 * 4096 % (self.ROOM - len(self._data))

    @property
    def f(self) -> float:
        """The median, in milliseconds."""
        return median(self.seconds) * MS

    def close(self) -> None:
        os.close(self._descriptor)


class Queue:
    """A store and reports to put into it."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self._folder = folder
        self._count = 0
        self.store = self._make()

    def _make(self) -> SqliteStore:
        settings = QueueSettings(max_items=10_000_000, max_bytes=10**12)
        return SqliteStore(self.state, settings, clock=SystemClock(), failpoints=Failpoints(), instance="benchmark")

    async def open(self) -> None:
        self.store = self._make()
        await self.store.open()

    async def warm_up(self) -> None:
        """What an agent does in its first seconds: log and segment take their room, blocks are written once."""
        await self.offer(bytes(100_000))
        await self.acknowledge(await self.claim())
        while await self.store.maintain():
            pass
        await asyncio.sleep(0.5)

    def report(self, body: bytes) -> NewReport:
        self._count += 1
        return NewReport(
            uid=f"{self._count:08}-5a1e-5bf0-a3d1-0123456789ab",
            media_type="application/json",
            schema="urn:dropmill:report:1",
            fields={"serial": "12345", "outcome": "passed"},
            body=body,
            size=len(body),
            sha256="0" * 64,
            lanes=("out",),
        )

    async def offer(self, body: bytes) -> None:
        await self.store.offer([self.report(body)])

    async def claim(self) -> Lease:
        while not (leases := (await self.store.claim("out", 1)).leases):
            await asyncio.sleep(0)
        lease = leases[0]
        if lease.body is None:
            async for _ in self.store.read(lease, 1 << 20):
                pass
        return lease

    async def acknowledge(self, lease: Lease) -> None:
        await self.store.acknowledge([lease], [{"ref": lease.key}])


async def timed(call: Awaitable[object], into: list[float]) -> object:
    start = time.perf_counter()
    result = await call
    into.append(time.perf_counter() - start)
    return result


class Spool:
    """A file for each item, made durable before it counts and removed when it is done."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "spool"
        self._folder.mkdir()
        self._count = 0

    def cycle(self, body: bytes) -> None:
        self._count += 1
        temporary, path = self._folder / ".new", self._folder / str(self._count)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        write_all(descriptor, body)
        os.fsync(descriptor)
        os.close(descriptor)
        temporary.rename(path)
        fsync_directory(self._folder)
        path.read_bytes()
        path.unlink()
        fsync_directory(self._folder)


async def one_at_a_time(folder: Path) -> list[Figure]:
    queue = Queue(folder)
    await queue.open()
    spool = Spool(folder)
    found: list[Figure] = []
    await queue.warm_up()
    for size, rounds, multiple, fixed in (
        (1_000, 400, 2.2, 0.45),
        (16_000, 300, 2.2, 0.45),
        (20_000, 300, 3.2, 0.50),
        (1_000_000, 50, 2.5, 0.50),
    ):
        body = os.urandom(size)
        limit = Limit(folder, size)
        offers: list[float] = []
        claims: list[float] = []
        answers: list[float] = []
        spooled: list[float] = []
        for turn in range(rounds):
            limit.once()
            await timed(queue.offer(body), offers)
            limit.once()
            lease = await timed(queue.claim(), claims)
            assert isinstance(lease, Lease)
            await timed(queue.acknowledge(lease), answers)
            if turn % 4 == 0:
                start = time.perf_counter()
                spool.cycle(body)
                spooled.append(time.perf_counter() - start)
        cycles = [sum(parts) * MS for parts in zip(offers, claims, answers, strict=True)]
        label = f"{size // 1000} KB" if size < 1_000_000 else "1 MB"
        if size <= 16_000:
            allowed = 1.15 * limit.f + 0.15
            found.append(
                Figure(
                    name=f"offer {label}, one at a time",
                    value=median(offers) * MS,
                    unit="ms",
                    against=f"1.15 f + 0.15 ms (f = {limit.f:.3f} ms)",
                    reference=allowed,
                    target=1.0,
                )
            )
            found.append(
                Figure(
                    name=f"offer {label}, 99th percentile",
                    value=percentile(offers, 99) * MS,
                    unit="ms",
                    against="99th percentile of f",
                    reference=percentile(limit.seconds, 99) * MS,
                )
            )
        found.append(
            Figure(
                name=f"cycle {label}, one at a time",
                value=median(cycles),
                unit="ms",
                against=f"{multiple} f + {fixed} ms (f = {limit.f:.3f} ms)",
                reference=multiple * limit.f + fixed,
                target=1.0,
            )
        )
        found.append(
            Figure(
                name=f"cycle {label}, one at a time",
                value=median(cycles),
                unit="ms",
                against="a plain file spool",
                reference=median(spooled) * MS,
                target=1.0 if size <= 20_000 else None,
            )
        )
        limit.close()
    await queue.store.close(clean=True)
    return found


async def many_at_a_time(folder: Path) -> list[Figure]:
    queue = Queue(folder)
    await queue.open()
    found: list[Figure] = []
    await queue.warm_up()
    for size, workers, rounds in ((1_000, 64, 100), (20_000, 64, 60), (1_000_000, 16, 8)):
        body = os.urandom(size)
        limit = Limit(folder, size)
        spent = cpu = 0.0

        async def worker(body: bytes, count: int) -> None:
            for _ in range(count):
                await queue.offer(body)
                await queue.acknowledge(await queue.claim())

        parts = 4
        for _ in range(parts):  # the limit is taken between the parts: the disk has moods
            for _ in range(25):
                limit.once()
            start, start_cpu = time.perf_counter(), time.process_time()
            await asyncio.gather(*(worker(body, max(1, rounds // parts)) for _ in range(workers)))
            spent += time.perf_counter() - start
            cpu += time.process_time() - start_cpu
        for _ in range(25):
            limit.once()
        cycles = parts * workers * max(1, rounds // parts)
        large = size >= 1_000_000
        allowed = 1.5 * limit.f if large else limit.f / 8 + 0.10
        found.append(
            Figure(
                name=f"cycle {size // 1000} KB, {workers} in flight",
                value=spent / cycles * MS,
                unit="ms",
                against=f"{'1.5 f' if large else 'f / 8 + 0.10 ms'} (f = {limit.f:.3f} ms)",
                reference=allowed,
                target=1.0,
            )
        )
        found.append(
            Figure(name=f"processor, cycle {size // 1000} KB, {workers} in flight", value=cpu / cycles * MS, unit="ms")
        )
        limit.close()
    await queue.store.close(clean=True)
    return found


async def very_many_waiting(folder: Path) -> list[Figure]:
    queue = Queue(folder)
    await queue.open()
    few = await _claim_cost(queue)
    body = os.urandom(200)
    for _ in range(0, MANY, 1000):
        await queue.store.offer([queue.report(body) for _ in range(1000)])
    many = await _claim_cost(queue)
    found = [
        Figure(
            name=f"processor, an item claimed of {MANY:,} waiting",
            value=many,
            unit="us",
            against="the same of 2,000 waiting",
            reference=few,
            target=1.5,
        )
    ]
    await queue.store.close(clean=True)
    start = time.perf_counter()
    await queue.open()
    found.append(Figure(name=f"open with {MANY:,} waiting", value=time.perf_counter() - start, unit="s", target=1.0))
    reader = QueueReader(queue.state)
    calls: dict[str, Callable[[], object]] = {
        "status": reader.status,
        "a page of deliveries": reader.deliveries,
        "a page of pending ones": lambda: reader.deliveries(DeliveryQuery(state=("ready", "leased", "delayed"))),
        "a page that matches nothing": lambda: reader.deliveries(DeliveryQuery(code="nothing")),
    }
    for name, call in calls.items():
        start = time.perf_counter()
        call()
        found.append(
            Figure(name=f"{name}, {MANY:,} waiting", value=(time.perf_counter() - start) * MS, unit="ms", target=100.0)
        )
    reader.close()
    await queue.store.close(clean=True)
    found.append(
        Figure(
            name=f"peak memory, {MANY:,} waiting",
            value=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            unit="MB",
            target=150.0,
        )
    )
    return found


async def _claim_cost(queue: Queue) -> float:
    """Processor microseconds for one item of a claim of 16."""
    await queue.store.offer([queue.report(b"x") for _ in range(2000)])
    start = time.process_time()
    for _ in range(100):
        claimed = await queue.store.claim("out", 16)
        assert len(claimed.leases) == 16
    spent = time.process_time() - start
    return spent / 1600 * 1e6
