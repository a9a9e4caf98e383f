"""What the agent's own parts see of supervision; mypy reads this file, nothing runs it."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import assert_type

from dropmill.foundation.clock import SystemClock
from dropmill.foundation.errors import Problem
from dropmill.supervision.crew import Crew
from dropmill.supervision.events import SupervisionEvent
from dropmill.supervision.exits import ExitCode
from dropmill.supervision.notify import Notifier
from dropmill.supervision.process import run_process
from dropmill.supervision.shutdown import StopPlan, StopProgress, StopReport
from dropmill.supervision.signals import StopSignals
from dropmill.supervision.spec import ChildSpec, Heart, State
from dropmill.supervision.supervisor import Supervisor, Vigilance


async def lane(heart: Heart) -> None:
    async with Crew("lane", 4) as crew:
        while not heart.quiescing:
            heart.beat()
            await crew.start(upload())
            assert_type(await heart.sleep(1.0), bool)


async def upload() -> None: ...


def verify(report: StopReport) -> Sequence[Problem]:
    assert_type(report.code, ExitCode)
    return []


def show(progress: StopProgress) -> None:
    assert_type(progress.left, float)


def log(event: SupervisionEvent) -> None:
    assert_type(event.problem, Problem | None)


signals = StopSignals()
signals.install()
supervisor = Supervisor(
    [ChildSpec(name="lane", run=lane, critical=True, heartbeat=30.0, depends=("pool",), up="beat", stop="drain")],
    clock=SystemClock(),
    random=Random(),
    on_event=log,
    notify=Notifier.from_environment({}),
    plan=StopPlan(graceful=1.0, force=2.0, verify=verify, progress=show, in_flight=lambda: {"uploads": 1}),
    vigilance=Vigilance(gil_limit=None),
    on_error="exit",
)


async def main() -> ExitCode:
    supervisor.add(ChildSpec(name="late", run=lane))
    supervisor.set_condition("disk", "full", state=State.ERROR)
    await supervisor.remove("late")
    code = await supervisor.run(signals=signals, prepare=upload)
    assert_type(code, ExitCode)
    return code


assert_type(run_process(main), int)

ChildSpec(name="x", run=lambda heart: None)  # type: ignore[arg-type, return-value]
ChildSpec(name="x", run=lane, stop="never")  # type: ignore[arg-type]
ChildSpec("x", lane)  # type: ignore[call-arg, misc, unused-ignore]
supervisor.state = "running"  # type: ignore[assignment]
