"""Random families through random lives and stops, each in a shuffled order of what is ready; the seed is in the test's name."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from dropmill.supervision.exits import ExitCode
from dropmill.supervision.shutdown import StopReport
from dropmill.supervision.spec import ChildSpec, Heart, State
from dropmill.testing.virtual_time import VirtualTimeLoop, run
from support.children import World, deaf, drains, fails_times, lives, obedient, returns_after, spec, swallows

SEEDS = 40
BLOCK = 10
"""Seeds a test: 400 lives in all."""


def hangs(random: Random) -> Callable[[Heart], Any]:
    patience = random.choice([0, 2, 1e9])

    async def child(heart: Heart) -> None:
        for _ in range(random.randint(0, 20)):
            heart.beat()
            await heart.sleep(1)
            if heart.quiescing:
                return
        await swallows(patience)(heart)

    return child


def any_child(random: Random, name: str, others: list[str]) -> ChildSpec:
    run, options = random.choice(
        [
            lambda: (obedient, {}),
            lambda: (lives(random.choice([0, 1, 40, 200])), {}),
            lambda: (lives(random.uniform(0, 50), lambda: SystemExit(1)), {}),
            lambda: (lives(random.uniform(0, 50), KeyboardInterrupt), {"restart": "transient"}),
            lambda: (lives(3), {"restart": "temporary"}),
            lambda: (returns_after(random.uniform(0, 100)), {"restart": random.choice(["permanent", "transient"])}),
            lambda: (fails_times(random.randint(1, 6), after=random.uniform(0, 5)), {"up": "beat"}),
            lambda: (drains(random.uniform(0, 100)), {}),
            lambda: (swallows(random.choice([1, 4, 30, 1e9])), {}),
            lambda: (deaf, {"stop": random.choice(["drain", "cancel", "last"])}),
            lambda: (hangs(random), {"heartbeat": random.uniform(2, 30)}),
        ]
    )()
    if others and random.random() < 0.4:
        options["depends"] = tuple(random.sample(others, random.randint(1, min(2, len(others)))))
    return spec(name, run, critical=random.random() < 0.3, **options)


async def live(loop: VirtualTimeLoop, random: Random) -> None:
    names: list[str] = []
    specs: list[ChildSpec] = []
    for n in range(random.randint(1, 8)):
        specs.append(any_child(random, f"c{n}", names))
        names.append(f"c{n}")
    verified: list[StopReport] = []
    running: list[int] = []

    def verify(report: StopReport) -> list[Any]:
        verified.append(report)
        running.append(sum(child["state"] != "ended" for child in world.supervisor.status()["children"]))
        return []

    prepare = (lambda: asyncio.sleep(random.uniform(0, 30))) if random.random() < 0.3 else None
    world = World(loop, specs, random=random, verify=verify, prepare=prepare, watchdog=20.0).start()
    for _ in range(random.randint(0, 3)):
        await asyncio.sleep(random.uniform(0, 100))
        what = random.random()
        if what < 0.4:
            name = f"n{random.randint(0, 1000)}"
            if name not in world.supervisor:
                world.supervisor.add(any_child(random, name, []))
        elif what < 0.8 and world.supervisor.status()["children"]:
            world.supervisor.resume(random.choice(world.supervisor.status()["children"])["name"])
    await asyncio.sleep(random.choice([0, random.uniform(0, 5), random.uniform(0, 700)]))
    began = loop.time()
    world.signal()
    second = random.random() < 0.4
    if second:
        loop.call_later(random.uniform(0, 130), world.signal, signal.SIGINT)
    if random.random() < 0.2:
        loop.call_later(random.uniform(0, 130), world.signal, signal.SIGINT)
    code = await world.end()

    report = world.supervisor.report
    assert report is not None
    assert loop.time() - began <= 120.2
    assert world.supervisor.state is State.STOPPED
    assert len(verified) == 1
    assert running == [len(report.undead)], "at the verification nothing runs but what is named"
    assert code == report.code
    assert (code is ExitCode.UNDEAD) == bool(report.undead)
    assert world.states.count("stopping") == 1
    order = world.notify.messages("READY", "STOPPING")
    assert order in (["READY=1", "STOPPING=1"], ["STOPPING=1"])
    started = world.when("child.started")
    assert not started or max(started) <= began
    for event in (event for _, event in world.events):
        assert event.level == "info" or event.problem is not None or event.name == "agent.state"
    await asyncio.sleep(700)
    assert world.when("child.started") == started, "nothing starts after the end"


@pytest.mark.parametrize("block", range(SEEDS))
def test_random_lives(block: int) -> None:
    for seed in range(block * BLOCK, (block + 1) * BLOCK):
        try:
            run(lambda loop, seed=seed: live(loop, Random(seed)), seed=seed, check_leaks=False)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
