"""Delivery by itself: a lane on the SQLite queue to a real nginx and to a folder, with payloads of 1 to 20 KB.

Beside each stands the limit of the same run, interleaved with it: the same HTTP client without a queue, and a bare loop that
writes, syncs, renames and syncs the folder. CPU is that of the event loop's thread, or of the whole process; the least of all
rounds is shown, since whatever else the machine does can only add to it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from statistics import median

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import aiohttp
import structlog

from benchmarks.harness import Figure
from dropmill.api import Transport, TransportSpec
from dropmill.config.settings import DestinationSettings, QueueSettings
from dropmill.delivery.lane import Lane
from dropmill.delivery.outgoing import OpenContext
from dropmill.foundation.clock import SystemClock
from dropmill.foundation.failpoints import Failpoints
from dropmill.queue.records import NewReport
from dropmill.queue.sqlite import SqliteStore
from dropmill_plugins.transports import directory, http
from dropmill_plugins.transports.directory.transport import DirectoryTransport
from dropmill_plugins.transports.http.transport import HttpTransport
from support.lanes import Heart, Item
from support.servers import Nginx

ROUNDS = 9
ITEMS = 500
IN_FLIGHT = 8

Costs = dict[str, list[tuple[float, float, float]]]
"""By name, for each round: seconds, CPU seconds of the loop's thread, CPU seconds of the process; for one item."""


def figures(scratch: Path) -> Iterable[Figure]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    payloads = _payloads()
    with Nginx(scratch / "nginx", log=False) as nginx:
        costs = asyncio.run(_http(scratch, nginx.url, payloads))
    yield from _rate("HTTP lane: deliveries/s", costs, "lane", "bare", "same client and server, no queue", 0.5)
    yield _cpu("HTTP transport: CPU of the loop's thread", costs, "transport", "bare", "bare aiohttp", 1.4)
    yield Figure(name="HTTP transport: CPU a request", value=_of(costs["transport"], 1), unit="ms", target=0.5)
    yield _cpu("HTTP lane: CPU of the loop's thread", costs, "lane", "bare", "bare aiohttp", 2.0)
    yield Figure(name="HTTP lane: CPU of the whole process", value=_of(costs["lane"], 2), unit="ms")
    costs = asyncio.run(_directory(scratch, payloads))
    yield from _rate(
        "directory lane: deliveries/s", costs, "lane", "bare", "write, fsync, rename, fsync one by one", 0.5
    )
    yield Figure(name="directory lane: CPU of the whole process", value=_of(costs["lane"], 2), unit="ms")


def _rate(name: str, costs: Costs, ours: str, other: str, against: str, target: float) -> Iterator[Figure]:
    rates = [median(1 / cost[0] for cost in costs[which]) for which in (ours, other)]
    yield Figure(
        name=name, value=rates[0], unit="/s", against=against, reference=rates[1], target=target, at_least=True
    )


def _cpu(name: str, costs: Costs, ours: str, other: str, against: str, target: float) -> Figure:
    return Figure(
        name=name,
        value=_of(costs[ours], 1),
        unit="ms",
        against=against,
        reference=_of(costs[other], 1),
        target=target,
    )


def _of(costs: list[tuple[float, float, float]], which: int) -> float:
    """The least, in milliseconds."""
    return min(cost[which] for cost in costs) * 1e3


def _payloads() -> list[bytes]:
    random = Random(1)
    return [os.urandom(random.randint(1_000, 20_000)) for _ in range(ITEMS)]


async def _http(scratch: Path, url: str, payloads: list[bytes]) -> Costs:
    costs: Costs = defaultdict(list)
    transport = HttpTransport({"url": url + "/t/{key}", "method": "PUT"})
    await transport.open(OpenContext("bench", ".", 60.0))
    items = [Item(f"r{number}.1", payload) for number, payload in enumerate(payloads)]
    async with aiohttp.ClientSession() as session:

        async def bare(number: int) -> None:
            async with session.put(f"{url}/b/{number}", data=payloads[number]) as response:
                await response.read()

        async def ours(number: int) -> None:
            await transport.send([items[number]])

        for turn in range(ROUNDS):
            await _measured(costs["bare"], lambda: _in_flight(bare))
            await _measured(costs["transport"], lambda: _in_flight(ours))
            lane = HttpTransport({"url": url + f"/{turn}/{{key}}", "method": "PUT"})
            await _through_a_lane(costs["lane"], scratch / f"http-{turn}", payloads, lane, http.SPEC)
    await transport.close()
    return costs


async def _directory(scratch: Path, payloads: list[bytes]) -> Costs:
    costs: Costs = defaultdict(list)
    for turn in range(ROUNDS):
        bare = scratch / f"bare-{turn}"
        bare.mkdir()
        await _measured(costs["bare"], lambda bare=bare: asyncio.to_thread(_one_by_one, bare, payloads))
        lane = DirectoryTransport({"path": str(scratch / f"out-{turn}")})
        await _through_a_lane(costs["lane"], scratch / f"directory-{turn}", payloads, lane, directory.SPEC)
    return costs


def _one_by_one(folder: Path, payloads: list[bytes]) -> None:
    for number, payload in enumerate(payloads):
        temporary = folder / f".{number}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        os.write(descriptor, payload)
        os.fsync(descriptor)
        os.close(descriptor)
        temporary.rename(folder / f"{number}.json")
        descriptor = os.open(folder, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


async def _in_flight(one: Callable[[int], Awaitable[None]]) -> None:
    numbers = iter(range(ITEMS))

    async def worker() -> None:
        for number in numbers:
            await one(number)

    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))


async def _through_a_lane(
    costs: list[tuple[float, float, float]],
    home: Path,
    payloads: list[bytes],
    transport: Transport,
    spec: TransportSpec,
) -> None:
    async with _store(home) as store:
        for start in range(0, ITEMS, 100):
            await store.offer([_report(number, payloads[number]) for number in range(start, start + 100)])
        settings = DestinationSettings(name="d", transport=spec.id, options={}, concurrency=IN_FLIGHT)
        done = asyncio.Event()
        left = ITEMS

        def count(event: object) -> None:
            nonlocal left
            left -= getattr(event, "name", "") == "delivery.sent"
            if not left:
                done.set()

        lane = Lane(
            settings, transport, spec, store, clock=SystemClock(), random=Random(1), base=str(home), on_event=count
        )
        heart = Heart()

        async def drained() -> None:
            nonlocal task
            task = asyncio.create_task(lane.run(heart))
            await done.wait()

        task: asyncio.Task[None]
        await _measured(costs, drained)
        heart.stop()
        await task


@asynccontextmanager
async def _store(home: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(home, QueueSettings(), clock=SystemClock(), failpoints=Failpoints(), instance="bench")
    await store.open()
    try:
        yield store
    finally:
        await store.close(clean=True)


def _report(number: int, payload: bytes) -> NewReport:
    return NewReport(
        uid=f"r{number:06d}",
        media_type="application/json",
        schema=None,
        fields={"serial": f"S{number}"},
        body=payload,
        size=len(payload),
        sha256=hashlib.sha256(payload).hexdigest(),
        lanes=["d"],
    )


async def _measured(costs: list[tuple[float, float, float]], work: Callable[[], Awaitable[None]]) -> None:
    began = (time.perf_counter(), time.thread_time(), time.process_time())
    await work()
    ended = (time.perf_counter(), time.thread_time(), time.process_time())
    costs.append(tuple((end - begin) / ITEMS for begin, end in zip(began, ended, strict=True)))  # type: ignore[arg-type]
