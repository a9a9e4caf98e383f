"""An agent reduced to its intake, run by tests in a process of its own so that it can be killed.

`driver.py ROOT STATE [--done FOLDER] [--submit PATH ...]`: settles every claimed file at once (names with "bad" fail), and ends
when nothing waits any more. Failpoints come from the environment.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path
from random import SystemRandom

from dropmill.config.settings import FolderSettings, QueueSettings
from dropmill.foundation.clock import SystemClock
from dropmill.foundation.failpoints import Failpoints
from dropmill.foundation.ids import IdSource
from dropmill.intake.gate import OpenGate
from dropmill.intake.service import Intake
from dropmill.queue.sqlite import SqliteStore


class Heart:
    quiescing = False

    def beat(self) -> None: ...


async def convert(store: SqliteStore) -> None:
    """Settle every file that is due."""
    for file in await store.next_files(1000):
        await store.start_conversions([file.id])
        if "bad" in file.name:
            await store.fail_file(
                file.id, code="DM-V001", reason="it is bad", error={"code": "DM-V001"}, converter="test 1"
            )
        else:
            await store.publish(file.id, [], converter="test 1")


def waiting(root: Path) -> bool:
    """Whether anything lies in the inbox or in work/."""
    inbox = [entry for entry in os.scandir(root) if entry.is_file()]
    return bool(inbox or os.listdir(root / ".dropmill" / "work"))


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("state", type=Path)
    parser.add_argument("--done", type=Path)
    parser.add_argument("--submit", type=Path, nargs="*", default=[])
    arguments = parser.parse_args()
    root, state = arguments.root, arguments.state
    clock = SystemClock()
    failpoints = Failpoints.from_environment()
    store = SqliteStore(state, QueueSettings(), clock=clock, failpoints=failpoints, instance=f"driver {os.getpid()}")
    await store.open()
    settings = FolderSettings(
        name="inbox",
        path=root,
        converters=(),
        destinations=(),
        settle=0.02,
        done=arguments.done or root / "done",
        failed=root / "failed",
    )
    intake = Intake(
        [settings],
        store,
        state=state,
        clock=clock,
        ids=IdSource(clock, SystemRandom()),
        failpoints=failpoints,
        gate=OpenGate(),
        max_claimed=1000,
        instance=f"driver {os.getpid()}",
    )
    await intake.recover()
    heart = Heart()
    tasks = [asyncio.create_task(spec.run(heart)) for spec in intake.children()]  # type: ignore[arg-type]
    await intake.started(20)
    if arguments.submit:
        for answer in await intake.submit(arguments.submit, "inbox"):
            print(answer.path, answer.file_id or answer.problem, flush=True)
    idle = 0
    while idle < 3:
        await convert(store)
        await asyncio.sleep(0.02)
        for task in tasks:
            if task.done():
                await task
        submitted = list(os.scandir(state / "submitted")) if (state / "submitted").exists() else []
        busy = waiting(root) or any(entry.is_file() for entry in submitted)
        idle = 0 if busy else idle + 1
    heart.quiescing = True
    intake.rescan()
    store.wakeups.notify("disposals")
    await asyncio.gather(*tasks)
    await store.close(clean=True)


asyncio.run(main())
