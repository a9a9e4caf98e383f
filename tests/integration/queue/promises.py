"""What a process that is no more had been told by its queue, and whether the queue holds to it."""

from __future__ import annotations

import sqlite3
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from dropmill.foundation.clock import SystemClock
from dropmill.foundation.failpoints import Failpoints
from dropmill.queue.reader import QueueReader
from dropmill.queue.sqlite import SqliteStore

sys.path.insert(0, str(Path(__file__).parent))

import life


class Promises:
    """What a killed process had been told."""

    def __init__(self) -> None:
        self.queued: dict[tuple[str, str], int] = {}
        self.sent: set[tuple[str, str]] = set()
        self.sending: set[tuple[str, str]] = set()
        """Handed out: an acknowledgement may have been committed without anybody being told."""
        self.claimed: set[str] = set()
        self.published: set[str] = set()

    def hear(self, output: bytes) -> None:
        for line in output.decode().splitlines():
            word, *rest = line.split()
            if word == "queued":
                self.queued[rest[0], rest[1]] = int(rest[2])
            elif word == "sent":
                self.sent.add((rest[0], rest[1]))
            elif word == "sending":
                self.sending.add((rest[0], rest[1]))
            elif word == "claimed":
                self.claimed.add(rest[0])
            elif word == "published":
                self.published.add(rest[0])


def rows(state: Path) -> dict[tuple[str, str], str]:
    with closing(sqlite3.connect(state / "queue.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return {
            (uid, lane): found
            for uid, lane, found in connection.execute(
                "SELECT r.uid, d.lane, d.state FROM delivery d JOIN report r ON r.no = d.report"
            )
        }


def check_counts(state: Path) -> None:
    """The counts that are kept with every commit are those of the rows."""
    reader = QueueReader(state)
    status = reader.status()
    reader.close()
    with closing(sqlite3.connect(state / "queue.db")) as connection:
        files = Counter(dict(connection.execute("SELECT state, count(*) FROM file GROUP BY state").fetchall()))
        lanes: dict[str, Any] = {}
        for lane, found, count, size in connection.execute(
            "SELECT lane, state, count(*), sum(size) FROM delivery GROUP BY lane, state"
        ):
            counts = lanes.setdefault(lane, Counter())
            counts[found] = count
            counts["bytes"] += size if found in ("ready", "leased", "delayed") else 0
        pending = connection.execute(
            "SELECT count(*) FROM file WHERE pending <> (SELECT count(*) FROM delivery WHERE delivery.file = file.no"
            " AND state IN ('ready', 'leased', 'delayed')) OR dead <> (SELECT count(*) FROM delivery"
            " WHERE delivery.file = file.no AND state = 'dead')"
        ).fetchone()
    assert pending == (0,)
    assert {name: count for name, count in status["files"].items() if count} == files
    for lane, counts in lanes.items():
        assert {name: count for name, count in status["deliveries"][lane].items() if count} == +counts


async def check(state: Path, promises: Promises) -> None:
    """Restart, and hold the store to what was promised; then drain it."""
    store = SqliteStore(
        state,
        life.SETTINGS,
        clock=SystemClock(),
        failpoints=Failpoints(),
        instance="check",
        free_disk=lambda _: 1 << 40,
    )
    await store.open()
    try:
        found = rows(state)
        check_counts(state)
        assert store.gauges.leased == store.gauges.converting == 0
        for pair, size in promises.queued.items():
            # Retention may have forgotten what was sent and laid down; nothing else may be missing.
            assert pair in found or pair in promises.sent | promises.sending, (pair, size)
        for pair in promises.sent:
            assert found.get(pair, "sent") == "sent", pair
        known = {record.id for record in await store.live_files("inbox", limit=100_000)}
        with closing(sqlite3.connect(state / "queue.db")) as connection:
            known |= {row[0] for row in connection.execute("SELECT id FROM file")}
            removed = {
                row[0] for row in connection.execute("SELECT subject FROM event WHERE name = 'file.removed'").fetchall()
            }
        assert not (promises.published & removed)
        dead = [pair for pair, found_state in found.items() if found_state == "dead"]
        again = set()
        for lane in "ab":
            while leases := (await store.claim(lane, 50)).leases:
                for lease in leases:
                    payload = b"".join([piece async for piece in store.read(lease, 65_536)])
                    assert payload == life.body_of(lease.report_id, lease.size)
                    again.add((lease.report_id, lane))
                await store.acknowledge(leases, [{}] * len(leases))
        assert not (again & promises.sent), "acknowledged, and sent again"
        reader = QueueReader(state)
        for delivery in reader.deliveries(limit=1000)["items"]:
            assert delivery["code"] != "DM-Q008"
        for uid, _ in dead[:20]:
            payload = reader.payload(uid)
            assert payload is not None, "a dead letter keeps its payload"
        reader.close()
        while await store.maintain():
            pass
        with closing(sqlite3.connect(state / "queue.db")) as connection:
            kept = connection.execute(
                "SELECT count(*) FROM report WHERE tier <> 'gone' AND no NOT IN"
                " (SELECT report FROM delivery WHERE state NOT IN ('sent', 'dropped'))"
            ).fetchone()
            blobs = connection.execute(
                "SELECT count(*) FROM blob WHERE report NOT IN (SELECT no FROM report WHERE tier = 'row')"
            ).fetchone()
        assert kept == blobs == (0,), "payloads that nobody needs were given back"
    finally:
        await store.close(clean=True)
    check_counts(state)
    promises.sent |= again
