from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.agent import Agent
from support.servers.nginx import Nginx

CONFIG = """
[agent]
state = "state"
[plugins]
enable = [{enable}]
[queue]
max_items = 100000
{queue}
[shutdown]
graceful = 20
force = 30
[[folder]]
name = "inbox"
path = "inbox"
settle = {settle}
converters = [{converters}]
destinations = [{destinations}]
{folder}
"""

DIRECTORY = """
[[destination]]
name = "reports"
transport = "directory"
options = {{ path = "reports", name = "{{key}}.json" }}
"""

HTTP = """
[[destination]]
name = "archive"
transport = "http"
timeout = {timeout}
retries = 100
backoff = 0.5
backoff_cap = 4
probe_every = 2
options = {{ url = "{url}/{{key}}.json", method = "PUT" }}
"""

BUNDLED = ("csv", "json", "junit", "wsjf", "directory", "http", "reject", "oldest_first", "pause")


def quoted(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(json.dumps(name) for name in names)


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Nginx]:
    with Nginx(tmp_path / "nginx") as server:
        yield server


@pytest.fixture
def make_agent(tmp_path: Path) -> Iterator[Callable[..., Agent]]:
    """Makes agents with an inbox, the directory `reports` and, with `url`, the HTTP destination `archive`; ends them."""
    made: list[Agent] = []

    def make(
        *,
        url: str | None = None,
        converters: tuple[str, ...] = ("junit", "wsjf", "json", "csv"),
        extra_plugins: tuple[str, ...] = (),
        settle: float = 0.3,
        timeout: float = 5,
        queue: str = "",
        folder: str = "",
        more: str = "",
        environment: dict[str, str] | None = None,
        name: str = "agent",
    ) -> Agent:
        home = tmp_path / name
        (home / "inbox").mkdir(parents=True)
        destinations = ["reports"] + (["archive"] if url else [])
        text = CONFIG.format(
            enable=quoted((*BUNDLED, *extra_plugins)),
            converters=quoted(converters),
            destinations=quoted(destinations),
            settle=settle,
            queue=queue,
            folder=folder,
        )
        text += DIRECTORY.format() + (HTTP.format(url=url, timeout=timeout) if url else "") + more
        agent = Agent(home, text, environment=environment)
        made.append(agent)
        return agent

    yield make
    for agent in made:
        if agent.process is not None and agent.process.poll() is None:
            agent.process.kill()
            agent.process.wait(10)
