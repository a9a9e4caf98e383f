"""Stopping the installed agent: exit codes, time, and that nothing is lost."""

from __future__ import annotations

import signal
import subprocess
import time

import pytest

from support.agent import drop, running
from support.ledger import account, folder_files

pytestmark = [pytest.mark.acceptance, pytest.mark.xdist_group("acceptance")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_idle_stops_at_once_and_leaves_no_process(make_agent, number):
    agent = make_agent()
    with running(agent):
        drop(b'<testsuite name="s"><testcase name="t"/></testsuite>', agent.home / "inbox", "a.xml")
        agent.wait_for(lambda: len(folder_files(agent.home / "reports")) == 1 and agent.idle(), "the report")
        began = time.monotonic()
        assert agent.stop(number) == 0
        assert time.monotonic() - began < 1.5
    left = subprocess.run(["pgrep", "-f", str(agent.home)], capture_output=True, text=True).stdout
    assert not left


def test_stop_while_busy_then_go_on(make_agent):
    agent = make_agent(settle=0.1)
    dropped = {
        f"f{number}.xml": f'<testsuite name="s"><testcase name="t{number}"/></testsuite>'.encode()
        for number in range(400)
    }
    with running(agent):
        for name, data in dropped.items():
            drop(data, agent.home / "inbox", name)
        agent.wait_for(lambda: len(folder_files(agent.home / "reports")) > 20, "some reports")
        assert agent.stop() == 0
        assert agent.json("status")["files"]["converting"] == 0
        agent.start()
        agent.wait_for(lambda: len(folder_files(agent.home / "reports")) == 400 and agent.idle(), "all reports")
        assert agent.stop() == 0
    assert set(account(agent.home / "inbox", dropped).values()) == {"done"}


def test_second_agent_is_told_who_holds_the_state(make_agent):
    agent = make_agent()
    with running(agent):
        second = agent.run("run", check=5, timeout=30)
        assert str(agent.pid) in second.stderr
        assert "DM-Q004" in second.stderr
