"""SIGKILL at every step and at any moment: what the queue has promised holds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from promises import Promises, check

LIFE = Path(__file__).with_name("life.py")

POINTS = (
    "queue.open",
    "queue.group.applied",
    "queue.group.prepared",
    "queue.group.committed",
    "queue.segment.created",
    "queue.segment.written",
    "queue.segment.sync",
    "queue.log.sync",
    "queue.checkpoint",
    "queue.close",
)


def run(state: Path, seed: int, turns: int, failpoints: str, *, kill_after: float | None = None) -> bytes:
    process = subprocess.Popen(
        [sys.executable, str(LIFE), str(state), str(seed), str(turns)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "DROPMILL_FAILPOINTS": failpoints},
    )
    assert process.stdout is not None
    first = os.read(process.stdout.fileno(), 1)  # it has begun: what starting takes is no part of its life
    try:
        output, errors = process.communicate(timeout=60 if kill_after is None else kill_after)
    except subprocess.TimeoutExpired:
        process.kill()
        output, errors = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), errors.decode()
    return first + output


@pytest.mark.parametrize("nth", [1, 9])
@pytest.mark.parametrize("point", POINTS)
async def test_killed_at_every_step(tmp_path: Path, point: str, nth: int) -> None:
    promises = Promises()
    state = tmp_path / "state"
    promises.hear(run(state, 1, 12, ""))
    promises.hear(run(state, 2, 12, f"{point}=kill@{nth}"))
    await check(state, promises)


async def test_killed_at_any_moment(tmp_path: Path) -> None:
    random = Random(int(os.environ.get("DROPMILL_SEED", "11")))
    promises = Promises()
    state = tmp_path / "state"
    for turn in range(int(os.environ.get("DROPMILL_KILLS", "8"))):
        promises.hear(run(state, 100 + turn, 500, "", kill_after=0.4 + random.random()))
        if turn % 4 == 3:
            await check(state, promises)
    assert promises.sent


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
@pytest.mark.parametrize("point", [point for point in POINTS if point not in ("queue.open", "queue.close")])
async def test_errors_at_every_step(tmp_path: Path, point: str, error: str) -> None:
    promises = Promises()
    state = tmp_path / "state"
    output = run(state, 3, 14, f"{point}=error:{error}@3")
    promises.hear(output)
    assert output.endswith(b"closed\n")
    await check(state, promises)
