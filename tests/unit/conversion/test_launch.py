from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dropmill.conversion import launch as launching
from dropmill.conversion.launch import LaunchPlan, launch, worker_environment
from dropmill.conversion.orphans import end_tagged, tag_of
from support.conversions import ENVIRONMENT


def plan(scratch: Path) -> LaunchPlan:
    return LaunchPlan(
        scratch=scratch,
        tag="test",
        environment=ENVIRONMENT,
        memory_growth=10**9,
        recycle_growth=10**9,
        max_output=10**6,
    )


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def test_what_a_worker_may_see_of_the_environment() -> None:
    environment = {
        "PATH": "/bin",
        "LC_ALL": "C",
        "PYTHONPATH": "x",
        "TOKEN": "s",
        "AWS_SECRET": "s",
        "HTTP_PROXY": "p",
        "TZ": "UTC",
    }
    assert worker_environment(environment) == {"PATH": "/bin", "LC_ALL": "C", "PYTHONPATH": "x", "TZ": "UTC"}


def test_workers_are_started_from_the_main_thread_alone(tmp_path: Path) -> None:
    errors: list[BaseException] = []

    def start() -> None:
        try:
            launch(plan(tmp_path), 1)
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "main thread" in str(errors[0])


@pytest.mark.parametrize("step", ["mkdir", "socketpair", "memfd_create", "pipe2", "Popen"])
def test_a_start_that_fails_leaves_no_descriptor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    where = {"mkdir": Path, "socketpair": launching.socket, "Popen": launching.subprocess}.get(step, launching.os)
    monkeypatch.setattr(where, step, fail)
    before = open_descriptors()
    with pytest.raises(OSError, match="Too many"):
        launch(plan(tmp_path), 1)
    assert open_descriptors() == before


def test_a_start_that_fails_late_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(launching.os, "pidfd_open", fail)
    before = open_descriptors()
    with pytest.raises(OSError, match="Too many"):
        launch(plan(tmp_path), 1)
    assert open_descriptors() == before


# --- orphans ---------------------------------------------------------------------------------------------------------------


def sleeper(tag: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "100"], env={**os.environ, "DROPMILL_WORKER": tag})


def test_tags_tell_scratch_folders_and_instances_apart(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert tag_of(tmp_path / "a", "x") == tag_of(tmp_path / "link", "x")
    assert tag_of(tmp_path / "a", "x").startswith(tag_of(tmp_path / "a"))
    assert tag_of(tmp_path / "a") != tag_of(tmp_path / "b")


def test_only_what_carries_the_tag_is_ended(tmp_path: Path) -> None:
    mine, other = tag_of(tmp_path / "a"), tag_of(tmp_path / "b")
    old, young, foreign, plain = sleeper(f"{mine}old.1"), sleeper(f"{mine}new.1"), sleeper(f"{other}old.1"), sleeper("")
    try:
        assert end_tagged(mine, spare=f"{mine}new") == [old.pid]
        assert old.wait(5) == -9
        assert [process.poll() for process in (young, foreign, plain)] == [None] * 3
        assert end_tagged(mine) == [young.pid]
        assert young.wait(5) == -9
    finally:
        for process in (old, young, foreign, plain):
            process.kill()
            process.wait()


def test_what_forks_all_the_time_is_ended_too(tmp_path: Path) -> None:
    tag = tag_of(tmp_path)
    code = "import os, time\nfor _ in range(30):\n    if os.fork():\n        time.sleep(0.002); os._exit(0)\ntime.sleep(100)"
    subprocess.Popen([sys.executable, "-S", "-c", code], env={**os.environ, "DROPMILL_WORKER": f"{tag}x.1"}).wait()
    quiet, looks = 0, 0
    while quiet < 3:
        quiet = 0 if end_tagged(tag, wait=1.0) else quiet + 1
        looks += 1
        assert looks < 30


async def test_there_is_nothing_to_end(tmp_path: Path) -> None:
    assert await asyncio.to_thread(end_tagged, tag_of(tmp_path)) == []
