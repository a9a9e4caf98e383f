"""The SQLite engine keeps every promise of the store protocol."""

from __future__ import annotations

from pathlib import Path

from dropmill.config.settings import QueueSettings
from dropmill.foundation.clock import Clock
from dropmill.foundation.failpoints import Failpoints
from dropmill.queue.sqlite import SqliteStore
from dropmill.testing.store_suite import store_suite


def sqlite_store(place: Path, settings: QueueSettings, *, clock: Clock, instance: str) -> SqliteStore:
    return SqliteStore(place / "state", settings, clock=clock, failpoints=Failpoints(), instance=instance)


class TestSqliteStore(store_suite(sqlite_store)):
    pass
