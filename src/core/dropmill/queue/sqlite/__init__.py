"""The queue on SQLite, the default engine."""

from __future__ import annotations

from dropmill.queue.sqlite.store import Audit, SqliteStore

__all__ = ["Audit", "SqliteStore"]
