"""The directory transport: whole or not at all, on disk, one file for a repeated delivery, nothing ever replaced."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from dropmill.api import Delivered, Duplicate, Rejected, Retry, Unavailable
from dropmill_plugins.transports.directory import OPTIONS, SPEC, parts, register_transports
from dropmill_plugins.transports.directory import depot as depots
from dropmill_plugins.transports.directory.transport import DirectoryTransport
from support.lanes import Item


@asynccontextmanager
async def opened(root: Path, **options: Any) -> AsyncIterator[DirectoryTransport]:
    transport = DirectoryTransport({"path": str(root), **options})
    await transport.open(SimpleNamespace(destination="d", base=str(root.parent), timeout=60.0))
    try:
        yield transport
    finally:
        await transport.close()


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


async def test_reports_become_files_named_by_their_key(tmp_path: Path) -> None:
    async with opened(tmp_path / "out") as transport:
        outcomes = await transport.send(
            [Item("r1.1", b"one"), Item("r2.1", b"a,b", media_type="text/csv"), Item("r3.1", b"")]
        )
    out = tmp_path / "out"
    assert tree(out) == {"r1.1.json": b"one", "r2.1.csv": b"a,b", "r3.1.json": b""}
    assert outcomes == [Delivered(str(out / name)) for name in ("r1.1.json", "r2.1.csv", "r3.1.json")]


async def test_a_repeated_delivery_leaves_one_file(tmp_path: Path) -> None:
    async with opened(tmp_path / "out") as transport:
        first = await transport.send([Item("r1.1", b"x" * 5000)])
        before = (tmp_path / "out" / "r1.1.json").stat()
        again = await transport.send([Item("r1.1", b"x" * 5000), Item("r1.1", b"x" * 5000)])
    assert isinstance(first[0], Delivered)
    assert again == [Duplicate(first[0].ref)] * 2
    after = (tmp_path / "out" / "r1.1.json").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert list(tree(tmp_path / "out")) == ["r1.1.json"]


async def test_the_same_key_twice_in_a_batch_leaves_one_file(tmp_path: Path) -> None:
    async with opened(tmp_path / "out") as transport:
        outcomes = await transport.send([Item("r1.1", b"x"), Item("r1.1", b"x")])
    assert [type(outcome) for outcome in outcomes] == [Delivered, Duplicate]
    assert tree(tmp_path / "out") == {"r1.1.json": b"x"}


async def test_other_bytes_under_the_keys_name_are_never_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "r1.1.json").write_bytes(b"tampered with")
    async with opened(out) as transport:
        outcome, neighbour = await transport.send([Item("r1.1", b"mine"), Item("r2.1", b"fine")])
    assert isinstance(outcome, Rejected) and outcome.code == "DIR-NAME-TAKEN" and "r1.1.json" in outcome.reason
    assert isinstance(neighbour, Delivered)
    assert tree(out) == {"r1.1.json": b"tampered with", "r2.1.json": b"fine"}


async def test_reports_of_one_name_lie_beside_each_other(tmp_path: Path) -> None:
    async with opened(tmp_path / "out", name="{serial}{suffix}") as transport:
        batch = [Item(f"r{number}.1", str(number).encode(), serial="S1") for number in range(3)]
        first = await transport.send(batch)
        again = await transport.send(list(reversed(batch)))
    files = tree(tmp_path / "out")
    assert sorted(files.values()) == [b"0", b"1", b"2"]
    assert files["S1.json"] == b"0" and all(name.startswith("S1") for name in files)
    assert again == [Duplicate(outcome.ref) for outcome in reversed(first)]  # type: ignore[union-attr]


async def test_a_name_that_is_taken_may_mean_rejection(tmp_path: Path) -> None:
    async with opened(tmp_path / "out", name="{serial}{suffix}", collision="reject") as transport:
        first, second, same = await transport.send(
            [Item("r1.1", b"1", serial="S"), Item("r2.1", b"2", serial="S"), Item("r3.1", b"1", serial="S")]
        )
    assert isinstance(first, Delivered) and isinstance(second, Rejected) and isinstance(same, Duplicate)
    assert tree(tmp_path / "out") == {"S.json": b"1"}


async def test_subfolders_by_field_and_date(tmp_path: Path) -> None:
    async with opened(tmp_path / "out", folder="{partNumber}/{year}/{month}", name="{serial}.json") as transport:
        await transport.send(
            [Item("r1.1", b"1", partNumber="P/7", start="2026-11-24T01:02:03Z", serial="S1"), Item("r2.1", b"2")]
        )
    assert tree(tmp_path / "out") == {"P_7/2026/11/S1.json": b"1", "unknown/unknown/unknown/unknown.json": b"2"}


@pytest.mark.parametrize("value", ["../../evil", "/etc/cron.d/evil", "..", "a/../../b", "\x00", "~/x"])
async def test_no_field_leaves_the_root(tmp_path: Path, value: str) -> None:
    async with opened(tmp_path / "deep" / "out", folder="{serial}/{serial}", name="{serial}.json") as transport:
        (outcome,) = await transport.send([Item("r1.1", b"1", serial=value)])
    assert isinstance(outcome, Delivered)
    assert Path(os.path.realpath(outcome.ref)).is_relative_to(tmp_path / "deep" / "out")
    assert len(tree(tmp_path)) == 1


async def test_a_link_in_place_of_a_subfolder_is_not_followed(tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    (out / "P").symlink_to(elsewhere)
    (out / "Q").write_text("a file")
    async with opened(out, folder="{partNumber}") as transport:
        outcomes = await transport.send([Item("r1.1", partNumber="P"), Item("r2.1", partNumber="Q")])
        large = await transport.send([Item("r3.1", b"x" * 2_000_000, partNumber="P")])
    for outcome in [*outcomes, *large]:
        assert isinstance(outcome, Rejected) and outcome.code == "DIR-FOLDER-TAKEN"
    assert not list(elsewhere.iterdir())


async def test_a_link_in_place_of_the_file_is_not_followed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "victim").write_bytes(b"{}")
    (out / "r1.1.json").symlink_to(tmp_path / "victim")
    async with opened(out) as transport:
        (outcome,) = await transport.send([Item("r1.1", b"{}")])
    assert isinstance(outcome, Rejected)


async def test_large_reports_are_written_piece_by_piece(tmp_path: Path) -> None:
    body = os.urandom(3_000_000)
    async with opened(tmp_path / "out") as transport:
        outcomes = await transport.send([Item("small.1", b"s"), Item("large.1", body), Item("last.1", b"l")])
        assert [type(outcome) for outcome in outcomes] == [Delivered] * 3
        again = await transport.send([Item("large.1", body)])
        assert isinstance(again[0], Duplicate)
        taken = await transport.send([Item("large.1", body[:-1] + b"!")])
        assert isinstance(taken[0], Rejected)
    assert tree(tmp_path / "out") == {"small.1.json": b"s", "large.1.json": body, "last.1.json": b"l"}


async def test_permissions(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        async with opened(tmp_path / "out") as transport:
            await transport.send([Item("r1.1")])
        async with opened(tmp_path / "out", mode="0604") as transport:
            await transport.send([Item("r2.1")])
    finally:
        os.umask(before)
    assert (tmp_path / "out" / "r1.1.json").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "out" / "r2.1.json").stat().st_mode & 0o777 == 0o604


async def test_relative_paths_stand_below_the_configs_folder(tmp_path: Path) -> None:
    transport = DirectoryTransport({"path": "reports/all"})
    await transport.open(SimpleNamespace(destination="d", base=str(tmp_path), timeout=60.0))
    await transport.send([Item("r1.1")])
    await transport.close()
    assert (tmp_path / "reports" / "all" / "r1.1.json").exists()


# --- trouble ---------------------------------------------------------------------------------------------------------------


async def test_a_folder_that_is_missing_is_made_only_where_asked(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="No such file"):
        async with opened(tmp_path / "share" / "out", create=False):
            pass
    assert not (tmp_path / "share").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable):
        async with opened(tmp_path / "file"):
            pass


async def test_a_folder_that_goes_away_is_waited_for_and_never_made_anew(tmp_path: Path) -> None:
    out = tmp_path / "out"
    async with opened(out) as transport:
        out.rename(tmp_path / "away")
        with pytest.raises(Unavailable):
            await transport.probe()
        with pytest.raises(Unavailable):
            await transport.send([Item("r1.1")])
        with pytest.raises(Unavailable):
            await transport.send([Item("r2.1", b"x" * 2_000_000)])
        assert not out.exists()
        (tmp_path / "away").rename(out)
        await transport.probe()
        (outcome,) = await transport.send([Item("r1.1")])
    assert isinstance(outcome, Delivered)


async def test_probing_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    async with opened(out) as transport:
        before = out.stat()
        await transport.probe()
        monkeypatch.delattr(os, "O_TMPFILE")
        await transport.probe()
        after = out.stat()
    assert not list(out.iterdir())
    assert (before.st_mtime_ns, before.st_ctime_ns) == (after.st_mtime_ns, after.st_ctime_ns)


async def test_probing_where_files_cannot_be_unnamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def disk(flags: int, free: int) -> Any:
        return lambda _: SimpleNamespace(f_flag=flags, f_bavail=free)

    original = os.open

    def without(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "not supported")
        return original(path, flags, *rest, **named)

    async with opened(tmp_path / "out") as transport:
        monkeypatch.setattr(os, "open", without)
        await transport.probe()
        for name, fake, complaint in (
            ("access", lambda *_, **__: False, "Permission denied"),
            ("statvfs", disk(os.ST_RDONLY, 100), "Read-only"),
            ("statvfs", disk(0, 0), "No space"),
        ):
            with monkeypatch.context() as patch:
                patch.setattr(os, name, fake)
                with pytest.raises(Unavailable, match=complaint):
                    await transport.probe()


# A child that is killed would leave a broken coverage file behind.
QUIET = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
WHOLE = [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT, errno.ESTALE]
STEPS = ["Part.__init__", "Part.write", "Part.sync", "Part.publish", "sync_folder"]


def break_step(monkeypatch: pytest.MonkeyPatch, step: str, number: int, *, only: bytes | None = None) -> None:
    """Make a step of writing fail as the kernel would."""

    def fail(*arguments: Any) -> Any:
        raise OSError(number, os.strerror(number), "/somewhere")

    if step == "sync_folder":
        monkeypatch.setattr(depots, "sync_folder", fail)
    elif only is not None:
        original = parts.Part.write
        monkeypatch.setattr(parts.Part, "write", lambda part, data: fail() if data == only else original(part, data))
    else:
        monkeypatch.setattr(parts.Part, step.partition(".")[2], fail)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("number", WHOLE)
async def test_what_concerns_every_report_makes_the_lane_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, number: int
) -> None:
    async with opened(tmp_path / "out") as transport:
        with monkeypatch.context() as patch:
            break_step(patch, step, number)
            with pytest.raises(Unavailable, match=os.strerror(number)):
                await transport.send([Item("r1.1"), Item("r2.1")])
            if step != "sync_folder":
                assert not list((tmp_path / "out").iterdir()), "no part is left behind"
        outcomes = await transport.send([Item("r1.1"), Item("r2.1")])
    expected = Duplicate if step == "sync_folder" else Delivered
    assert [type(outcome) for outcome in outcomes] == [expected, expected]
    assert set(tree(tmp_path / "out")) == {"r1.1.json", "r2.1.json"}


@pytest.mark.parametrize("step", STEPS)
async def test_an_io_error_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    async with opened(tmp_path / "out") as transport:
        with monkeypatch.context() as patch:
            break_step(patch, step, errno.EIO)
            (outcome,) = await transport.send([Item("r1.1")])
        assert isinstance(outcome, Retry) and outcome.code == "DIR-EIO" and "/somewhere" in outcome.reason


async def test_one_item_that_cannot_be_written_does_not_hold_up_its_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path / "out") as transport:
        for number, kind in ((errno.EIO, Retry), (errno.EFBIG, Rejected), (errno.ENAMETOOLONG, Rejected)):
            with monkeypatch.context() as patch:
                break_step(patch, "Part.write", number, only=b"bad")
                outcomes = await transport.send([Item(f"a{number}.1"), Item("bad.1", b"bad"), Item(f"b{number}.1")])
            assert [type(outcome) for outcome in outcomes] == [Delivered, kind, Delivered]
    assert not [name for name in tree(tmp_path / "out") if name.startswith(".")]


async def test_a_full_disk_for_real(tmp_path: Path) -> None:
    """A file size limit cuts a write short first and only then fails, as a full disk does."""
    code = """
