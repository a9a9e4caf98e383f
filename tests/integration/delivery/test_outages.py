"""Destinations that go away in every way while reports keep coming: nothing lost, no storm, nobody else held up."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dropmill.delivery.status import LaneState
from dropmill_plugins.transports import directory
from dropmill_plugins.transports.directory.transport import DirectoryTransport
from support.lanes import Site, http_lane
from support.servers import Nginx


def body(number: int) -> bytes:
    return b'{"number": %d}' % number


def sent(queue: Site, lane: str) -> int:
    return sum(event.name == "delivery.sent" and event.data["destination"] == lane for event in queue.events)


def spent(queue: Site, lane: str) -> dict[str, int]:
    """Attempts of each delivery that have ended."""
    return {uid: attempts - (state == "leased") for uid, (state, attempts) in queue.deliveries(lane).items()}


def directory_lane(queue: Site, path: Path, name: str = "folder", **options: Any) -> Any:
    return queue.lane(DirectoryTransport({"path": str(path), **options}), spec=directory.SPEC, name=name)


async def test_nginx_answers_503_then_hangs_then_is_killed_then_comes_back(queue: Site, tmp_path: Path) -> None:
    lanes = ("web", "folder")
    count = 0

    async def offer(number: int) -> None:
        nonlocal count
        for start in range(count, count + number, 50):
            await queue.offer(*range(start, min(start + 50, count + number)), lanes=lanes)
        count += number

    with Nginx(tmp_path / "nginx") as nginx:
        web = http_lane(queue, nginx.url, name="web", concurrency=4, probe_every=0.5, options={"read_timeout": 0.5})
        folder = directory_lane(queue, tmp_path / "reports")
        async with queue.running(web, folder):
            await offer(100)
            await queue.until(lambda: sent(queue, "web") == sent(queue, "folder") == 100)

            await asyncio.to_thread(nginx.answer, 503)
            await offer(100)
            await queue.until(lambda: web.status().state is LaneState.BREAKER_OPEN and sent(queue, "folder") == 200)
            await asyncio.sleep(1.5)

            nginx.hang()
            await offer(100)
            await queue.until(lambda: sent(queue, "folder") == 300)
            await asyncio.sleep(1.5)
            assert web.status().state is LaneState.BREAKER_OPEN
            await asyncio.to_thread(nginx.stop)
            await offer(100)
            await queue.until(lambda: web.status().state is LaneState.WAITING and sent(queue, "folder") == 400)
            refused_at = spent(queue, "web")
            await asyncio.sleep(1.5)
            assert spent(queue, "web") == refused_at, "a refused connection costs nobody an attempt"

            await asyncio.to_thread(nginx.start)
            await queue.until(lambda: sent(queue, "web") == 400)
            assert web.status().state is LaneState.RUNNING
        log = nginx.requests()
        uploaded = nginx.files()

    assert uploaded == {f"r{n:05d}.1": body(n) for n in range(400)}
    assert {path.name for path in (tmp_path / "reports").iterdir()} == {f"r{n:05d}.1.json" for n in range(400)}
    assert set(queue.deliveries("folder").values()) == {("sent", 1)}
    failed = Counter(key for _, _, status, key, _ in log if status == 503)
    assert sum(failed.values()) <= 5 + 3 + 8, "a trial now and then, not a storm"
    charged = sum(attempts for _, attempts in queue.deliveries("web").values())
    assert charged <= 400 + sum(failed.values()) + 4 + 8
    stored = Counter(key for _, _, status, key, _ in log if status in (201, 204))
    assert set(stored) == {f"r{n:05d}.1" for n in range(400)}


async def test_a_report_whose_acknowledgement_was_lost_is_sent_again_under_the_same_key(
    queue: Site, tmp_path: Path
) -> None:
    """The queue dies between the server's answer and its own commit: at least once, and the key tells that it is the same."""
    with Nginx(tmp_path / "nginx") as nginx:
        await queue.offer(1)
        acknowledge = queue.store.acknowledge
        lost = asyncio.Event()

        async def die(leases: Any, receipts: Any) -> Any:
            lost.set()
            await asyncio.sleep(3600)

        queue.store.acknowledge = die  # type: ignore[method-assign]
        lane = http_lane(queue, nginx.url)
        from support.lanes import Heart

        task = asyncio.create_task(lane.run(Heart()))
        await lost.wait()
        for _ in range(3):  # as the forced phase of a stop does, until it ends
            task.cancel()
            await asyncio.wait([task], timeout=0.1)
        assert task.done()
        queue.store.acknowledge = acknowledge  # type: ignore[method-assign]
        await queue.reopen(clean=False)
        async with queue.running(http_lane(queue, nginx.url)):
            await queue.until(lambda: queue.deliveries() == {"r00001": ("sent", 1)})
        log = nginx.requests()
    assert [(status, key) for _, _, status, key, _ in log] == [(201, "r00001.1"), (204, "r00001.1")]
    assert nginx.files() == {"r00001.1": body(1)}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 256 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a file system here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_a_full_disk_is_waited_for_and_nothing_half_written_stays(queue: Site, small_disk: Path) -> None:
    await queue.offer(*range(40), lanes=("folder",), body=b"x" * 15_000)
    out = small_disk / "reports"
    lane = directory_lane(queue, out)
    got: dict[str, bytes] = {}
    async with queue.running(lane):
        while len(got) < 40:
            await queue.until(lambda: lane.status().state is LaneState.WAITING or sent(queue, "folder") == 40)
            assert sent(queue, "folder") == 40 or "No space left" in lane.status().reason
            for path in list(out.iterdir()):
                if not path.name.startswith("."):
                    got[path.name] = path.read_bytes()
                    path.unlink()
            lane.probe_now()
            await asyncio.sleep(0.2)
    assert not list(out.iterdir())
    assert set(got.values()) == {b"x" * 15_000}
    assert set(queue.deliveries("folder").values()) == {("sent", 1)}


async def test_a_share_that_is_unmounted_is_waited_for(queue: Site, small_disk: Path) -> None:
    out = small_disk / "reports"
    lane = directory_lane(queue, out, create=True)
    async with queue.running(lane):
        await queue.offer(1, lanes=("folder",))
        await queue.until(lambda: sent(queue, "folder") == 1)
        subprocess.run(["umount", "-l", str(small_disk)], check=True)
        try:
            await queue.offer(2, lanes=("folder",))
            await queue.until(lambda: lane.status().state is LaneState.WAITING)
            assert not list(small_disk.iterdir()), "nothing is written below the empty mount point"
        finally:
            subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(small_disk)], check=True)
        out.mkdir()
        await queue.until(lambda: sent(queue, "folder") == 2)
    assert os.listdir(out) == ["r00002.1.json"]
    assert set(queue.deliveries("folder").values()) == {("sent", 1)}
