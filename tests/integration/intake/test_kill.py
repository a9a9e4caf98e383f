"""`kill -9` at every step: afterwards each file is in exactly one place, and the next start needs nobody's help."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

DRIVER = Path(__file__).with_name("driver.py")
NAMES = [
    "a.csv",
    "b.csv",
    "bad.csv",
    "ü \u0308.csv",
    "n" * 251 + ".csv",
    "bad" + "m" * 248 + ".csv",
    os.fsdecode(b"\xff.csv"),
]


class Home:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = path / "inbox"
        self.state = path / "state"
        self.done = self.root / "done"
        self.contents: dict[bytes, str] = {}
        self.root.mkdir()

    def drop(self, names: list[str]) -> None:
        for name in names:
            content = os.urandom(8) + os.fsencode(name) * 50
            (self.root / name).write_bytes(content)
            self.contents[content] = name

    def run(self, failpoints: str = "", *arguments: str, prefix: tuple[str, ...] = ()) -> int:
        done = subprocess.run(
            [*prefix, sys.executable, str(DRIVER), str(self.root), str(self.state), *arguments],
            env={**os.environ, "DROPMILL_FAILPOINTS": failpoints},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.output = done.stdout + done.stderr
        return done.returncode

    def files(self) -> Iterator[tuple[str, bytes]]:
        """(kind of place, content) of every file."""
        places = {
            "inbox": self.root,
            "work": self.root / ".dropmill" / "work",
            "done": self.done,
            "failed": self.root / "failed",
            "submitted": self.state / "submitted",
        }
        for kind, place in places.items():
            for folder, folders, names in os.walk(place):
                if kind == "inbox":
                    folders.clear()
                for name in names:
                    if not name.endswith(".reason.json"):
                        yield kind, (Path(folder) / name).read_bytes()

    def check_nothing_lost(self) -> None:
        """After a kill, before anything is put right: every content exists, whole."""
        found = Counter(content for _, content in self.files())
        assert set(self.contents) <= set(found), "a file is lost"

    def check_settled(self) -> None:
        """Each content lies in exactly one place, and that is the right one; rows and disk agree."""
        found = sorted((content, kind) for kind, content in self.files())
        expected = sorted((content, "failed" if "bad" in name else "done") for content, name in self.contents.items())
        assert found == expected, self.output
        leftovers = os.listdir(self.root / ".dropmill" / "work")
        assert leftovers == []
        for name in self.contents.values():
            if "bad" in name:
                reasons = list((self.root / "failed").glob("*.reason.json"))
                assert len(reasons) == sum("bad" in name for name in self.contents.values())
                assert all(json.loads(path.read_text())["code"] == "DM-V001" for path in reasons)
        hidden = (
            [name for name in os.listdir(self.root / "failed") if name.startswith(".")]
            if (self.root / "failed").exists()
            else []
        )
        assert hidden == []
        with sqlite3.connect(self.state / "queue.db") as database:
            rows = database.execute("SELECT state, place FROM file").fetchall()
        database.close()
        assert len(rows) == len(self.contents)
        for state, place in rows:
            path = os.fsdecode(place) if isinstance(place, bytes) else place
            assert state in ("finished", "failed")
            assert os.path.exists(path)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


CLAIM = [
    *("claim.probed", "claim.synced", "claim.added", "claim.renamed", "claim.renamed@2", "claim.renamed@4"),
    *("claim.renamed@6", "claim.moved", "claim.synced@2", "claim.confirmed"),
]
DISPOSE = [
    *("dispose.planned", "dispose.reasons_staged", "dispose.reason_written", "dispose.moved", "dispose.moved@2"),
    *("dispose.moved@5", "dispose.synced", "dispose.finished"),
]


@pytest.mark.parametrize("failpoint", [*CLAIM, *DISPOSE])
def test_killed_at_a_step_and_started_again(home: Home, failpoint: str) -> None:
    home.drop(NAMES)
    name, _, nth = failpoint.partition("@")
    assert home.run(f"{name}=kill@{nth or 1}") == -signal.SIGKILL, home.output
    home.check_nothing_lost()
    assert home.run() == 0, home.output
    home.check_settled()


@pytest.mark.parametrize(
    "failpoint", ["recovery.claim", "recovery.claim@3", "recovery.claims", "recovery.live", "recovery.live@4"]
)
def test_killed_again_while_putting_right(home: Home, failpoint: str) -> None:
    home.drop(NAMES)
    assert home.run("claim.moved=kill" if "claim" in failpoint else "dispose.moved=kill@3") == -signal.SIGKILL, (
        home.output
    )
    name, _, nth = failpoint.partition("@")
    assert home.run(f"{name}=kill@{nth or 1}") == -signal.SIGKILL, home.output
    home.check_nothing_lost()
    assert home.run() == 0, home.output
    home.check_settled()


def test_files_in_work_without_a_row_go_back_and_are_taken_again(home: Home) -> None:
    home.drop(NAMES)
    assert home.run("claim.moved=kill") == -signal.SIGKILL
    for path in home.state.glob("queue.db*"):
        path.unlink()
    assert home.run("recovery.returned=kill@3") == -signal.SIGKILL, home.output
    home.check_nothing_lost()
    assert home.run() == 0, home.output
    home.check_settled()


@pytest.mark.skipif(os.getuid() != 0, reason="mounts")
@pytest.mark.parametrize("failpoint", ["dispose.copied", "dispose.copied@3", "dispose.moved@2", "dispose.synced"])
def test_killed_while_moving_to_another_device(home: Home, tmp_path: Path, failpoint: str) -> None:
    home.done = tmp_path / "elsewhere"
    home.done.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(home.done)], check=True)
    try:
        home.drop(NAMES)
        name, _, nth = failpoint.partition("@")
        assert home.run(f"{name}=kill@{nth or 1}", "--done", str(home.done)) == -signal.SIGKILL, home.output
        home.check_nothing_lost()
        assert home.run("", "--done", str(home.done)) == 0, home.output
        home.check_settled()
    finally:
        subprocess.run(["umount", "-l", str(home.done)], check=True)


@pytest.mark.parametrize(
    "failpoint", ["submit.copied", "submit.copied@2", "submit.added", "submit.renamed", "submit.confirmed"]
)
def test_killed_while_submitting(home: Home, tmp_path: Path, failpoint: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    contents = {}
    for name in ("one.csv", "bad two.csv", "n" * 251 + ".csv"):
        contents[(source / name)] = os.urandom(8) + name.encode()
        (source / name).write_bytes(contents[(source / name)])
    name, _, nth = failpoint.partition("@")
    paths = [str(path) for path in contents]
    assert home.run(f"{name}=kill@{nth or 1}", "--submit", *paths) == -signal.SIGKILL, home.output
    assert {path: path.read_bytes() for path in source.iterdir()} == contents, "a source was touched"
    assert home.run() == 0, home.output
    home.contents = {content: path.name for path, content in contents.items()} if "copied" not in failpoint else {}
    home.check_settled()
    assert sorted(os.listdir(home.state / "submitted")) == [".arriving"]
    assert os.listdir(home.state / "submitted" / ".arriving") == []


@pytest.mark.chaos
@pytest.mark.skipif(not Path("/usr/bin/strace").exists(), reason="needs strace")
@pytest.mark.parametrize(
    "call", ["rename,renameat,renameat2", "fsync,fdatasync,syncfs", "unlink,unlinkat,rmdir", "mkdir,mkdirat"]
)
@pytest.mark.parametrize("nth", [1, 2, 3, 5, 8, 13])
def test_killed_at_a_system_call(home: Home, call: str, nth: int) -> None:
    """Not at steps that we thought of, but at those that there are."""
    home.drop(NAMES)
    strace = ("strace", "-f", "-o", "/dev/null", "-e", f"inject={call}:signal=SIGKILL:when={nth}")
    code = home.run("", prefix=strace)
    assert code in (0, -signal.SIGKILL, 128 + signal.SIGKILL), home.output
    home.check_nothing_lost()
    assert home.run() == 0, home.output
    home.check_settled()
