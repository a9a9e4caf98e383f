"""A file that is still being written is never taken, however long its writer pauses within the settling time."""

from __future__ import annotations

import threading

import pytest

from support.agent import drop_slowly, running
from support.ledger import account, folder_files, received, sha256

pytestmark = [pytest.mark.acceptance, pytest.mark.xdist_group("acceptance")]


def test_thousand_bytes_over_three_seconds(make_agent):
    agent = make_agent(settle=1.0)
    names = [f"slow-{number}.xml" for number in range(8)]
    dropped = {}
    for name in names:
        text = f'<testsuite name="{name}">' + f'<testcase classname="c" name="{"x" * 800}"/>' + "</testsuite>"
        dropped[name] = text.ljust(1000).encode()
    with running(agent):
        writers = [
            threading.Thread(
                target=drop_slowly, args=(data, agent.home / "inbox", name), kwargs={"pieces": 10, "over": 3.0}
            )
            for name, data in dropped.items()
        ]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        agent.wait_for(lambda: len(folder_files(agent.home / "reports")) == len(names), "the reports")
        agent.wait_for(agent.idle, "the agent to be idle")
        assert agent.stop() == 0
    assert set(account(agent.home / "inbox", dropped).values()) == {"done"}
    assert set(received(folder_files(agent.home / "reports"))) == {sha256(data) for data in dropped.values()}
