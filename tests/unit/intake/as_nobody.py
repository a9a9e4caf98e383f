"""Run by a test as a user with few rights: a file that may not be read is reported; once it may be, it is taken."""

from __future__ import annotations

import asyncio
import concurrent.futures.thread  # noqa: F401 - imported late by asyncio, when that is not possible any more
import os
import sys
from pathlib import Path
from random import Random

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


async def main(root: Path, state: Path) -> None:
    clock = SystemClock()
    store = SqliteStore(state, QueueSettings(), clock=clock, failpoints=Failpoints(), instance="nobody")
    await store.open()
    settings = FolderSettings(
        name="inbox",
        path=root,
        converters=(),
        destinations=(),
        settle=0.05,
        stuck_after=0.2,
        rescan=0.1,
        done=root / "done",
        failed=root / "failed",
    )
    intake = Intake(
        [settings],
        store,
        state=state,
        clock=clock,
        ids=IdSource(clock, Random(1)),
        failpoints=Failpoints(),
        gate=OpenGate(),
        max_claimed=100,
        instance="nobody",
    )
    heart = Heart()
    tasks = [asyncio.create_task(spec.run(heart)) for spec in intake.children()]  # type: ignore[arg-type]
    while not intake.status()[0].stuck:
        await asyncio.sleep(0.01)
    problem = intake.status()[0].stuck[0]
    print(problem.code, problem.what.partition(" for ")[0])
    Path(root / "copy").write_bytes(b"x")
    (root / "copy").rename(root / "secret.csv")
    while not (files := await store.next_files(1)):
        await asyncio.sleep(0.01)
    print("taken:", files[0].name)
    heart.quiescing = True
    intake.rescan()
    store.wakeups.notify("disposals")
    await asyncio.gather(*tasks)
    await store.close(clean=True)


os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)  # only now: the interpreter may lie where nobody may read
asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
