"""Failpoints: the N-th time, in this process and in one that is to die."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from dropmill.foundation.failpoints import VARIABLE, FailpointError, Failpoints


def hits(points: Failpoints, name: str, times: int) -> list[int | None]:
    """The error number of each hit."""
    numbers: list[int | None] = []
    for _ in range(times):
        try:
            points.hit(name)
            numbers.append(None)
        except OSError as error:
            numbers.append(error.errno)
            assert error.filename == name
    return numbers


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("", [None] * 4),
        ("other=error:EIO", [None] * 4),
        ("p=error:ENOSPC", [errno.ENOSPC, None, None, None]),
        ("p=error:ENOSPC@3", [None, None, errno.ENOSPC, None]),
        ("p=error:EIO@2+", [None, errno.EIO, errno.EIO, errno.EIO]),
        (" other=exit , p=error:EIO@1+ ", [errno.EIO] * 4),
    ],
)
def test_which_hit_fails(rules: str, expected: list[int | None]) -> None:
    assert hits(Failpoints(rules), "p", 4) == expected


def test_a_delay_blocks_the_calling_thread() -> None:
    points = Failpoints("p=delay:0.2@2")
    began = time.monotonic()
    points.hit("p")
    assert time.monotonic() - began < 0.15
    points.hit("p")
    assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize(
    "rules", ["p", "p=die", "p=error", "p=error:eio", "p=kill@", "p=kill@x", "=kill", "p=kill;q=kill"]
)
def test_a_rule_that_cannot_be_read_is_named(rules: str) -> None:
    with pytest.raises(FailpointError, match="cannot read the failpoint"):
        Failpoints(rules)


def test_from_the_environment() -> None:
    assert hits(Failpoints.from_environment({VARIABLE: "p=error:EIO"}), "p", 1) == [errno.EIO]
    assert hits(Failpoints.from_environment({}), "p", 1) == [None]


@pytest.mark.parametrize(("action", "code"), [("kill", -signal.SIGKILL), ("exit", 1)])
def test_a_process_dies_at_the_named_place(action: str, code: int) -> None:
    program = (
        "from dropmill.foundation.failpoints import Failpoints\n"
        "points = Failpoints.from_environment()\n"
        "try:\n"
        "    for n in range(5):\n"
        "        print(n, flush=True)\n"
        "        points.hit('step')\n"
        "finally:\n"
        "    print('cleaned up', flush=True)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | {VARIABLE: f"step={action}@3"}, capture_output=True, text=True
    )
    assert result.returncode == code
    assert result.stdout.split() == ["0", "1", "2"], "no clean-up code ran"


def test_off_it_costs_nothing_worth_naming() -> None:
    points = Failpoints()
    began = time.perf_counter()
    for _ in range(100_000):
        points.hit("queue.commit")
    assert time.perf_counter() - began < 1.0, "10 us a hit would be a hundred times too much"
