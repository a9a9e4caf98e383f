"""Conversions in worker processes: what a task costs beside a bare echo, the agent's share of it, memory, and recovery.

`python -m benchmarks worker`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.harness import Figure
from dropmill.api import Accepts, ConverterSpec
from dropmill.config.settings import ConversionSettings, ConverterChoice
from dropmill.conversion.inputs import Job
from dropmill.conversion.outcomes import Converted, Outcome
from dropmill.conversion.pool import ConversionPool
from dropmill.conversion.selection import ConverterBinding
from dropmill.foundation.clock import SystemClock
from dropmill.foundation.failpoints import Failpoints

ROUNDS = 7
SMALL = 10_240
LARGE = 100_000_000
IN_FLIGHT = 32
"""As the dispatcher keeps for two workers."""
PREFIX = struct.Struct("!II")


def figures(scratch: Path) -> Iterable[Figure]:
    return asyncio.run(_figures(scratch))


async def _figures(scratch: Path) -> list[Figure]:
    made = [await _start(scratch)]
    async with _pool(scratch / "pool") as site:
        made += await _round_trip(site)
        made += await _throughput(site)
        made += [await _large(site, scratch), await _recovery(site), _memory(site)]
    return made


class Echo:
    """A bare process behind a socketpair, and an asyncio client for it."""

    async def __aenter__(self) -> Echo:
        ours, theirs = socket.socketpair()
        program = Path(__file__).with_name("worker_echo.py")
        self._process = subprocess.Popen(
            [sys.executable, str(program), str(theirs.fileno())], pass_fds=[theirs.fileno()]
        )
        theirs.close()
        self._reader, self._writer = await asyncio.open_connection(sock=ours, limit=2**20)
        self._number = 0
        return self

    async def call(self, body: bytes) -> bytes:
        self._number += 1
        text = json.dumps({"n": self._number, "mode": "echo", "name": "some-file.csv", "sha256": "0" * 64}).encode()
        self._writer.write(PREFIX.pack(len(text), len(body)) + text + body)
        header_size, body_size = PREFIX.unpack(await self._reader.readexactly(PREFIX.size))
        assert json.loads(await self._reader.readexactly(header_size))["n"] == self._number
        return await self._reader.readexactly(body_size)

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        await self._writer.wait_closed()
        await asyncio.to_thread(self._process.wait)


class Site:
    """A pool and one file of each kind."""

    def __init__(self, scratch: Path, pool: ConversionPool) -> None:
        self.pool = pool
        self._scratch = scratch

    def job(self, converter: str, content: bytes) -> Job:
        path = self._scratch / f"{converter}-{len(content)}"
        if not path.exists():
            path.write_bytes(content)
        return Job(
            id=path.name,
            place=str(path),
            name=path.name,
            size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            folder="inbox",
            selector=self.pool.selector([ConverterChoice(id=converter, options={})]),
        )

    async def convert(self, job: Job) -> Outcome:
        (prepared,) = await self.pool.prepare("inbox", [job])
        outcome = await self.pool.convert(prepared)
        assert isinstance(outcome, Converted) or job.name.startswith("crash"), outcome
        return outcome


@contextlib.asynccontextmanager
async def _pool(scratch: Path, **settings: Any) -> AsyncIterator[Site]:
    scratch.mkdir()
    specs = [
        ConverterSpec(name.lower(), f"worker_converters:{name}", Accepts(("*",)))
        for name in ("Copy", "Read", "Measure", "Crash")
    ]
    pool = ConversionPool(
        {spec.id: ConverterBinding(spec, spec.id, "bench", "1") for spec in specs},
        ConversionSettings(workers=2, recycle_after=1_000_000, **settings),
        clock=SystemClock(),
        scratch=scratch / "work",
        failpoints=Failpoints(),
        environment={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )
    await pool.start()
    try:
        yield Site(scratch, pool)
    finally:
        await pool.close()


async def _start(scratch: Path) -> Figure:
    """From nothing to the first report."""
    seconds, bare = [], []
    for number in range(ROUNDS):
        start = time.perf_counter()
        async with _pool(scratch / f"start-{number}") as site:
            await site.convert(site.job("copy", b"x"))
            seconds.append(time.perf_counter() - start)
        start = time.perf_counter()
        await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", "import orjson, jsonschema_rs, pluggy"], check=True
        )
        bare.append(time.perf_counter() - start)
    return Figure(
        name="worker: from nothing to the first report",
        value=median(seconds) * 1e3,
        unit="ms",
        against="an interpreter with orjson, jsonschema_rs and pluggy",
        reference=median(bare) * 1e3,
        target=3.0,
    )


async def _round_trip(site: Site) -> list[Figure]:
    """10 KB in, 10 KB out, one at a time; alternated with the echo, so that the machine's moods hit both."""
    content = os.urandom(SMALL)
    job = site.job("copy", content)
    async with Echo() as echo:
        await _seconds(lambda: echo.call(content), 200)
        await _one_by_one(site, job, 160)
        ours, bare = [], []
        for _ in range(ROUNDS):
            bare.append(await _seconds(lambda: echo.call(content), 320))
            ours.append(await _one_by_one(site, job, 320))
    return [
        Figure(
            name="worker: a task of 10 KB in and out, one at a time",
            value=median(ours) * 1e6,
            unit="us",
            against="the same JSON frames echoed over a bare socketpair",
            reference=median(bare) * 1e6,
            target=3.0,
        )
    ]