import asyncio, resource, signal, sys
from types import SimpleNamespace
sys.path.insert(0, sys.argv[2])
from support.lanes import Item
from dropmill_plugins.transports.directory.transport import DirectoryTransport
async def main():
    transport = DirectoryTransport({"path": sys.argv[1]})
    await transport.open(SimpleNamespace(destination="d", base="/", timeout=60.0))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    for size in (150_000, 2_000_000):
        print(type((await transport.send([Item("r.1", b"x" * size)]))[0]).__name__)
    await transport.close()
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "out"), str(Path(__file__).parents[2])],
        capture_output=True,
        text=True,
        env=QUIET,
    )
    assert done.stdout.split() == ["Rejected", "Rejected"], done.stderr
    assert not list((tmp_path / "out").iterdir())


async def test_parts_that_a_crash_left_behind_are_removed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "sub").mkdir(parents=True)
    stale, fresh, foreign = (out / "sub" / name for name in (".dropmill-1.part", ".dropmill-2.part", ".other.part"))
    for path in (stale, fresh, foreign, out / ".dropmill-3.part"):
        path.write_bytes(b"half")
    old = time.time() - 7200
    for path in (stale, foreign, out / ".dropmill-3.part"):
        os.utime(path, (old, old))
    async with opened(out, folder="sub") as transport:
        await transport.send([Item("r1.1")])
    assert not stale.exists() and not (out / ".dropmill-3.part").exists()
    assert fresh.exists() and foreign.exists()


