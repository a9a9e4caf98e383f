"""A destination that refuses, then hangs, then recovers: nothing lost, no storm of attempts, others unaffected."""

from __future__ import annotations

import time

import pytest

from support.agent import drop, running
from support.ledger import account, folder_files, received

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(240), pytest.mark.xdist_group("acceptance")]

FILES = 40
REFUSES = 20.0
HANGS = 8.0


def test_503_then_hang_then_recovery(make_agent, nginx):
    agent = make_agent(url=nginx.url, settle=0.1, timeout=3)
    dropped = {
        f"f{number}.xml": f'<testsuite name="s"><testcase classname="c" name="t{number}"/></testsuite>'.encode()
        for number in range(FILES)
    }
    with running(agent):
        nginx.answer(503)
        began = time.monotonic()
        for name, data in dropped.items():
            drop(data, agent.home / "inbox", name)
        agent.wait_for(
            lambda: len(folder_files(agent.home / "reports")) == FILES, "the other destination to have all", 15
        )
        assert time.monotonic() - began < 15, "the broken destination held up the other"
        time.sleep(max(0.0, REFUSES - (time.monotonic() - began)))
        refused = len(nginx.requests())

        nginx.answer(None)
        nginx.hang()
        time.sleep(HANGS)
        assert not nginx.files()
        nginx.go_on()

        agent.wait_for(lambda: len(nginx.files()) == FILES, "everything to arrive", 60)
        agent.wait_for(agent.idle, "the agent to be idle")
        assert agent.stop() == 0

    assert set(account(agent.home / "inbox", dropped).values()) == {"done"}
    assert all(len(reports) == 1 for reports in received(nginx.files()).values())
    # With back-off and a breaker, 20 s of refusals cost a few attempts for each item in flight, not one each moment.
    assert 0 < refused < 4 * FILES, f"{refused} requests while it refused"
