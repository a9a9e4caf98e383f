"""Stores to break: one place, a clock that only moves when told, failpoints, and a disk that says how full it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dropmill.config.settings import QueueSettings
from dropmill.foundation.clock import Clock
from dropmill.foundation.failpoints import Failpoints
from dropmill.queue.sqlite import SqliteStore
from dropmill.testing.store_suite import Bench


class SqliteBench(Bench):
    """The suite's bench, with what only a SQLite store has."""

    def __init__(self, place: Path) -> None:
        super().__init__(self._make, place)
        self.failpoints = ""
        self.free = 1 << 40
        self.events: list[tuple[str, str, Any]] = []

    def _make(self, place: Path, settings: QueueSettings, *, clock: Clock, instance: str) -> SqliteStore:
        return SqliteStore(
            place / "state",
            settings,
            clock=clock,
            failpoints=Failpoints(self.failpoints),
            instance=instance,
            on_event=lambda name, subject, data: self.events.append((name, subject, data)),
            free_disk=lambda _path: self.free,
        )

    def make(self, **settings: Any) -> SqliteStore:
        """A store that is not open."""
        return self._make(self.place, QueueSettings(**settings), clock=self.clock, instance="by hand")

    @property
    def state(self) -> Path:
        return self.place / "state"

    def told(self, name: str) -> list[Any]:
        """Data of the events of this name, as they were told."""
        return [data for known, _, data in self.events if known == name]


@pytest.fixture
def bench(tmp_path: Path) -> SqliteBench:
    return SqliteBench(tmp_path)
