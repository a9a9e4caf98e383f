"""What supervision costs, measured: `python tests/integration/supervision/cost.py [CHILDREN] [SECONDS]`.

Prints one JSON line: processor time of an idle supervisor with that many children (each beats and sleeps once a second), the
same children as bare tasks, memory per child, and how long start and stop take.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from random import Random

from dropmill.foundation.clock import SystemClock
from dropmill.supervision.shutdown import StopPlan
from dropmill.supervision.spec import ChildSpec, Heart
from dropmill.supervision.supervisor import Supervisor, Vigilance


def memory() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


async def silent(heart: Heart) -> None:
    await heart.wait_quiesce()


async def beating(heart: Heart) -> None:
    while not heart.quiescing:
        heart.beat()
        await heart.sleep(1)


async def bare() -> None:
    while True:
        await asyncio.sleep(1)


async def supervised(run: object, children: int, seconds: float, *, watch: bool = False) -> dict[str, float]:
    specs = [ChildSpec(name=f"child {n}", run=run, heartbeat=30.0) for n in range(children)]
    before = memory()
    supervisor = Supervisor(
        specs,
        clock=SystemClock(),
        random=Random(1),
        on_event=lambda event: None,
        plan=StopPlan(),
        vigilance=Vigilance(hard_deadline=watch, gil_limit=30.0 if watch else None),
    )
    began = time.monotonic()
    task = asyncio.ensure_future(supervisor.run())
    while supervisor.state != "running":
        await asyncio.sleep(0)
    started = time.monotonic() - began
    await asyncio.sleep(1)
    used, wall = time.process_time(), time.monotonic()
    await asyncio.sleep(seconds)
    used, wall = time.process_time() - used, time.monotonic() - wall
    grown = memory() - before
    lag = supervisor.lag.as_dict()
    began = time.monotonic()
    supervisor.request_stop("measured")
    await task
    supervisor.disarm()
    return {
        "cpu_percent": round(100 * used / wall, 3),
        "start_ms": round(1000 * started, 1),
        "stop_ms": round(1000 * (time.monotonic() - began), 1),
        "kib_per_child": round(grown / 1024 / max(1, children), 1),
        "lag_p99_ms": round(1000 * lag["p99"], 2),
    }


async def unsupervised(children: int, seconds: float) -> float:
    tasks = [asyncio.ensure_future(bare()) for _ in range(children)]
    await asyncio.sleep(1)
    used, wall = time.process_time(), time.monotonic()
    await asyncio.sleep(seconds)
    used, wall = time.process_time() - used, time.monotonic() - wall
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    return round(100 * used / wall, 3)


def main() -> None:
    children, seconds = int(sys.argv[1]) if sys.argv[1:] else 1000, float(sys.argv[2]) if sys.argv[2:] else 10.0
    figures = {
        "children": children,
        "supervised_silent": asyncio.run(supervised(silent, children, seconds)),
        "supervised_beating": asyncio.run(supervised(beating, children, seconds)),
        "bare_tasks_cpu_percent": asyncio.run(unsupervised(children, seconds)),
        "supervised_nobody": asyncio.run(supervised(silent, 0, seconds)),
        "supervised_nobody_with_sentinel_and_fuse": asyncio.run(supervised(silent, 0, seconds, watch=True)),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
