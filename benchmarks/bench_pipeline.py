"""The whole way of 5,000 small files through the installed agent, from drop to acknowledgement: to a directory and over HTTP.

Beside each stands the limit of the same run: a bare loop that reads, hashes and renames each file, converts it in-process and
writes its report durably (directory), or sends it with the same client to the same server (HTTP), with no queue and no promise.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import aiohttp

from benchmarks.harness import Figure, fdatasync_seconds
from support.agent import Agent
from support.servers.nginx import Nginx

FILES = 5_000
CONCURRENCY = 16

_CONFIG = """
[agent]
state = "state"
[log]
level = "warning"
[plugins]
enable = ["junit", "directory", "http", "reject"]
[[folder]]
name = "inbox"
path = "inbox"
settle = 0.2
converters = ["junit"]
destinations = ["out"]
[[destination]]
name = "out"
"""


def figures(scratch: Path) -> Iterator[Figure]:
    sync = fdatasync_seconds(scratch)
    yield Figure(name="one write + fdatasync of 1 KB (this machine's limit)", value=sync * 1e3, unit="ms")
    bare = _bare_directory(scratch / "bare")
    yield from _report("directory", _drive(scratch / "directory", _directory()), "bare loop", bare, 0.5)
    with Nginx(scratch / "nginx", log=False) as nginx:
        bare = asyncio.run(_bare_http(scratch / "bare-http", nginx.url))
        run = _drive(scratch / "http", _http(nginx.url))
        assert len(nginx.files()) >= FILES
        yield from _report("HTTP", run, "same client and server, no queue", bare, 0.5)


def _report(name: str, run: dict[str, float], against: str, bare: float, target: float) -> Iterator[Figure]:
    yield Figure(
        name=f"{name}: files/s, drop to acknowledgement",
        value=FILES / run["seconds"],
        unit="/s",
        against=against,
        reference=bare,
        target=target,
        at_least=True,
    )
    yield Figure(
        name=f"{name}: CPU of all the agent's processes", value=run["cpu"] / FILES * 1e3, unit="ms/file", target=1.5
    )
    yield Figure(
        name=f"{name}: peak memory of all the agent's processes", value=run["memory"] / 1e6, unit="MB", target=150
    )


def _case(number: int) -> bytes:
    return (
        f'<testsuite name="bench" tests="2"><testcase classname="b" name="t{number}" time="0.01"/>'
        f'<testcase classname="b" name="u{number}" time="0.02"><failure message="no">line</failure></testcase></testsuite>'
    ).encode()


def _directory() -> str:
    return 'transport = "directory"\noptions = { path = "out" }\n'


def _http(url: str) -> str:
    return (
        f'transport = "http"\nconcurrency = {CONCURRENCY}\noptions = {{ url = "{url}/{{key}}.json", method = "PUT" }}\n'
    )


def _drive(home: Path, destination: str) -> dict[str, float]:
    """Drop all files while the agent runs; until the last one lies in done/."""
    agent = Agent(home, _CONFIG + destination)
    inbox = home / "inbox"
    inbox.mkdir()
    spool = home / "spool"
    spool.mkdir()
    for number in range(FILES):
        (spool / f"f{number:05}.xml").write_bytes(_case(number))
    os.sync()
    agent.start()
    try:
        used = _cpu(agent.pid)
        peak = 0
        began = time.perf_counter()
        for number in range(FILES):
            name = f"f{number:05}.xml"
            (spool / name).rename(inbox / name)
        done = inbox / "done"
        while not done.exists() or sum(1 for _ in os.scandir(done)) < FILES:
            peak = max(peak, _memory(agent.pid))
            time.sleep(0.1)
            if time.perf_counter() - began > 300:
                raise AssertionError(f"not done after 300 s\n{agent.tail()}")
        seconds = time.perf_counter() - began
        cpu = _cpu(agent.pid) - used
    finally:
        agent.stop()
    return {"seconds": seconds, "cpu": cpu, "memory": peak}


def _processes(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout.split()
    return [pid, *map(int, found)]


def _memory(pid: int) -> int:
    """Proportional set size of a process and its children, in bytes: what they cost the machine together."""
    total = 0
    for process in _processes(pid):
        try:
            for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        except OSError:
            continue
    return total


def _cpu(pid: int) -> float:
    """Seconds of processor time of a process, its children, and those of its children that have ended."""
    ticks = os.sysconf("SC_CLK_TCK")
    total = 0
    for process in _processes(pid):
        try:
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(map(int, fields[11:15] if process == pid else fields[11:13]))
    return total / ticks


def _convert(data: bytes) -> bytes:
    from lxml import etree

    cases = [{"name": case.get("name"), "outcome": "passed"} for case in etree.fromstring(data).iter("testcase")]
    return json.dumps({"sha256": hashlib.sha256(data).hexdigest(), "cases": cases}).encode().ljust(1500)


def _bare_directory(home: Path) -> float:
    for name in ("in", "out", "done"):
        (home / name).mkdir(parents=True)
    for number in range(FILES):
        (home / "in" / f"f{number:05}.xml").write_bytes(_case(number))
    os.sync()
    began = time.perf_counter()
    for entry in os.scandir(home / "in"):
        report = _convert(Path(entry.path).read_bytes())
        temporary = home / "out" / f".{entry.name}"
        with temporary.open("wb") as stream:
            stream.write(report)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.rename(home / "out" / f"{entry.name}.json")
        Path(entry.path).rename(home / "done" / entry.name)
    return FILES / (time.perf_counter() - began)


async def _bare_http(home: Path, url: str) -> float:
    for name in ("in", "done"):
        (home / name).mkdir(parents=True)
    for number in range(FILES):
        (home / "in" / f"f{number:05}.xml").write_bytes(_case(number))
    names = iter(sorted(os.listdir(home / "in")))
    began = time.perf_counter()
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:

        async def sender() -> None:
            for name in names:
                report = _convert((home / "in" / name).read_bytes())
                async with session.put(f"{url}/bare-{name}", data=report, headers={"Idempotency-Key": name}) as answer:
                    answer.raise_for_status()
                (home / "in" / name).rename(home / "done" / name)

        for _ in range(CONCURRENCY):
            group.create_task(sender())
    return FILES / (time.perf_counter() - began)
