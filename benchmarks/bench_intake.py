"""Intake beside a bare loop over the same files: claiming what waits, latency from close to claim, what idling costs."""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

from watchdog.events import FileClosedEvent, FileCreatedEvent, FileMovedEvent, FileSystemEventHandler
from watchdog.observers import Observer

from benchmarks.harness import Figure, percentile
from dropmill.config.settings import FolderSettings, QueueSettings
from dropmill.foundation.clock import SystemClock
from dropmill.foundation.failpoints import Failpoints
from dropmill.foundation.ids import IdSource
from dropmill.intake.gate import OpenGate
from dropmill.intake.service import Intake
from dropmill.intake.watch import Hints, Watch
from dropmill.queue.sqlite import SqliteStore

FILES = 10_000
SIZE = 1_500
GROUP = 256


class _Heart:
    def __init__(self) -> None:
        self.quiescing = False

    def beat(self) -> None: ...

    async def wait_quiesce(self) -> None: ...

    async def sleep(self, seconds: float) -> bool:
        await asyncio.sleep(seconds)
        return True


def _settings(root: Path, name: str, settle: float) -> FolderSettings:
    return FolderSettings(
        name=name, path=root, converters=(), destinations=(), settle=settle, done=root / "done", failed=root / "failed"
    )


@asynccontextmanager
async def _intake(scratch: Path, folders: list[FolderSettings], max_claimed: int = 1_000_000) -> Any:
    clock = SystemClock()
    store = SqliteStore(scratch / "state", QueueSettings(), clock=clock, failpoints=Failpoints(), instance="bench")
    await store.open()
    intake = Intake(
        folders,
        store,
        state=scratch / "state",
        clock=clock,
        ids=IdSource(clock, Random(1)),
        failpoints=Failpoints(),
        gate=OpenGate(),
        max_claimed=max_claimed,
        instance="bench",
    )
    hearts = []
    tasks = []
    await intake.recover()
    for spec in intake.children():
        hearts.append(_Heart())
        tasks.append(asyncio.get_running_loop().create_task(spec.run(hearts[-1])))
    try:
        yield intake, store
    finally:
        for heart in hearts:
            heart.quiescing = True
        intake.rescan()
        store.wakeups.notify("disposals")
        await asyncio.gather(*tasks)
        intake.close()
        await store.close(clean=True)


def _fill(root: Path, count: int, size: int = SIZE) -> None:
    root.mkdir(parents=True)
    block = os.urandom(size)
    for number in range(count):
        (root / f"f{number:06}.csv").write_bytes(b"%d" % number + block)
    os.sync()


def bare_loop(root: Path, *, flush: bool) -> float:
    """Seconds for scandir, stat, read with sha256 and rename over the files, and one syncfs for each group."""
    libc = ctypes.CDLL(None)
    folder = os.open(root, os.O_RDONLY)
    out = root / ".taken"
    out.mkdir()
    start = time.perf_counter()
    for number, entry in enumerate(list(os.scandir(root))):
        if entry.name.startswith("."):
            continue
        entry.stat(follow_symlinks=False)
        with open(entry.path, "rb") as file:
            hashlib.sha256(file.read()).hexdigest()
        os.rename(entry.path, out / entry.name)
        if flush and number % GROUP == GROUP - 1:
            libc.syncfs(folder)
    seconds = time.perf_counter() - start
    os.close(folder)
    return seconds


async def claim_all(scratch: Path, count: int = FILES) -> tuple[float, float]:
    """(seconds from the moment that the files have settled to the last claim, CPU seconds of the process meanwhile)."""
    root = scratch / "inbox"
    _fill(root, count)
    settle = 0.5
    async with _intake(scratch, [_settings(root, "inbox", settle)]) as (intake, _store):
        started = time.perf_counter()
        while not intake.status()[0].claimed:
            await asyncio.sleep(0.001)
        first = time.perf_counter()
        cpu = time.process_time()
        done = intake.status()[0].claimed
        while intake.status()[0].claimed < count:
            await asyncio.sleep(0.005)
        seconds = (time.perf_counter() - first) * count / (count - done)
        assert first - started < settle + 5, first - started
        return seconds, time.process_time() - cpu


async def latency(scratch: Path, *, settle: float = 0.2, rate: float = 50, seconds: float = 10) -> list[float]:
    """Seconds from close to claim for each file of a steady stream."""
    root = scratch / "stream"
    root.mkdir(parents=True)
    closed: dict[str, float] = {}
    stop = threading.Event()

    def write() -> None:
        start = time.monotonic()
        for number in range(int(rate * seconds)):
            time.sleep(max(0.0, start + number / rate - time.monotonic()))
            name = f"s{number}.csv"
            with open(root / name, "wb") as file:
                file.write(os.urandom(SIZE))
            closed[name] = time.monotonic()
        stop.set()

    waits: list[float] = []
    async with _intake(scratch, [_settings(root, "stream", settle)]) as (_, store):
        await asyncio.sleep(0.3)
        seen: set[str] = set()
        thread = threading.Thread(target=write)
        thread.start()
        mark = 0
        while len(waits) < int(rate * seconds):
            await store.wakeups.wait("files", mark, 1.0)
            mark = store.wakeups.count("files")
            now = time.monotonic()
            fresh = [file for file in await store.next_files(1000) if file.id not in seen]
            for file in fresh:
                seen.add(file.id)
                waits.append(now - closed[file.name])
            if fresh:
                await store.start_conversions([file.id for file in fresh])
        thread.join()
    return waits


