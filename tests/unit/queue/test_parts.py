"""The small parts of the SQLite engine: columns, counts, payload tiers, the file format, the group's thread."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
import struct
from contextlib import closing
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from dropmill.config.settings import QueueSettings
from dropmill.foundation.clock import SystemClock
from dropmill.foundation.failpoints import Failpoints
from dropmill.queue.capacity import Capacity, Marks
from dropmill.queue.errors import NotHeld, StoreClosed, StoreUnavailable
from dropmill.queue.records import FileIdentity, NewReport
from dropmill.queue.sqlite import schema
from dropmill.queue.sqlite.ballast import Ballast
from dropmill.queue.sqlite.codec import code_of, dump, dump_identity, load, load_identity, pack, unpack
from dropmill.queue.sqlite.engine import Engine
from dropmill.queue.sqlite.ledger import Ledger
from dropmill.queue.sqlite.operation import Group, Operation
from dropmill.queue.sqlite.pages import Database
from dropmill.queue.sqlite.payloads import Payloads
from dropmill.queue.sqlite.writer import Writer

# --- columns -----------------------------------------------------------------------------------------------------------------

names = st.binary(max_size=40).map(lambda data: data.decode("utf-8", "surrogateescape"))


@given(names)
def test_names_come_back_byte_for_byte(name: str) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        (column,) = connection.execute("SELECT ?", (pack(name),)).fetchone()
    assert unpack(column) == name


@given(st.dictionaries(st.text(), st.none() | st.integers(-(2**90), 2**90) | st.text() | st.booleans() | names))
def test_json_comes_back(value: dict[str, Any]) -> None:
    assert load(dump(value)) == value


def test_json_takes_what_records_are_made_of() -> None:
    assert load(dump({"path": Path("/x"), "error": {"when": None}})) == {"path": "/x", "error": {"when": None}}
    assert load(None) is None
    assert dump({}) == "{}"
    assert dump([]) == "[]"
    assert code_of(None) is code_of({}) is None
    assert code_of({"code": 7}) == "7"


def test_identities_may_exceed_64_bits_signed() -> None:
    identity = FileIdentity(2**62, -1, 2**62, 2**64 - 1, 2**64 - 1)
    assert load_identity(dump_identity(identity)) == identity


# --- capacity ----------------------------------------------------------------------------------------------------------------


def test_marks_are_whole_and_in_order() -> None:
    marks = Marks.of(QueueSettings(max_items=3, max_bytes=10, high_water=0.5, low_water=0.9))
    assert (marks.high_items, marks.low_items, marks.high_bytes, marks.low_bytes) == (1, 1, 5, 5)
    assert Marks.of(QueueSettings(max_items=1)).high_items == 1


def test_what_does_not_fit_says_why() -> None:
    capacity = Capacity(QueueSettings(max_items=10, max_bytes=100, max_dead=5, min_free_disk=50))
    assert capacity.lacks(9, 90, 4, 1, 10) == ""
    assert "10 of 10 items" in capacity.lacks(10, 0, 0, 1, 0)
    assert "95 of 100 bytes" in capacity.lacks(0, 95, 0, 1, 6)
    assert "5 dead letters" in capacity.lacks(0, 0, 5, 1, 0)
    capacity.free_disk = 55
    assert "55 bytes are free" in capacity.lacks(0, 0, 0, 1, 6)
    capacity.ballast = False
    assert capacity.disk_lacks(0)


# --- counts ------------------------------------------------------------------------------------------------------------------


def test_counts_of_a_rolled_back_transaction_are_taken_back() -> None:
    ledger = Ledger()
    ledger.delivery("out", "inbox", None, "ready", 10)
    ledger.committed()
    before = dict(ledger.total)
    ledger.delivery("out", "inbox", "ready", "leased", 10)
    ledger.delivery("new", None, None, "dead", 3)
    ledger.file("inbox", None, "claimed")
    ledger.rolled_back()
    assert {name: count for name, count in ledger.total.items() if count} == {
        name: count for name, count in before.items() if count
    }
    assert ledger.folders() == {"inbox": 1}


def test_counts_are_counted_anew_from_the_rows() -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        schema.create(connection)
        ledger = Ledger()
        ledger.recount(connection)
        ledger.save(connection)
        ledger.committed()
        assert ledger.total["items"] == 0
        assert connection.execute("SELECT count(*) FROM tally").fetchone() == (1,)


# --- payloads ----------------------------------------------------------------------------------------------------------------


def report(body: bytes | None, *, size: int | None = None, staged: Path | None = None) -> NewReport:
    data = body if body is not None else (staged.read_bytes() if staged else b"")
    return NewReport(
        uid="r",
        media_type="text/plain",
        schema=None,
        fields={},
        body=body,
        staged=None if staged is None else str(staged),
        size=len(data) if size is None else size,
        sha256=hashlib.sha256(data).hexdigest(),
        lanes=("out",),
    )


def test_a_report_must_say_the_truth_about_its_size(tmp_path: Path) -> None:
    payloads = Payloads(tmp_path, Failpoints())
    payloads.open([], ())
    with pytest.raises(ValueError, match="says 5 bytes"):
        payloads.place(report(b"1234", size=5))
    with pytest.raises(ValueError, match="neither"):
        payloads.place(report(None))
    payloads.close()


def test_a_staged_file_is_linked_or_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    payloads = Payloads(tmp_path / "state", Failpoints())
    (tmp_path / "state").mkdir()
    payloads.open([], ())
    staged = tmp_path / "staged"
    staged.write_bytes(b"z" * (33 * 1024 * 1024))
    linked = payloads.place(report(None, staged=staged))
    assert linked.tier == "file"
    assert (tmp_path / "state" / "payloads" / str(linked.name)).stat().st_ino == staged.stat().st_ino

    def refuse(*_arguments: Any, **_named: Any) -> None:
        raise OSError(18, "cross-device")

    monkeypatch.setattr("os.link", refuse)
    copied = payloads.place(report(None, staged=staged))
    assert (tmp_path / "state" / "payloads" / str(copied.name)).stat().st_ino != staged.stat().st_ino
    assert copied.crc == linked.crc
    payloads.discard(copied)
    payloads.committed(linked)
    assert not staged.exists()
    assert [entry.name for entry in (tmp_path / "state" / "payloads").iterdir()] == [linked.name]
    payloads.close()
    again = Payloads(tmp_path / "state", Failpoints())
    again.open([], ())
    assert not list((tmp_path / "state" / "payloads").iterdir()), "what no row names is swept"
    again.close()


def test_a_payload_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    for point in ("queue.payload.written", "queue.payload.synced"):
        payloads = Payloads(tmp_path, Failpoints(f"{point}=error:EIO"))
        payloads.open([], ())
        with pytest.raises(OSError, match=point):
            payloads.place(report(b"z" * (33 * 1024 * 1024)))
        assert not list((tmp_path / "payloads").iterdir())
        payloads.close()


def test_a_payload_that_is_gone_or_cut_short_is_an_error(tmp_path: Path) -> None:
    payloads = Payloads(tmp_path, Failpoints())
    payloads.open([], ())
    (tmp_path / "payloads" / "short").write_bytes(b"12")
    for arguments in (("gone", None, None, None), ("file", None, None, "short"), ("segment", 1, 0, None)):
        with pytest.raises(OSError, match=r"."):
            list(payloads.pieces(*arguments, 3, 2))
    payloads.free("file", None, "nobody")
    payloads.close()


def test_ballast_is_really_there(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path / "ballast", 1_000_000)
    assert not ballast.make(999_999)
    assert ballast.make(1_000_000)
    assert (tmp_path / "ballast").stat().st_blocks * 512 >= 1_000_000
    assert ballast.make(0), "it is there"
    assert ballast.free()
    assert not ballast.free()
    assert not Ballast(tmp_path / "nowhere" / "ballast").make(1 << 40)
    assert not Ballast(tmp_path / "file" / "ballast").free()


# --- the file format ---------------------------------------------------------------------------------------------------------


def written(path: Path, size: int = 4096) -> dict[int, tuple[Any, ...]]:
    """A database of odd rows; what it holds."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA page_size = {size}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE t (no INTEGER PRIMARY KEY, a, b, c)")
    connection.execute("CREATE TABLE w (k TEXT PRIMARY KEY, v) WITHOUT ROWID")
    values = [
        None,
        0,
        1,
        -1,
        127,
        -129,
        40_000,
        2**23 + 5,
        -(2**31),
        2**40,
        -(2**62),
        1.5,
        -0.0,
        "",
        "text",
        "ä",
        b"",
        b"\0" * 9,
    ]
    connection.execute("BEGIN")
    for number in range(1, 400):
        row = (values[number % len(values)], "x" * (number * 37 % 6000), values[(number * 7) % len(values)])
        connection.execute("INSERT INTO t VALUES (?, ?, ?, ?)", (number * 3, *row))
        connection.execute("INSERT INTO w VALUES (?, ?)", (f"key{number:04}", number))
    connection.execute("COMMIT")
    connection.execute("DELETE FROM t WHERE no % 5 = 0")
    rows = {row[0]: row[1:] for row in connection.execute("SELECT * FROM t")}
    connection.close()
    return rows


