"""What converters do to their worker, and that nobody else notices: each fault with a bystander in flight, then the next file,
then no process left (`conftest.scratch` looks)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog

from dropmill.config.settings import ConversionSettings
from dropmill.conversion.errors import PoolClosed, WorkersUnavailable
from dropmill.conversion.launch import TAG
from dropmill.conversion.orphans import tag_of
from dropmill.conversion.outcomes import Converted, Fault
from dropmill.conversion.pool import ConversionPool
from dropmill.foundation.clock import SystemClock
from dropmill.foundation.failpoints import Failpoints
from support.conversions import ENVIRONMENT, Inbox, bindings, running_pool

SLOW = 30.0
"""Seconds that no test here may wait for anything; loaded machines are slow."""

FAULTS = [
    ("raise", "error", "ValueError: boo"),
    ("wrong_signal", "error", "which no converter may raise"),
    ("exit", "error", "SystemExit: goodbye"),
    ("interrupt", "error", "KeyboardInterrupt"),
    ("recurse", "error", "RecursionError"),
    ("os_exit 7", "crash", "exited with code 7"),
    ("os_exit 0", "crash", "exited with code 0"),
    ("segv", "crash", "SIGSEGV"),
    ("abort", "crash", "SIGABRT"),
    ("kill", "crash", "SIGKILL"),
    ("stop", "timeout", "no progress for 1 s"),
    ("hang", "timeout", "no progress for 1 s"),
    ("hang_in_c", "timeout", "no progress for 1 s"),
    ("flood 20", "error", "after the flood"),
    ("memory", "oom", "memory"),
    ("bomb", "limit", "processes"),
    ("fork_and_hang", "timeout", "no progress"),
    ("close_descriptors", "protocol", "closed its pipe"),
    ("garbage text", "protocol", "no frame begins"),
    ("garbage huge", "protocol", "over the caps"),
    ("garbage json", "protocol", "no JSON"),
    ("garbage kind", "protocol", "still at work"),
    ("garbage quit", "protocol", "never sends QUIT"),
    ("write OUTSIDE", "error", "PermissionError"),
    ("unlink OUTSIDE", "error", "PermissionError"),
    ("socket AF_INET", "error", "PermissionError"),
    ("socket AF_INET6", "error", "PermissionError"),
    ("signal", "error", "PermissionError"),
]


@pytest.mark.parametrize(
    ("text", "kind", "part"), FAULTS, ids=[text.replace(" ", "-").replace("/", "_") for text, _, _ in FAULTS]
)
async def test_a_fault_hurts_its_own_file_alone(tmp_path: Path, scratch: Path, text: str, kind: str, part: str) -> None:
    made = bindings(timeout=1.0 if kind == "timeout" else 20.0)
    async with asyncio.timeout(SLOW), running_pool(scratch, made, memory=256 * 1024 * 1024) as pool:
        inbox = Inbox(tmp_path / "files", pool)
        (tmp_path / "outside").write_text("untouched")
        text = text.replace("OUTSIDE", str(tmp_path / "outside"))
        await inbox.convert("warm.by", "W\n", "bystander")
        async with asyncio.TaskGroup() as group:
            faulty = group.create_task(inbox.fault(text))
            bystanders = [group.create_task(inbox.convert("a.by", "B\n", "bystander")) for _ in range(3)]
            same_plugin = group.create_task(inbox.convert("a.txt", "S\n", "lines"))
        outcome = faulty.result()

        assert (tmp_path / "outside").read_text() == "untouched"
        assert isinstance(outcome, Fault), outcome
        assert (outcome.kind, outcome.plugin) == (kind, "faulty"), outcome.message
        assert part in outcome.message + str(outcome.record), outcome.message
        assert all(isinstance(task.result(), Converted) for task in [*bystanders, same_plugin])
        assert isinstance(await inbox.fault("good"), Converted)
        while not {pid for pid in _tagged(tag_of(scratch)) if _alive(pid)} <= {view.pid for view in pool.workers}:
            await asyncio.sleep(0.05)  # what it started goes with its worker, not only when the pool is closed


@pytest.fixture
async def hasty(tmp_path: Path, scratch: Path) -> AsyncIterator[Inbox]:
    """A pool whose converters get a second without progress."""
    async with running_pool(scratch, bindings(timeout=1.0)) as made:
        yield Inbox(tmp_path / "files", made)


async def test_the_record_says_all_that_is_known(hasty: Inbox) -> None:
    hung = await hasty.fault("hang")
    assert isinstance(hung, Fault)
    record = hung.record
    assert record["code"] == hung.code == "DM-V011"
    assert record["outcome"] == "timeout"
    assert record["file"]["name"] == "x.faulty"
    assert record["plugin"] == record["converter"] == "faulty"
    assert record["version"] == "1.2.3"
    assert "in do_hang" in record["stack"]
    assert record["signal"] == "SIGKILL"
    assert record["bytesRead"] > 0
    assert record["limits"] == {"soft": 1.0, "hard": 10.0, "memory": 1_073_741_824}
    assert record["cpu"] > 0.05
    assert record["wall"] >= 1.0
    assert record["peakMemory"] > 1_000_000

    crashed = await hasty.fault("segv")
    assert isinstance(crashed, Fault)
    assert "Segmentation fault" in crashed.record["stack"]
    assert "do_segv" in crashed.record["stack"]

    raised = await hasty.fault("raise")
    assert isinstance(raised, Fault)
    assert raised.record["exception"]["type"] == "ValueError"
    assert "in do_raise" in raised.record["exception"]["traceback"]
    assert "\\udcff" in raised.record["exception"]["message"]

    flooded = await hasty.fault("flood 2")
    assert isinstance(flooded, Fault)
    assert flooded.record["output"].endswith("x\n")
    assert len(flooded.record["output"]) <= 8_192


async def test_what_it_prints_goes_nowhere_but_into_the_record(inbox: Inbox, capfd: pytest.CaptureFixture[str]) -> None:
    assert isinstance(await inbox.fault("print"), Converted)
    outcome = await inbox.fault("raise")

    assert isinstance(outcome, Fault)
    for text in ("to standard output", "to standard error", "straight to the descriptor"):
        assert text in outcome.record["output"]
    assert capfd.readouterr() == ("", "")


async def test_closed_streams_do_not_matter(inbox: Inbox) -> None:
    assert isinstance(await inbox.fault("close_streams"), Converted)
    assert isinstance(await inbox.fault("good"), Converted)


async def test_progress_extends_the_soft_limit_up_to_the_hard_one(tmp_path: Path, scratch: Path) -> None:
    async with running_pool(scratch, bindings(timeout=0.4)) as pool:
        inbox = Inbox(tmp_path, pool)
        assert isinstance(await inbox.fault("progress 1.2"), Converted)

        for text in ("reread", "endless"):
            start = time.monotonic()
            outcome = await inbox.fault(text)
            assert isinstance(outcome, Fault)
            assert outcome.kind == "timeout"
            assert "still at work after 4 s" in outcome.message
            assert time.monotonic() - start >= 4.0


async def test_the_reports_of_one_file_are_bounded(tmp_path: Path, scratch: Path) -> None:
    async with running_pool(scratch, max_output=300_000) as pool:
        inbox = Inbox(tmp_path, pool)
        for text in ("endless", "bytes 400000"):
            outcome = await inbox.fault(text)
            assert isinstance(outcome, Fault)
            assert outcome.kind == "limit"
            assert "300000 bytes" in outcome.message
        assert isinstance(await inbox.fault("bytes 200000"), Converted)


async def test_memory_of_a_workers_children_counts(tmp_path: Path, scratch: Path) -> None:
    async with running_pool(scratch, bindings(timeout=20.0), memory=80_000_000) as pool:
        outcome = await Inbox(tmp_path, pool).fault("memory_in_children")
    assert isinstance(outcome, Fault)
    assert outcome.kind == "oom"


@pytest.mark.parametrize(
    ("text", "worn"),
    [("fork", "processes left over"), ("thread", "threads left over"), ("grow 300", "memory not given back")],
)
async def test_what_a_task_leaves_behind_wears_the_worker_out(
    tmp_path: Path, scratch: Path, text: str, worn: str
) -> None:
    async with running_pool(scratch, bindings(timeout=20.0)) as pool:
        inbox = Inbox(tmp_path, pool)
        await inbox.fault("good")
        (before,) = [view.pid for view in pool.workers if view.distribution == "acme"]
        assert isinstance(await inbox.fault(text), Converted)
        assert [view.worn for view in pool.workers if view.pid == before] in ([worn], [])
        assert isinstance(await inbox.fault("good"), Converted)
        assert before not in [view.pid for view in pool.workers if view.worn is None]


async def test_nothing_leaves_the_process_group(inbox: Inbox) -> None:
    assert isinstance(await inbox.fault("daemonize"), Converted)


async def test_a_worker_is_replaced_after_its_share(tmp_path: Path, scratch: Path) -> None:
    async with running_pool(scratch, recycle_after=5) as pool:
        inbox = Inbox(tmp_path, pool)
        pids = set()
        for _ in range(12):
            assert isinstance(await inbox.convert("a.by", "B\n", "bystander"), Converted)
            pids |= {view.pid for view in pool.workers if view.distribution == "other"}
        assert len(pids) == 3


async def test_files_behind_a_slow_one_are_given_to_another_worker(inbox: Inbox) -> None:
    for _ in range(20):
        await inbox.fault("good")  # quick: several are sent ahead from now on
    async with asyncio.TaskGroup() as group:
        slow = group.create_task(inbox.fault("sleep 0.9"))
        quick = [group.create_task(inbox.fault("good")) for _ in range(7)]
        done, _ = await asyncio.wait(quick, timeout=0.85)
        assert len(done) == 7
        assert not slow.done()
    assert isinstance(slow.result(), Converted)


async def test_files_that_waited_for_a_worker_that_died_are_not_blamed(inbox: Inbox) -> None:
    for _ in range(20):
        await inbox.fault("good")
    async with asyncio.TaskGroup() as group:
        crash = group.create_task(inbox.fault("os_exit 3"))
        behind = [group.create_task(inbox.fault("good")) for _ in range(7)]
    assert isinstance(crash.result(), Fault)
    assert all(isinstance(task.result(), Converted) for task in behind)


async def test_a_worker_that_dies_between_files_is_nobodys_fault(inbox: Inbox, pool: ConversionPool) -> None:
    assert isinstance(await inbox.fault("late_exit 0.05"), Converted)
    assert isinstance(await inbox.fault("good"), Converted)
    os.kill(next(view.pid for view in pool.workers if view.distribution == "acme"), signal.SIGKILL)
    assert isinstance(await inbox.fault("good"), Converted)


async def test_no_distribution_keeps_another_from_its_turn(tmp_path: Path, scratch: Path) -> None:
    async with asyncio.timeout(SLOW), running_pool(scratch, workers=1) as pool:
        inbox = Inbox(tmp_path, pool)
        stop = False

        async def flood() -> None:
            while not stop:
                await inbox.fault("good")

        async with asyncio.TaskGroup() as group:
            for _ in range(12):
                group.create_task(flood())
            await inbox.fault("good")
            outcome = await inbox.convert("a.by", "B\n", "bystander")
            stop = True
        assert isinstance(outcome, Converted)


async def test_processes_stay_few_whatever_comes(tmp_path: Path, scratch: Path) -> None:
    made = bindings()
    lines = made["lines"]
    for number in range(6):
        spec = lines.spec.__class__(f"l{number}", "faulty_converters:Lines", lines.spec.accepts)
        made[spec.id] = type(lines)(spec, spec.id, f"dist{number}", "1")
    async with asyncio.timeout(SLOW), running_pool(scratch, made, workers=2) as pool:
        inbox = Inbox(tmp_path, pool)
        most = 0
        for _ in range(2):
            for number in range(6):
                assert isinstance(await inbox.convert("a.txt", "A\n", f"l{number}"), Converted)
                most = max(most, len([view for view in pool.workers if view.worn is None]))
        assert most <= 4


# --- cancelling, closing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["reread", "endless", "sleep 20", "hang"])
async def test_a_cancelled_conversion_ends_within_seconds(tmp_path: Path, scratch: Path, text: str) -> None:
    async with asyncio.timeout(SLOW), running_pool(scratch, bindings(timeout=15.0), workers=1) as pool:
        inbox = Inbox(tmp_path, pool)
        await inbox.fault("good")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await inbox.fault(text)
        start = time.monotonic()
        assert isinstance(await inbox.fault("good"), Converted)
        assert time.monotonic() - start < 5


async def test_closing_ends_what_is_under_way_and_refuses_what_comes(tmp_path: Path, scratch: Path) -> None:
    async with asyncio.timeout(SLOW), running_pool(scratch, bindings(timeout=20.0)) as pool:
        inbox = Inbox(tmp_path, pool)
        await inbox.fault("good")
        async with asyncio.TaskGroup() as group:
            under_way = group.create_task(inbox.fault("fork_and_hang"))
            await asyncio.sleep(0.3)
            start = time.monotonic()
            await pool.close(grace=0.1)
            assert time.monotonic() - start < 3
        outcome = under_way.result()
        assert isinstance(outcome, Fault)
        assert outcome.kind == "cancelled"
        assert pool.workers == []
        with pytest.raises(PoolClosed):
            await inbox.fault("good")


async def test_what_a_dead_agent_left_is_ended_at_the_start(tmp_path: Path, scratch: Path) -> None:
    program = tmp_path / "agent.py"
    program.write_text(
        "import asyncio, os, signal, sys\nfrom pathlib import Path\n"
        "from support.conversions import *\n"
        "async def main():\n"
        f"    async with running_pool(Path({str(scratch)!r}), bindings(60.0)) as pool:\n"
        f"        inbox = Inbox(Path({str(tmp_path / 'files')!r}), pool)\n"
        "        asyncio.get_running_loop().create_task(inbox.fault('fork_and_hang'))\n"
        "        while not any(worker.children() for worker in pool._fleet.workers):\n"
        "            await asyncio.sleep(0.05)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    tests = Path(__file__).parents[2]
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(program), env={**os.environ, "PYTHONPATH": str(tests)}
    )
    assert await process.wait() == -signal.SIGKILL
    async with asyncio.timeout(SLOW):  # the grandchild outlives the worker, which the kernel ends
        left = _tagged(tag_of(scratch))
        while [_name(pid) for pid in left] != ["sleep"]:
            await asyncio.sleep(0.05)
            left = _tagged(tag_of(scratch))
    (scratch / "rubbish").write_text("from before")
    pool = ConversionPool(
        bindings(), ConversionSettings(), clock=SystemClock(), scratch=scratch, failpoints=Failpoints()
    )
    ended = await pool.start()
    assert set(left) <= set(ended)
    assert not any(_alive(pid) for pid in left)
    assert not (scratch / "rubbish").exists()
    await pool.close()


async def test_workers_that_cannot_start_are_said_so(tmp_path: Path, scratch: Path) -> None:
    broken = {"PATH": "/usr/bin", "PYTHONHOME": "/nonexistent"}
    async with asyncio.timeout(SLOW), running_pool(scratch, environment=broken) as pool:
        with pytest.raises(WorkersUnavailable) as caught:
            await Inbox(tmp_path, pool).fault("good")
    assert caught.value.code == "DM-V020"
    assert "did not start" in str(caught.value)


# --- what a worker sees --------------------------------------------------------------------------------------------------


async def test_a_worker_sees_no_secret_of_the_agents_environment(tmp_path: Path, scratch: Path) -> None:
    async with running_pool(scratch, environment={**os.environ, **ENVIRONMENT, "TOKEN": "s3cret"}) as pool:
        outcome = await Inbox(tmp_path, pool).fault("environment")
    assert isinstance(outcome, Converted)
    document = json.loads(outcome.reports[0].body or b"")
    names = {entry["name"] for entry in document["misc"]}
    assert "TOKEN" not in names
    assert {"PATH", "PYTHONPATH", "DROPMILL_WORKER", "TMPDIR"} <= names


async def test_a_task_finds_nothing_of_the_one_before(inbox: Inbox) -> None:
    first = await inbox.fault("write_inside")
    assert isinstance(first, Converted)
    assert first.reports[0].fields["serial"] == "deep notes.txt"
    second = await inbox.fault("list")
    assert isinstance(second, Converted)
    assert second.reports[0].fields["serial"] == "nothing"


async def test_workers_are_confined_here(pool: ConversionPool, inbox: Inbox) -> None:
    await inbox.fault("good")
    (worker,) = [view for view in pool.workers if view.finished]
    assert worker.confined["seccomp"] is True
    assert worker.confined["landlock"] >= 1  # type: ignore[operator]


def _tagged(prefix: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if f"{TAG}={prefix}".encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_all_are_killed_at_once_when_the_stop_has_no_time_left(tmp_path: Path, scratch: Path) -> None:
    async with asyncio.timeout(SLOW), running_pool(scratch, bindings(timeout=30.0)) as pool:
        inbox = Inbox(tmp_path, pool)
        await inbox.fault("good")
        async with asyncio.TaskGroup() as group:
            hung = group.create_task(inbox.fault("fork_and_hang"))
            await asyncio.sleep(0.3)
            assert set(pool.kill()) == {view.pid for view in pool.workers}
        assert isinstance(hung.result(), Fault)


async def test_failpoints(tmp_path: Path, scratch: Path) -> None:
    for points, error in (
        ("conversion.open=error:EIO", OSError),
        ("conversion.launch=error:EAGAIN@1+", WorkersUnavailable),
    ):
        pool = ConversionPool(
            bindings(),
            ConversionSettings(),
            clock=SystemClock(),
            scratch=scratch,
            failpoints=Failpoints(points),
            environment=ENVIRONMENT,
            spare=False,
        )
        await pool.start()
        with pytest.raises(error):
            await Inbox(tmp_path / points[11:14], pool).fault("good")
        await pool.close()


async def test_where_the_kernel_confines_less_it_is_said_and_descendants_are_still_ended(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same Python sees another machine, so that the filter is not known there."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text("import platform\nplatform.machine = lambda: 's390x'\n")
    environment = {**ENVIRONMENT, "PYTHONPATH": f"{ENVIRONMENT['PYTHONPATH']}:{site}"}
    with structlog.testing.capture_logs() as logs:
        async with asyncio.timeout(SLOW), running_pool(scratch, environment=environment) as pool:
            inbox = Inbox(tmp_path, pool)
            assert isinstance(await inbox.fault("daemonize_quietly"), Converted)
            async with asyncio.timeout(10):
                while (
                    any(view.worn == "processes left over" for view in pool.workers) or len(_alive_tagged(scratch)) > 1
                ):
                    await asyncio.sleep(0.05)
    assert [entry["code"] for entry in logs if entry["log_level"] == "warning"] == ["DM-V024"]


def _alive_tagged(scratch: Path) -> list[int]:
    return [pid for pid in _tagged(tag_of(scratch)) if _alive(pid)]
