"""The journal and the disk brought into line, case by case."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from dropmill.config.settings import FolderSettings
from dropmill.foundation.clock import SystemClock
from dropmill.foundation.failpoints import Failpoints
from dropmill.foundation.ids import IdSource
from dropmill.intake.errors import FolderOffline
from dropmill.intake.recovery import Recovered, Recovery
from dropmill.intake.root import Root
from dropmill.intake.settle import identity_of, stamp_of
from dropmill.intake.thread import RootThread
from dropmill.queue.records import FileRecord, NewFile
from dropmill.queue.sqlite import SqliteStore

Settings = Callable[..., FolderSettings]


class Bench:
    """A folder, its journal, and no agent."""

    def __init__(self, root: Path, store: SqliteStore, clock: SystemClock, ids: IdSource, settings: Settings) -> None:
        self.path = root
        self.work = root / ".dropmill" / "work"
        self.root = Root(str(root), instance="test", clock=clock)
        self.root.attach()
        self.store = store
        self.clock = clock
        self.ids = ids
        self.settings = settings
        self.thread = RootThread("recovery", clock)

    async def row(self, name: str, content: bytes = b"content", *, confirmed: bool = False, **changes: Any) -> NewFile:
        """A row for a file that lies in the inbox."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        file_id = self.ids.new()
        values: dict[str, Any] = {
            "id": file_id,
            "folder": "inbox",
            "name": name,
            "place": str(self.work / f"{file_id}-{path.name}"),
            "origin": str(path),
            "identity": identity_of(stamp_of(path.stat())),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        row = NewFile(**{**values, **changes})
        await self.store.add_files([row])
        if confirmed:
            await self.store.confirm_files([row.id])
        return row

    async def moved(self, name: str, content: bytes = b"content", *, confirmed: bool = False) -> NewFile:
        """The same, moved into work/."""
        row = await self.row(name, content, confirmed=confirmed)
        os.rename(row.origin, row.place)
        return row

    def recovery(self, **changes: Any) -> Recovery:
        return Recovery(
            self.settings(self.path, **changes),
            self.root,
            self.store,
            self.thread,
            clock=self.clock,
            failpoints=Failpoints(),
        )

    async def recover(self, **changes: Any) -> Recovered:
        return await self.recovery(**changes).run()

    async def known(self, row: NewFile) -> FileRecord:
        return next(file for file in await self.store.known_content("inbox", row.sha256) if file.id == row.id)

    async def gone(self, row: NewFile) -> bool:
        return row.id not in {file.id for file in await self.store.known_content("inbox", row.sha256)}

    def inbox(self) -> list[str]:
        return sorted(entry.name for entry in self.path.iterdir() if entry.is_file())


@pytest.fixture
async def bench(
    root: Path, store: SqliteStore, clock: SystemClock, ids: IdSource, folder_settings: Settings
) -> AsyncIterator[Bench]:
    bench = Bench(root, store, clock, ids, folder_settings)
    yield bench
    bench.thread.close()
    bench.root.detach()


async def test_nothing_to_do(bench: Bench) -> None:
    recovered = await bench.recover()
    assert not recovered


async def test_a_claim_that_was_moved_is_confirmed(bench: Bench) -> None:
    row = await bench.moved("a.csv")
    recovered = await bench.recover()
    assert recovered.confirmed == [row.id]
    assert [file.id for file in await bench.store.next_files(9)] == [row.id]


async def test_a_claim_that_was_not_moved_is_undone(bench: Bench) -> None:
    row = await bench.row("a.csv")
    recovered = await bench.recover()
    assert recovered.undone == [row.id]
    assert await bench.gone(row)
    assert bench.inbox() == ["a.csv"]


async def test_a_claim_whose_file_was_taken_away_is_undone(bench: Bench) -> None:
    row = await bench.row("a.csv")
    (bench.path / "a.csv").unlink()
    assert (await bench.recover()).undone == [row.id]
    assert await bench.gone(row)


async def test_a_file_that_changed_on_its_way_is_put_back(bench: Bench) -> None:
    row = await bench.moved("a.csv")
    Path(row.place).write_bytes(b"changed")
    (bench.path / "a.csv").write_bytes(b"a new one")
    assert (await bench.recover()).undone == [row.id]
    assert await bench.gone(row)
    contents = sorted((bench.path / name).read_bytes() for name in bench.inbox())
    assert contents == [b"a new one", b"changed"]
    assert (bench.path / "a.csv").read_bytes() == b"a new one"


@pytest.mark.parametrize("changes", [{"duplicates": "skip"}, {"duplicates": "quarantine"}])
async def test_where_a_policy_must_decide_the_file_is_put_back_to_be_decided_anew(
    bench: Bench, changes: dict[str, Any]
) -> None:
    row = await bench.moved("sub/a.csv")
    (bench.path / "sub").rmdir()
    assert (await bench.recover(**changes)).undone == [row.id]
    assert bench.inbox() == ["a.csv"]


async def test_an_empty_file_that_waits_by_policy_is_put_back(bench: Bench) -> None:
    row = await bench.moved("a.csv", b"")
    assert (await bench.recover()).undone == [row.id]
    row = await bench.moved("a.csv", b"")
    assert (await bench.recover(zero_byte="take")).confirmed == [row.id]


async def test_a_copy_whose_source_is_still_there_is_removed(bench: Bench) -> None:
    row = await bench.row("a.csv")
    Path(row.place).write_bytes(b"content")
    assert (await bench.recover()).undone == [row.id]
    assert os.listdir(bench.work) == []
    assert bench.inbox() == ["a.csv"]


async def test_a_long_name_that_is_put_back_leaves_no_folder(bench: Bench) -> None:
    name = "n" * 251 + ".csv"
    row = await bench.row(name)
    place = bench.work / row.id / name
    place.parent.mkdir()
    os.rename(row.origin, place)
    await bench.store.remove_files([row.id], "test")
    recovered = await bench.recover()
    assert recovered.returned == [str(bench.path / name)]
    assert os.listdir(bench.work) == []


async def test_a_move_that_the_disk_lost_is_made_again(bench: Bench) -> None:
    row = await bench.row("a.csv", confirmed=True)
    assert not (await bench.recover()).missing
    assert Path(row.place).read_bytes() == b"content"
    assert bench.inbox() == []


async def test_a_move_to_done_that_had_happened_is_put_on_record(bench: Bench) -> None:
    row = await bench.moved("a.csv", confirmed=True)
    target = bench.path / "done" / "a.csv"
    target.parent.mkdir()
    await bench.store.start_conversions([row.id])
    await bench.store.publish(row.id, [], converter="test 1")
    await bench.store.plan_disposals({row.id: str(target)})
    os.rename(row.place, target)
    assert (await bench.recover()).laid == [row.id]
    assert (await bench.known(row)).place == str(target)


async def test_a_move_that_had_not_happened_is_planned_anew(bench: Bench) -> None:
    row = await bench.moved("a.csv", confirmed=True)
    await bench.store.start_conversions([row.id])
    await bench.store.publish(row.id, [], converter="test 1")
    await bench.store.plan_disposals({row.id: str(bench.path / "done" / "a.csv")})
    assert await bench.store.next_disposals(9) == []
    await bench.recover()
    (disposal,) = await bench.store.next_disposals(9)
    assert disposal.file.id == row.id


async def test_a_copy_to_another_device_whose_source_is_still_there_counts_as_moved(bench: Bench) -> None:
    row = await bench.moved("a.csv", confirmed=True)
    target = bench.path / "done" / "a.csv"
    target.parent.mkdir()
    await bench.store.start_conversions([row.id])
    await bench.store.publish(row.id, [], converter="test 1")
    await bench.store.plan_disposals({row.id: str(target)})
    target.write_bytes(b"content")
    assert (await bench.recover()).laid == [row.id]
    assert os.listdir(bench.work) == []
    assert target.read_bytes() == b"content"


async def test_a_file_found_elsewhere_is_relocated(bench: Bench) -> None:
    row = await bench.moved("sub/a.csv", confirmed=True)
    place = bench.path / "failed" / "sub" / "a.csv"
    place.parent.mkdir(parents=True)
    os.rename(row.place, place)
    assert (await bench.recover()).relocated == [row.id]
    assert (await bench.known(row)).place == str(place)


async def test_a_file_restored_from_a_backup_is_known_by_its_content(bench: Bench) -> None:
    row = await bench.moved("a.csv", confirmed=True)
    place = bench.path / "done" / "a.csv"
    place.parent.mkdir()
    place.write_bytes(b"content")
    Path(row.place).unlink()
    assert (await bench.recover()).relocated == [row.id]


async def test_another_file_of_the_same_size_is_not_it(bench: Bench) -> None:
    row = await bench.moved("a.csv", confirmed=True)
    place = bench.path / "done" / "a.csv"
    place.parent.mkdir()
    place.write_bytes(b"CONTENT")
    Path(row.place).unlink()
    assert (await bench.recover()).missing == [row.id]


async def test_a_file_that_is_nowhere_is_told_of_and_its_row_stays(bench: Bench) -> None:
    rows = [await bench.moved(f"{number}.csv", b"%d" % number, confirmed=True) for number in range(3)]
    for row in rows:
        Path(row.place).unlink()
    recovered = await bench.recover()
    assert sorted(recovered.missing) == sorted(row.id for row in rows)
    assert [problem.code for problem in recovered.problems] == ["DM-I014"]
    assert not await bench.gone(rows[0])


async def test_what_has_no_row_goes_back_and_what_is_not_ours_stays(bench: Bench) -> None:
    (bench.work / "0123456789abcdef-a.csv").write_bytes(b"one")
    (bench.work / "0123456789abcdee-a.csv").write_bytes(b"two")
    (bench.work / "0123456789abcded").mkdir()
    (bench.work / "not ours").write_bytes(b"?")
    (bench.work / ".0123456789abcdef.part").write_bytes(b"half")
    (bench.work / ".hidden").write_bytes(b"?")
    recovered = await bench.recover()
    assert sorted((bench.path / name).read_bytes() for name in bench.inbox()) == [b"one", b"two"]
    assert "a.csv" in bench.inbox()
    assert len(recovered.returned) == 2
    assert [problem.code for problem in recovered.problems] == ["DM-I015"]
    assert sorted(os.listdir(bench.work)) == [".hidden", "not ours"]


async def test_many_pages(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dropmill.intake.recovery._PAGE", 3)
    moved = [await bench.moved(f"{number}.csv", b"%d" % number) for number in range(10)]
    confirmed = [await bench.moved(f"c{number}.csv", b"c%d" % number, confirmed=True) for number in range(10)]
    recovered = await bench.recover()
    assert sorted(recovered.confirmed) == sorted(row.id for row in moved)
    assert recovered.returned == []
    assert len(os.listdir(bench.work)) == len(moved) + len(confirmed)


async def test_a_root_on_another_device_without_its_files_is_refused(bench: Bench) -> None:
    await bench.recovery().check_known(bench.root.device + 1)  # nothing is known of it yet
    row = await bench.moved("a.csv", confirmed=True)
    await bench.recovery().check_known(None)
    await bench.recovery().check_known(bench.root.device + 1)  # its file is there: only the device's number has changed
    Path(row.place).unlink()
    await bench.recovery().check_known(bench.root.device)  # made anew
    with pytest.raises(FolderOffline) as caught:
        await bench.recovery().check_known(bench.root.device + 1)
    assert caught.value.code == "DM-I006"


async def test_rows_of_other_folders_and_submitted_ones_are_left_alone(bench: Bench, tmp_path: Path) -> None:
    other = await bench.row("b.csv", folder="other")
    submitted = await bench.row("c.csv", place=str(tmp_path / "state" / "submitted" / "c.csv"))
    recovered = await bench.recover()
    assert not recovered
    assert {file.id for file in await bench.store.unconfirmed_files()} == {other.id, submitted.id}
    await asyncio.sleep(0)