async def idle(scratch: Path, *, folders: int = 20, seconds: float = 10) -> float:
    """Share of one core that idling folders take."""
    settings = []
    for number in range(folders):
        root = scratch / f"idle{number}"
        root.mkdir(parents=True)
        settings.append(_settings(root, f"idle{number}", 2.0))
    async with _intake(scratch, settings) as (intake, _store):
        await intake.started(10)
        await asyncio.sleep(1)
        before = time.process_time()
        await asyncio.sleep(seconds)
        return (time.process_time() - before) / seconds


def work_layout(scratch: Path, *, folders: bool, count: int = 5_000) -> tuple[float, float]:
    """Seconds a file to move into work/ and out again, with a folder for each file or without."""
    root = scratch / ("folders" if folders else "flat")
    _fill(root, count)
    work, done = root / ".work", root / "done"
    work.mkdir()
    done.mkdir()
    names = [name for name in os.listdir(root) if name.endswith(".csv")]
    start = time.perf_counter()
    for name in names:
        if folders:
            (work / name[:8]).mkdir()
            os.rename(root / name, work / name[:8] / name)
        else:
            os.rename(root / name, work / f"0123456789abcdef-{name}")
    os.sync()
    middle = time.perf_counter()
    for name in names:
        if folders:
            os.rename(work / name[:8] / name, done / name)
            (work / name[:8]).rmdir()
        else:
            os.rename(work / f"0123456789abcdef-{name}", done / name)
    os.sync()
    return (middle - start) / count, (time.perf_counter() - middle) / count


_WRITER = """
import sys, os
for number in range(int(sys.argv[2])):
    path = os.path.join(sys.argv[1], f"{number}")
    open(path, "wb").close()
print("done", flush=True)
"""


def hinting(scratch: Path, *, ours: bool, count: int = 7_000) -> tuple[float, int]:
    """(CPU seconds to receive the events of so many files, threads for ten watched folders)."""
    roots = [scratch / f"{'ours' if ours else 'observer'}{number}" for number in range(10)]
    for root in roots:
        (root / ".dropmill").mkdir(parents=True)
    before = threading.active_count()
    seen: set[str] = set()
    if ours:
        hints = Hints(lambda: None, limit=count + 1)
        watch = Watch(str(roots[0]), hints)
        for root in roots[1:]:
            os.rename(root, roots[0] / root.name)
            watch.add(root.name)
        stop = watch.close
    else:

        class Handler(FileSystemEventHandler):
            def on_closed(self, event: Any) -> None:
                seen.add(event.src_path)

        observer = Observer()
        for root in roots:
            observer.schedule(Handler(), str(root), event_filter=[FileCreatedEvent, FileClosedEvent, FileMovedEvent])
        observer.start()
        stop = observer.stop
    threads = threading.active_count() - before
    start = time.process_time()
    subprocess.run([sys.executable, "-c", _WRITER, str(roots[0]), str(count)], check=True, capture_output=True)
    deadline = time.monotonic() + 30
    while len(seen) < count and time.monotonic() < deadline:
        time.sleep(0.02)
        if ours:
            seen.update(hints.take().paths)
    spent = time.process_time() - start
    stop()
    return spent, threads


def figures(scratch: Path) -> Iterator[Figure]:
    """All of them."""
    _fill(scratch / "bare", FILES)
    loop = bare_loop(scratch / "bare", flush=True)
    taken, cpu = asyncio.run(claim_all(scratch / "claims"))
    yield Figure(
        name=f"claiming {FILES:,} waiting files",
        value=taken / FILES * 1e6,
        unit="us a file",
        against="scandir, stat, read + sha256, rename in a bare loop, a syncfs for 256 files",
        reference=loop / FILES * 1e6,
        target=3.0,
    )
    yield Figure(name="the same, CPU", value=cpu / FILES * 1e6, unit="us a file")
    waits = asyncio.run(latency(scratch / "latency"))
    yield Figure(
        name="close to claim, settle 0.2 s, 50 files/s, p50", value=percentile(waits, 50), unit="s", target=0.25
    )
    yield Figure(name="the same, p99", value=percentile(waits, 99), unit="s", target=0.45)
    yield Figure(name="idle with 20 folders", value=asyncio.run(idle(scratch / "idle")), unit="of a core", target=0.005)
    yield Figure(name="peak memory", value=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, unit="MB")
    nested, flat = work_layout(scratch, folders=True), work_layout(scratch, folders=False)
    for what, ours, theirs in (("into work/", flat[0], nested[0]), ("out of work/", flat[1], nested[1])):
        yield Figure(
            name=f"a rename {what}, synced at the end",
            value=ours * 1e6,
            unit="us a file",
            against="with a folder for each file",
            reference=theirs * 1e6,
        )
    observed, _ = hinting(scratch, ours=False)
    hinted, _ = hinting(scratch, ours=True)
    yield Figure(
        name="hints of 7,000 files, CPU",
        value=hinted,
        unit="s",
        against="watchdog's Observer",
        reference=observed,
        target=1.0,
    )
    shutil.rmtree(scratch, ignore_errors=True)
