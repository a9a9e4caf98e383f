"""Very many files: the kernel's queue overflows, and none is lost; ignored ones cost next to nothing."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dropmill.intake.inbox import Inbox

Make = Any


@pytest.mark.chaos
@pytest.mark.timeout(300)
async def test_a_burst_that_overflows_the_kernels_queue_loses_none(make: Make, root: Path, store: Any) -> None:
    """The watching thread is held up, so that the events of most files are lost."""
    running = await make(settle=0.2, rescan=3600.0, max_claimed=100_000)
    await running.until(lambda: running.intake.status()[0].last_scan, "the first scan")
    folder = running.intake._folders["inbox"]
    count = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text()) // 2 + 4000

    def burst() -> None:
        with folder._hints._lock:
            for number in range(count):
                (root / f"{number}.csv").write_bytes(b"%d" % number)

    await asyncio.to_thread(burst)
    await running.until(lambda: running.intake.status()[0].claimed >= count, "all of them", within=200)
    names = [file.name for file in await store.next_files(200_000)]
    assert len(names) == len(set(names)) == count
    assert not [name for name in os.listdir(root) if name.endswith(".csv")]


SCAN = """
import os, sys
from dropmill.intake.names import NameFilter
from dropmill.intake.scan import list_candidates
root = os.open(sys.argv[1], os.O_RDONLY)
names = NameFilter(["*.csv"], own=["done"])
os.stat("/begin") if os.path.exists("/begin") else None
listing = list_candidates(root, names, recursive=True)
os.access("/end", 0)
assert [path for _, path, _, _ in listing.candidates] == ["a.csv"]
"""


@pytest.mark.skipif(not Path("/usr/bin/strace").exists(), reason="needs strace")
def test_ignored_files_cost_no_system_calls_of_their_own(root: Path, tmp_path: Path) -> None:
    (root / "done").mkdir()
    for number in range(3000):
        (root / f"{number}.txt").touch()
        (root / "done" / f"{number}.csv").touch()
    (root / "a.csv").write_bytes(b"x")
    log = tmp_path / "strace"
    subprocess.run(["strace", "-o", str(log), sys.executable, "-c", SCAN, str(root)], check=True)
    text = log.read_text()
    calls = text[text.index('"/begin"') : text.index('"/end"')].splitlines()
    kinds = [re.match(r"\w+", line) for line in calls]
    counted = [kind[0] for kind in kinds if kind is not None]
    assert counted.count("newfstatat") <= 3
    assert len(counted) < 40, counted


async def test_very_many_empty_files_keep_no_other_from_being_taken(
    make: Make, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of them, and all older, than a folder keeps in memory."""
    monkeypatch.setattr("dropmill.intake.folder.Inbox", partial(Inbox, limit=500))
    for number in range(3000):
        (root / f"{number}.csv").touch()
        os.utime(root / f"{number}.csv", (1000, 1000))
    (root / "good.csv").write_bytes(b"x")
    running = await make(settle=0.1, rescan=1.0)
    (file,) = await running.claimed(1)
    assert file.name == "good.csv"
    await running.until(lambda: running.intake.status()[0].waiting == 3000, "the count of those that wait")
