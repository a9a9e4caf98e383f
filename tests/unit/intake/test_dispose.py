"""Out of work/: to done/ and failed/, never over anything."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dropmill.config.settings import FolderSettings
from dropmill.foundation.clock import SystemClock
from dropmill.foundation.failpoints import Failpoints
from dropmill.intake.dispose import Disposer
from dropmill.intake.reason import owner_of, reason_document, reason_path, stage_reason
from dropmill.queue.records import Disposal, FileIdentity, FileRecord, FileState

ID = "0123456789abcdef"


def record(place: Path, name: str | None = None, **changes: Any) -> FileRecord:
    import hashlib

    status = place.stat() if place.exists() else os.stat_result([0] * 10)
    file = FileRecord(
        id=ID,
        folder="inbox",
        name=name or place.name.removeprefix(f"{ID}-"),
        place=str(place),
        origin="",
        state=FileState.CONVERTED,
        reason="",
        identity=FileIdentity(status.st_size, status.st_mtime_ns, 0, status.st_dev, status.st_ino),
        sha256=hashlib.sha256(place.read_bytes() if place.exists() else b"").hexdigest(),
        occurrence=0,
        claimed_at=1_700_000_000.0,
        updated_at=1_700_000_000.0,
        attempts=1,
        not_before=0.0,
        converter="csv 1.0",
        error=None,
        target=None,
        pending=0,
        dead=0,
        tags={},
    )
    return replace(file, **changes)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "inbox" / ".dropmill" / "work").mkdir(parents=True)
    return tmp_path / "inbox"


@pytest.fixture
def work(root: Path) -> Path:
    return root / ".dropmill" / "work"


@pytest.fixture
def disposer(root: Path, folder_settings: Callable[..., FolderSettings]) -> Disposer:
    return Disposer(folder_settings(root), clock=SystemClock(), failpoints=Failpoints())


def lay(disposer: Disposer, file: FileRecord, outcome: str = "done") -> Path:
    disposals = [Disposal(file=file, outcome=outcome)]
    targets = disposer.plan(disposals)
    moved = disposer.move(disposals, targets)
    assert moved.put_off == {}
    assert moved.missing == []
    return Path(moved.places[file.id])


def entry(work: Path, name: str, content: bytes = b"content", file_id: str = ID) -> FileRecord:
    path = work / f"{file_id}-{name}"
    path.write_bytes(content)
    return record(path, name, id=file_id)


def test_relative_paths_are_kept(disposer: Disposer, root: Path, work: Path) -> None:
    file = replace(entry(work, "a.csv"), name="line 7/today/a.csv")
    assert lay(disposer, file) == root / "done" / "line 7" / "today" / "a.csv"
    assert os.listdir(work) == []


def test_a_name_that_is_taken_is_never_overwritten(disposer: Disposer, root: Path, work: Path) -> None:
    (root / "done").mkdir()
    (root / "done" / "a.csv").write_bytes(b"older")
    path = lay(disposer, entry(work, "a.csv"))
    assert (root / "done" / "a.csv").read_bytes() == b"older"
    assert re.fullmatch(r"a-\d{8}T\d{9}Z-[0-9a-f]{8}\.csv", path.name)
    assert path.read_bytes() == b"content"


def test_two_of_one_name_in_one_batch(disposer: Disposer, root: Path, work: Path) -> None:
    files = [entry(work, "a.csv", b"%d" % number, f"{number:016}") for number in range(3)]
    disposals = [Disposal(file=file, outcome="done") for file in files]
    targets = disposer.plan(disposals)
    assert len(set(targets.values())) == 3
    moved = disposer.move(disposals, targets)
    assert {Path(place).read_bytes() for place in moved.places.values()} == {b"0", b"1", b"2"}


def test_a_name_that_is_taken_after_the_plan_is_put_off(disposer: Disposer, root: Path, work: Path) -> None:
    file = entry(work, "a.csv")
    disposals = [Disposal(file=file, outcome="failed")]
    targets = disposer.plan(disposals)
    (root / "failed").mkdir()
    (root / "failed" / "a.csv").write_bytes(b"somebody's")
    moved = disposer.move(disposals, targets)
    assert isinstance(moved.put_off[ID], FileExistsError)
    assert (root / "failed" / "a.csv").read_bytes() == b"somebody's"
    assert Path(file.place).read_bytes() == b"content"
    again = lay(disposer, file, "failed")
    assert again.name != "a.csv"
    assert not any(name.startswith(".") for name in os.listdir(root / "failed"))


def test_a_batch_of_many(disposer: Disposer, root: Path, work: Path) -> None:
    files = [entry(work, f"{number}.csv", b"%d" % number, f"{number:016}") for number in range(30)]
    disposals = [Disposal(file=file, outcome="failed" if number % 2 else "done") for number, file in enumerate(files)]
    moved = disposer.move(disposals, disposer.plan(disposals))
    assert len(moved.places) == 30
    assert len(os.listdir(root / "done")) == 15
    assert len(os.listdir(root / "failed")) == 30
    assert os.listdir(work) == []


def test_a_move_that_was_made_already_counts(disposer: Disposer, root: Path, work: Path) -> None:
    file = entry(work, "a.csv")
    disposals = [Disposal(file=file, outcome="done")]
    targets = disposer.plan(disposals)
    assert disposer.move(disposals, targets).places == targets
    assert disposer.move(disposals, targets).places == targets


def test_a_file_that_is_nowhere_is_missing(disposer: Disposer, work: Path) -> None:
    file = record(work / f"{ID}-a.csv", "a.csv")
    disposals = [Disposal(file=file, outcome="failed")]
    moved = disposer.move(disposals, disposer.plan(disposals))
    assert moved.missing == [file]
    assert moved.places == {}


def test_a_failed_file_whose_last_delivery_was_sent_goes_to_done_without_its_reason(
    disposer: Disposer, root: Path, work: Path
) -> None:
    failed = lay(disposer, replace(entry(work, "a.csv"), dead=1), "failed")
    assert (root / "failed" / "a.csv.reason.json").exists()
    done = lay(disposer, record(failed, "a.csv"))
    assert done == root / "done" / "a.csv"
    assert os.listdir(root / "failed") == []


def test_somebody_elses_reason_file_stays(disposer: Disposer, root: Path, work: Path) -> None:
    (root / "failed").mkdir()
    reason = root / "failed" / "a.csv.reason.json"
    reason.write_text('{"id": "another"}')
    path = lay(disposer, entry(work, "a.csv"), "failed")
    assert path.name != "a.csv"
    assert reason.read_text() == '{"id": "another"}'
    assert owner_of(reason_path(str(path))) == ID


def test_a_reason_that_a_crash_left_is_replaced(disposer: Disposer, root: Path, work: Path) -> None:
    (root / "failed").mkdir()
    (root / "failed" / "a.csv.reason.json").write_text(json.dumps({"id": ID}))
    path = lay(disposer, entry(work, "a.csv"), "failed")
    assert path.name == "a.csv"
    assert "sha256" in (root / "failed" / "a.csv.reason.json").read_text()


def test_a_file_that_fails_again_where_it_lies_has_its_reason_renewed(
    disposer: Disposer, root: Path, work: Path
) -> None:
    path = lay(disposer, entry(work, "a.csv"), "failed")
    file = record(path, "a.csv", reason="another reason", attempts=2)
    assert lay(disposer, file, "failed") == path
    reason = json.loads((root / "failed" / "a.csv.reason.json").read_text())
    assert (reason["reason"], reason["attempts"]) == ("another reason", 2)
    path.unlink()
    disposals = [Disposal(file=file, outcome="failed")]
    assert disposer.move(disposals, disposer.plan(disposals)).missing == [file]


def test_a_long_name(disposer: Disposer, root: Path, work: Path) -> None:
    name = "n" * 251 + ".csv"
    (work / ID).mkdir()
    (work / ID / name).write_bytes(b"content")
    path = lay(disposer, record(work / ID / name, name), "failed")
    assert path == root / "failed" / name
    assert os.listdir(work) == []
    reason = Path(reason_path(str(path)))
    assert reason.exists()
    assert len(reason.name) <= 255


@pytest.mark.skipif(os.getuid() != 0, reason="mounts")
def test_across_devices_a_verified_copy_and_then_the_source_goes(
    tmp_path: Path, work: Path, root: Path, folder_settings: Callable[..., FolderSettings]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(other)], check=True)
    try:
        settings = folder_settings(root, done=other / "done", failed=other / "failed")
        disposer = Disposer(settings, clock=SystemClock(), failpoints=Failpoints())
        good = entry(work, "a.csv", b"x" * 1000)
        os.utime(good.place, (1_000_000, 1_000_000))
        path = lay(disposer, good)
        assert path.read_bytes() == b"x" * 1000
        assert path.stat().st_mtime == 1_000_000
        assert os.listdir(work) == []

        large = entry(work, "large.csv", b"x" * 2_000_000)
        disposals = [Disposal(file=large, outcome="done")]
        moved = disposer.move(disposals, disposer.plan(disposals))
        assert "No space left" in str(moved.put_off[ID])
        assert Path(large.place).stat().st_size == 2_000_000
        assert os.listdir(other / "done") == ["a.csv"]

        changed = entry(work, "changed.csv", b"as claimed")
        Path(changed.place).write_bytes(b"not as claimed")
        disposals = [Disposal(file=changed, outcome="failed")]
        moved = disposer.move(disposals, disposer.plan(disposals))
        assert "not what was expected" in str(moved.put_off[ID])
        assert Path(changed.place).exists()
    finally:
        subprocess.run(["umount", "-l", str(other)], check=True)


def test_folders_that_cannot_be_made_put_the_move_off(
    tmp_path: Path, work: Path, root: Path, folder_settings: Callable[..., FolderSettings]
) -> None:
    (tmp_path / "file").touch()
    settings = folder_settings(root, done=root / "done", failed=tmp_path / "file" / "failed")
    disposer = Disposer(settings, clock=SystemClock(), failpoints=Failpoints())
    file = entry(work, "a.csv")
    disposals = [Disposal(file=file, outcome="failed")]
    moved = disposer.move(disposals, {ID: str(tmp_path / "file" / "failed" / "a.csv")})
    assert isinstance(moved.put_off[ID], OSError)
    assert Path(file.place).exists()


def test_what_a_reason_tells(work: Path) -> None:
    file = replace(
        entry(work, "a.csv"),
        name=os.fsdecode(b"b\xff.csv"),
        state=FileState.FAILED,
        reason="no header",
        error={"code": "DM-V012", "line": 3, "path": os.fsdecode(b"\xff")},
    )
    document = reason_document(file, 1_700_000_100.0)
    assert document["file"] == "b\\xff.csv"
    assert document["code"] == "DM-V012"
    assert document["line"] == 3
    assert document["failedAt"] == "2023-11-14T22:15:00.000Z"
    folder = os.open(work, os.O_RDONLY)
    staged = work / stage_reason(folder, file, 0.0)
    os.close(folder)
    json.loads(staged.read_text())  # an undecodable byte in it does no harm
    assert owner_of(str(staged)) == ID


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"id": 7}', b"{}"])
def test_a_file_that_is_no_reason_of_ours_has_no_owner(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "r").write_bytes(content)
    assert owner_of(str(tmp_path / "r")) is None
    assert owner_of(str(tmp_path / "none")) is None


def test_a_link_in_place_of_done_carries_nothing_away(
    disposer: Disposer, root: Path, work: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / "failed").mkdir()
    for link in (root / "done", root / "failed" / "sub"):
        link.symlink_to(outside)
    for file, outcome in (
        (entry(work, "a.csv"), "done"),
        (replace(entry(work, "b.csv", file_id="b" * 16), name="sub/b.csv"), "failed"),
    ):
        disposals = [Disposal(file=file, outcome=outcome)]
        moved = disposer.move(disposals, disposer.plan(disposals))
        assert isinstance(moved.put_off[file.id], OSError)
        assert Path(file.place).exists()
    assert os.listdir(outside) == []


def test_a_folder_that_the_admin_named_may_be_a_link(
    root: Path, work: Path, tmp_path: Path, folder_settings: Callable[..., FolderSettings]
) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "archive")
    settings = folder_settings(root, done=tmp_path / "link" / "new" / "done")
    disposer = Disposer(settings, clock=SystemClock(), failpoints=Failpoints())
    lay(disposer, entry(work, "a.csv"))
    assert (tmp_path / "archive" / "new" / "done" / "a.csv").exists()