async def test_killed_at_every_step_there_is_a_whole_file_or_none(tmp_path: Path) -> None:
    code = """
import asyncio, os, signal, sys
from types import SimpleNamespace
sys.path.insert(0, sys.argv[2])
from support.lanes import Item
from dropmill_plugins.transports.directory import parts, depot
from dropmill_plugins.transports.directory.transport import DirectoryTransport
step = sys.argv[3]
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
if step == "sync_folder": depot.sync_folder = die
elif step == "after publish":
    publish = parts.Part.publish
    parts.Part.publish = lambda part, target: (publish(part, target), die())
else: setattr(parts.Part, step, die)
async def main():
    transport = DirectoryTransport({"path": sys.argv[1], "create": False})
    await transport.open(SimpleNamespace(destination="d", base="/", timeout=60.0))
    await transport.send([Item("r.1", b"whole" * 1000)])
asyncio.run(main())
"""
    for step in ("write", "flush", "sync", "publish", "after publish", "sync_folder"):
        out = tmp_path / step
        out.mkdir()
        done = subprocess.run(
            [sys.executable, "-c", code, str(out), str(Path(__file__).parents[2]), step],
            capture_output=True,
            text=True,
            env=QUIET,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
        visible = [path for path in out.iterdir() if not path.name.startswith(".")]
        assert len(visible) == (step in ("after publish", "sync_folder"))
        async with opened(out) as transport:
            (outcome,) = await transport.send([Item("r.1", b"whole" * 1000)])
        assert isinstance(outcome, Duplicate if visible else Delivered)
        assert (out / "r.1.json").read_bytes() == b"whole" * 1000


async def test_everything_is_synced_before_it_is_said(tmp_path: Path) -> None:
    """The order of system calls: content, rename, folder; then the answer."""
    trace = tmp_path / "trace"
    code = """
import asyncio, os, sys
from types import SimpleNamespace
sys.path.insert(0, sys.argv[2])
from support.lanes import Item
from dropmill_plugins.transports.directory.transport import DirectoryTransport
async def main():
    transport = DirectoryTransport({"path": sys.argv[1], "folder": "{partNumber}"})
    await transport.open(SimpleNamespace(destination="d", base="/", timeout=60.0))
    await transport.send([Item("r.1", b"x", partNumber="P"), Item("r.2", b"y", partNumber="P")])
    await transport.close()
    os.stat("/said")
try: asyncio.run(main())
except FileNotFoundError: pass
"""
    out = tmp_path / "out"
    calls = "fsync,fdatasync,renameat2,mkdir,mkdirat,newfstatat,stat,openat"
    subprocess.run(
        [
            *("strace", "-f", "-y", "-qq", "-e", f"trace={calls}", "-o", str(trace)),
            *(sys.executable, "-c", code, str(out), str(Path(__file__).parents[2])),
        ],
        check=True,
        env=QUIET,
    )
    steps = []
    for line in trace.read_text().splitlines():
        if "fsync(" in line and ".part>" in line:
            steps.append("file")
        elif "renameat2(" in line:
            steps.append("rename")
        elif "fsync(" in line and line.rstrip().endswith("= 0") and f"<{out}/P>" in line:
            steps.append("subfolder")
        elif "fsync(" in line and f"<{out}>" in line:
            steps.append("root")
        elif '"/said"' in line:
            steps.append("said")
    assert steps == ["root", "file", "file", "rename", "rename", "subfolder", "said"]


async def test_a_file_system_without_renameat2_is_served_by_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "_LIBC", SimpleNamespace())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "taken.1.json").write_bytes(b"other")
    async with opened(tmp_path / "out") as transport:
        outcomes = await transport.send([Item("r1.1", b"one"), Item("taken.1", b"mine")])
    assert [type(outcome) for outcome in outcomes] == [Delivered, Rejected]
    assert tree(tmp_path / "out") == {"r1.1.json": b"one", "taken.1.json": b"other"}


