"""Small facts that a restart must find again: what an operator has paused, why intake is closed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dropmill.queue.sqlite.codec import dump, load
from dropmill.queue.sqlite.transaction import Transaction

__all__ = ["all_flags", "set_flag"]


def all_flags(tx: Transaction) -> Mapping[str, Mapping[str, Any]]:
    return {
        name: {**load(value), "since": since}
        for name, value, since in tx.execute("SELECT name, value, since FROM flag")
    }


def set_flag(tx: Transaction, name: str, value: Mapping[str, Any] | None) -> None:
    """Set or (None) take back a flag."""
    if value is None:
        if tx.execute("DELETE FROM flag WHERE name = ?", (name,)).rowcount:
            tx.event(name, "flag.cleared", {})
    else:
        tx.execute("INSERT OR REPLACE INTO flag VALUES (?, ?, ?)", (name, dump(value), tx.now))
        tx.event(name, "flag.set", value)