async def _one_by_one(site: Site, job: Job, count: int) -> float:
    """Seconds for each; files are opened sixteen at a time, as the dispatcher does."""
    start = time.perf_counter()
    for _ in range(count // 16):
        for prepared in await site.pool.prepare("inbox", [job] * 16):
            assert isinstance(await site.pool.convert(prepared), Converted)
    return (time.perf_counter() - start) / count


async def _throughput(site: Site) -> list[Figure]:
    rates, shares = [], []
    job = site.job("measure", b"step\n" * 20)
    for _ in range(ROUNDS):
        cpu, start = time.process_time(), time.perf_counter()
        await _many(site, job, 1_500)
        rates.append(1_500 / (time.perf_counter() - start))
        shares.append((time.process_time() - cpu) / 1_500)
    return [
        Figure(name=f"worker: validated reports, {IN_FLIGHT} in flight", value=median(rates), unit="/s", at_least=True),
        Figure(
            name="worker: the agent's CPU time for one of them, opening and closing included",
            value=median(shares) * 1e6,
            unit="us",
            against="what a file may cost the agent here",
            reference=200.0,
            target=1.0,
        ),
    ]


async def _many(site: Site, job: Job, count: int) -> None:
    waiting: asyncio.Queue[Any] = asyncio.Queue(IN_FLIGHT)

    async def work() -> None:
        while (prepared := await waiting.get()) is not None:
            assert isinstance(await site.pool.convert(prepared), Converted)

    async with asyncio.TaskGroup() as group:
        for _ in range(IN_FLIGHT):
            group.create_task(work())
        for _ in range(count // 16):
            for prepared in await site.pool.prepare("inbox", [job] * 16):
                await waiting.put(prepared)
        for _ in range(IN_FLIGHT):
            await waiting.put(None)


async def _large(site: Site, scratch: Path) -> Figure:
    path = scratch / "large"
    path.write_bytes(os.urandom(LARGE))
    job = Job(
        id="large",
        place=str(path),
        name="large",
        size=LARGE,
        sha256="0" * 64,
        folder="inbox",
        selector=site.pool.selector([ConverterChoice(id="read", options={})]),
    )
    ours, bare = [], []
    for _ in range(ROUNDS):
        ours.append(await _seconds(lambda: site.convert(job), 1))
        start = time.perf_counter()
        with path.open("rb") as stream:
            while stream.read(1_048_576):
                pass
        bare.append(time.perf_counter() - start)
    return Figure(
        name="worker: 100 MB read through a descriptor",
        value=median(ours) * 1e3,
        unit="ms",
        against="the same reads by this process",
        reference=median(bare) * 1e3,
        target=2.0,
    )


async def _recovery(site: Site) -> Figure:
    """After a crash the spare takes over."""
    crash, good = site.job("crash", b"x"), site.job("copy", b"x")
    seconds = []
    for _ in range(ROUNDS):
        await site.convert(good)
        async with asyncio.timeout(10):
            while not any(view.distribution is None and view.confined for view in site.pool.workers):
                await asyncio.sleep(0.01)
        await site.convert(crash)
        seconds.append(await _seconds(lambda: site.convert(good), 1))
    return Figure(name="worker: from a crash to the next report", value=median(seconds) * 1e3, unit="ms", target=50.0)


def _memory(site: Site) -> Figure:
    """The share of a worker that is its own (what it shares with others is counted in part)."""
    sizes = []
    for view in site.pool.workers:
        rollup = Path(f"/proc/{view.pid}/smaps_rollup").read_text()
        sizes.append(next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) / 1024)
    return Figure(name="worker: memory of one process (proportional set)", value=median(sizes), unit="MB", target=30.0)


async def _seconds(call: Callable[[], Awaitable[object]], rounds: int) -> float:
    start = time.perf_counter()
    for _ in range(rounds):
        await call()
    return (time.perf_counter() - start) / rounds
