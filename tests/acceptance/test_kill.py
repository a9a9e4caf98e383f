"""kill -9 at random moments of a run, restarting each time: every file accounted for, each report received once."""

from __future__ import annotations

import os
import random
import threading
import time

import pytest

from support.agent import drop
from support.ledger import account, folder_files, received, sha256

KILLS = 25
FILES = 300

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300), pytest.mark.xdist_group("acceptance")]


def case(number: int) -> tuple[str, bytes]:
    """A small JUnit file; one in ten is broken."""
    broken = number % 10 == 0
    body = f'<testsuite name="s{number}"><testcase classname="c" name="t{number}" time="0.1"/>'
    return f"run-{number:04}.xml", (body + ("" if broken else "</testsuite>")).encode()


def test_kill_at_random_moments(make_agent, nginx):
    seed = int(os.environ.get("DROPMILL_SEED", time.time_ns() % 1_000_000))
    print(f"DROPMILL_SEED={seed}")
    chance = random.Random(seed)
    agent = make_agent(url=nginx.url, settle=0.1)
    dropped = dict(case(number) for number in range(FILES))
    over = threading.Event()

    def dropping() -> None:
        for name, data in dropped.items():
            drop(data, agent.home / "inbox", name)
            if over.wait(0.05):
                return

    thread = threading.Thread(target=dropping)
    thread.start()
    try:
        for _ in range(KILLS):
            agent.start(wait=False)
            time.sleep(chance.uniform(0.05, 1.6))
            agent.kill()
        thread.join()
        agent.start()
        agent.wait_for(
            lambda: agent.idle() and len(list((agent.home / "inbox").glob("run-*"))) == 0, "everything to be done", 90
        )
    finally:
        over.set()
        thread.join()
    assert agent.stop() == 0

    ended = account(agent.home / "inbox", dropped)
    broken = {name for name, data in dropped.items() if not data.endswith(b"</testsuite>")}
    assert {name for name, where in ended.items() if where == "failed"} == broken
    readable = {sha256(data) for name, data in dropped.items() if name not in broken}
    for files in (folder_files(agent.home / "reports"), nginx.files()):
        reports = received(files)
        assert set(reports) == readable
        assert all(len(found) == 1 for found in reports.values())