@pytest.mark.parametrize("size", [512, 4096, 65_536])
def test_a_database_is_read_without_sqlite(tmp_path: Path, size: int) -> None:
    rows = written(tmp_path / "d.db", size)
    with Database.load(tmp_path / "d.db") as database:
        roots = database.roots()
        found = {row.key: tuple(row.columns[1:]) for row in database.tree(roots["t"])}
        assert found == rows
        assert [row.columns[1] for row in database.tree(roots["w"])].__len__() == 399
        assert not database.bad


def test_the_log_is_read_up_to_its_last_commit(tmp_path: Path) -> None:
    path = tmp_path / "d.db"
    keeper = sqlite3.connect(path, isolation_level=None)
    keeper.execute("PRAGMA journal_mode = WAL")
    keeper.execute("CREATE TABLE t (no INTEGER PRIMARY KEY, a)")
    keeper.execute("INSERT INTO t VALUES (1, 'committed')")
    for kind in ("whole", "torn", "foreign"):
        copy = tmp_path / f"{kind}.db"
        copy.write_bytes(path.read_bytes())
        log = bytearray((tmp_path / "d.db-wal").read_bytes())
        if kind == "torn":
            log[-10] ^= 1
        if kind == "foreign":
            log[:4] = b"none"
        copy.with_name(f"{kind}.db-wal").write_bytes(log)
        with Database.load(copy) as database:
            roots = database.roots()
            rows = list(database.tree(roots["t"])) if "t" in roots else None
        expected = {"whole": 1, "torn": 0, "foreign": None}[kind]
        assert (None if rows is None else len(rows)) == expected
    keeper.close()


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_no_garbage_makes_reading_fail(data: Any) -> None:
    content = bytearray(_CONTENT)
    for _ in range(data.draw(st.integers(1, 40))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    database = Database(bytes(content[:cut]), {}, 512, 512)
    roots = database.roots()
    for root in roots.values():
        list(database.tree(root))
    database.free_pages()
    for number in range(database.pages + 2):
        database.leaf(number)


def _content() -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        written(Path(folder) / "d.db", 512)
        return (Path(folder) / "d.db").read_bytes()


_CONTENT = _content()


def test_an_empty_or_missing_file_has_no_pages(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.db", tmp_path / "empty.db"):
        if path.name == "empty.db":
            path.touch()
        path.with_name(f"{path.name}-wal").write_bytes(struct.pack(">8I", 0x377F0682, 3007000, 4096, 0, 1, 2, 3, 4))
        with Database.load(path) as database:
            assert (database.pages, database.roots()) == (0, {})


# --- the thread --------------------------------------------------------------------------------------------------------------


class Counting(Engine):
    """An engine that remembers the size of its groups, and may break."""

    def __init__(self, state: Path, failpoints: str = "") -> None:
        super().__init__(
            state,
            QueueSettings(),
            clock=SystemClock(),
            failpoints=Failpoints(failpoints),
            instance="test",
            free_disk=lambda _: 1 << 40,
            listening=False,
        )
        self.groups: list[int] = []

    def run(self, operations: Any) -> Group:
        self.groups.append(len(operations))
        return super().run(operations)


def working(engine: Engine) -> tuple[Writer, list[Operation]]:
    from concurrent.futures import Future

    answered: list[Operation] = []
    writer = Writer(engine, lambda operations, _group: answered.extend(operations), name="test-writer")
    opened: Future[Any] = Future()
    writer.start(opened)
    opened.result(10)
    return writer, answered


def test_what_comes_while_a_group_is_synced_is_the_next_group(tmp_path: Path) -> None:
    engine = Counting(tmp_path / "state", "queue.group.prepared=delay:0.3@1")
    writer, answered = working(engine)
    writer.submit(Operation(lambda _tx: 0))
    while not engine.groups:
        pass
    for number in range(150):
        writer.submit(Operation(lambda _tx, number=number: number))
    writer.stop()
    assert writer.join(10)
    assert engine.groups == [1, 64, 64, 22]
    assert [operation.result for operation in answered] == [0, *range(150)]
    late = Operation(lambda _tx: 0)
    writer.submit(late)
    assert isinstance(late.error, StoreClosed)


def test_a_group_is_bounded_in_bytes(tmp_path: Path) -> None:
    engine = Counting(tmp_path / "state", "queue.group.prepared=delay:0.3@1")
    writer, _ = working(engine)
    writer.submit(Operation(lambda _tx: 0))
    while not engine.groups:
        pass
    for _ in range(6):
        writer.submit(Operation(lambda _tx: 0, size=2_000_000))
    writer.stop()
    assert writer.join(10)
    assert engine.groups == [1, 3, 3]


def test_an_engine_that_breaks_answers_all_the_same(tmp_path: Path) -> None:
    class Breaking(Counting):
        def run(self, operations: Any) -> Group:
            if len(self.groups) == 0:
                self.groups.append(1)
                raise RuntimeError("a defect")
            return super().run(operations)

    writer, answered = working(Breaking(tmp_path / "state"))
    ended: list[int] = []
    writer.submit(Operation(lambda _tx: 0, ended=lambda: ended.append(1)))
    while not ended:
        pass
    writer.submit(Operation(lambda _tx: 5))
    writer.stop()
    assert writer.join(10)
    assert isinstance(answered[0].error, StoreUnavailable)
    assert answered[1].result == 5


def test_a_refusal_after_a_change_takes_the_change_back(tmp_path: Path) -> None:
    def bad(tx: Any) -> None:
        tx.execute("INSERT INTO lane VALUES ('half', 1)")
        raise NotHeld("too late")

    def worse(tx: Any) -> None:
        tx.event("x", "y", {})
        raise NotHeld("too late")

    engine = Engine(
        tmp_path / "state",
        QueueSettings(),
        clock=SystemClock(),
        failpoints=Failpoints(),
        instance="test",
        free_disk=lambda _: 1 << 40,
        listening=True,
    )
    engine.open()
    for refusing in (bad, worse):
        operations = [
            Operation(lambda tx: tx.execute("INSERT OR IGNORE INTO lane VALUES ('good', 1)") and None),
            Operation(refusing),
            Operation(lambda tx: tx.execute("SELECT name FROM lane").fetchall()),
        ]
        group = engine.run(operations)
        assert isinstance(operations[1].error, NotHeld)
        assert operations[2].result == [("good",)]
        assert not group.notices
    engine.close(clean=True)


async def test_work_goes_on_over_many_checkpoints(bench: Any) -> None:
    async with bench.store() as store:
        engine = store._engine
        checkpoints = 0
        original = engine.checkpoint

        def counted() -> None:
            nonlocal checkpoints
            checkpoints += 1
            original()

        engine.checkpoint = counted
        engine._commits_allowed = 5
        for index in range(40):
            await store.offer([bench.report(f"r{index}", b"x" * 15_000)])
        assert checkpoints >= 1
        assert store.gauges.items == 40


async def test_a_quiet_store_copies_its_log(bench: Any) -> None:
    async with bench.store() as store:
        await asyncio.gather(*(store.offer([bench.report(f"r{index}")]) for index in range(10)))
        deadline = asyncio.get_running_loop().time() + 10
        while store._engine.wrote:
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.05)
        assert (bench.state / "queue.db-wal").stat().st_size > 15_000_000, "it has taken its room ahead"
        with closing(sqlite3.connect(f"file:{bench.state}/queue.db?immutable=1", uri=True)) as connection:
            assert connection.execute("SELECT count(*) FROM delivery").fetchone() == (10,)
        assert await store.offer([bench.report("later")]) == ["queued"]