async def test_two_agents_race_for_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another writer takes the name between our look and our rename."""
    original = parts.Part.publish
    rivals = [b"theirs", b"{}"]

    def publish(part: parts.Part, target: Path) -> None:
        if rivals and not target.exists():
            target.write_bytes(rivals.pop(0))
        original(part, target)

    monkeypatch.setattr(parts.Part, "publish", publish)
    async with opened(tmp_path / "out", name="{serial}.json") as transport:
        (outcome,) = await transport.send([Item("r1.1", b"{}", serial="S")])
    assert isinstance(outcome, Duplicate), "the rival wrote the same report under our second name"
    assert sorted(tree(tmp_path / "out").values()) == [b"theirs", b"{}"]


async def test_the_event_loop_is_never_blocked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loop_thread = threading.get_ident()
    seen = set()
    for name in ("open", "fsync", "mkdir", "scandir", "lstat", "stat", "close", "write"):
        original = getattr(os, name)

        def spy(*arguments: Any, _name: str = name, _original: Any = original, **named: Any) -> Any:
            if threading.get_ident() == loop_thread:
                seen.add(_name)
            return _original(*arguments, **named)

        monkeypatch.setattr(parts.os, name, spy)
    async with opened(tmp_path / "out", folder="{serial}") as transport:
        seen.clear()
        await transport.send([Item("r1.1", serial="S"), Item("r2.1", b"x" * 2_000_000, serial="S")])
        await transport.probe()
        assert not seen


async def test_a_cancelled_send_leaves_nothing_half_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()
    original = parts.Part.write

    def slow(part: parts.Part, data: bytes) -> None:
        begun.set()
        go_on.wait(10)
        original(part, data)

    monkeypatch.setattr(parts.Part, "write", slow)
    async with opened(tmp_path / "out") as transport:
        task = asyncio.ensure_future(transport.send([Item("large.1", b"x" * 2_000_000)]))
        await asyncio.to_thread(begun.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()
        monkeypatch.undo()
        async with asyncio.timeout(10):
            while list((tmp_path / "out").iterdir()):
                await asyncio.sleep(0.01)
        (outcome,) = await transport.send([Item("large.1", b"x" * 2_000_000)])
    assert isinstance(outcome, Delivered)
    assert list(tree(tmp_path / "out")) == ["large.1.json"]


async def test_a_payload_that_cannot_be_read_leaves_nothing(tmp_path: Path) -> None:
    class Broken(Item):
        async def chunks(self, size: int = 262_144) -> AsyncIterator[bytes]:
            yield b"x" * 1000
            raise RuntimeError("damaged")

    async with opened(tmp_path / "out") as transport:
        with pytest.raises(RuntimeError, match="damaged"):
            await transport.send([Item("large.1", b"y" * 2_000_000), Broken("r.1", b"x" * 2_000_000)])
        async with asyncio.timeout(10):
            while list((tmp_path / "out").iterdir()):
                await asyncio.sleep(0.01)


async def test_used_before_it_is_open(tmp_path: Path) -> None:
    transport = DirectoryTransport({"path": str(tmp_path)})
    with pytest.raises(RuntimeError, match="not open"):
        await transport.send([Item("r.1")])
    await transport.close()


def test_bad_templates_are_refused() -> None:
    for options in ({"name": "{key"}, {"folder": "}"}, {"name": "a/{key}"}):
        with pytest.raises(ValueError, match=r"brace|subfolders"):
            DirectoryTransport({"path": "x", **options})


# --- the options -----------------------------------------------------------------------------------------------------------


def test_the_schema_is_one_and_describes_every_option() -> None:
    Draft202012Validator.check_schema(OPTIONS)
    assert list(register_transports()) == [SPEC]
    assert all(part["description"] for part in OPTIONS["properties"].values())
    assert OPTIONS["additionalProperties"] is False


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"path": ""},
        {"path": "x", "name": "{key"},
        {"path": "x", "name": "a/b"},
        {"path": "x", "collision": "overwrite"},
        {"path": "x", "mode": "999"},
        {"path": "x", "unknown": 1},
    ],
)
def test_bad_options(options: dict[str, Any]) -> None:
    assert not Draft202012Validator(OPTIONS).is_valid(options)


def test_good_options() -> None:
    for options in (
        {"path": "reports"},
        {"path": "x", "name": "{serial}{suffix}", "folder": "{a}/{b}", "mode": "0640"},
    ):
        assert Draft202012Validator(OPTIONS).is_valid(options)
