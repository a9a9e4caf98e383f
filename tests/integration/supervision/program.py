"""A small real program under a supervisor, for the tests beside it: `program.py '{"children": ["obedient"], ...}'`.

It prints one JSON line for each event, and `end CODE` last. What it does is told by the first argument, as JSON:
children (names of the functions below), graceful, force, reserve, block (what happens to the loop), prepare, linger.
"""

from dropmill.supervision.signals import StopSignals

signals = StopSignals()
signals.install()

import os  # noqa: E402

os.write(1, b'{"name": "installed", "at": 0}\n')

import asyncio  # noqa: E402
import ctypes  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from random import Random  # noqa: E402

from dropmill.foundation.clock import SystemClock  # noqa: E402
from dropmill.supervision.notify import Notifier  # noqa: E402
from dropmill.supervision.process import run_process  # noqa: E402
from dropmill.supervision.shutdown import StopPlan  # noqa: E402
from dropmill.supervision.spec import ChildSpec  # noqa: E402
from dropmill.supervision.supervisor import Supervisor, Vigilance  # noqa: E402

TASK = json.loads(sys.argv[1])


def say(name, **data):
    print(json.dumps({"name": name, "at": time.monotonic()} | data), flush=True)


async def obedient(heart):
    while not heart.quiescing:
        heart.beat()
        await heart.sleep(0.5)


async def drains(heart):
    await heart.wait_quiesce()
    await asyncio.sleep(1)


async def never_finishes(heart):
    await asyncio.get_running_loop().create_future()


async def swallows(heart):
    while True:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            say("swallowed")


async def exits(heart):
    await asyncio.sleep(0.1)
    sys.exit(3)


async def interrupts(heart):
    await asyncio.sleep(0.1)
    raise KeyboardInterrupt


async def blocks(heart):
    await asyncio.sleep(0.3)
    blocking_in_python()


def blocking_in_python():
    say("blocking")
    end = time.monotonic() + TASK["block"]
    while time.monotonic() < end:
        time.sleep(0.05)


async def blocks_when_told(heart):
    await heart.wait_quiesce()
    blocking_in_python()


async def holds_the_gil(heart):
    await asyncio.sleep(0.3)
    say("holding")
    holding_the_gil()


def holding_the_gil():
    ctypes.PyDLL(None).sleep(int(TASK["block"]))


async def stuck_thread(heart):
    await asyncio.to_thread(sleeping_in_a_thread)


def sleeping_in_a_thread():
    say("sleeping")
    time.sleep(TASK["block"])


def verify(report):
    say("verify", code=int(report.code))
    time.sleep(TASK.get("verify", 0))
    return []


async def prepare():
    say("preparing")
    await asyncio.sleep(TASK.get("prepare", 0))


def told(event):
    problem = None if event.problem is None else str(event.problem)
    say(event.name, subject=event.subject, problem=problem, data=dict(event.data))


async def main():
    supervisor = Supervisor(
        [ChildSpec(name=name, run=globals()[name]) for name in TASK["children"]],
        clock=SystemClock(),
        random=Random(),
        on_event=told,
        notify=Notifier.from_environment(os.environ),
        plan=StopPlan(
            graceful=TASK.get("graceful", 2),
            force=TASK.get("force", 4),
            second=TASK.get("second", 1),
            reserve=TASK.get("reserve", 1),
            verify=verify,
        ),
        vigilance=Vigilance(gil_limit=TASK.get("gil_limit", 30), blocked_after=0.5),
    )
    code = await supervisor.run(signals=signals, prepare=prepare)
    say("end", code=int(code), lag=supervisor.lag.as_dict())
    return code


sys.exit(run_process(main))
