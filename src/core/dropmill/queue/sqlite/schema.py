"""The tables of `queue.db`, their version, and how a connection is set up.

A file has reports, a report has a payload and one delivery for each lane, a delivery has attempts; events tell of all of them.
`file.no`, `report.no` and `delivery.id` grow with age and are never used twice, so that every list is in the order of age by
its primary key. The indexes are chosen so that claiming costs the same at a thousand waiting items and at a million, and that
every list that people ask for is a range of one index.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from dropmill.queue.errors import SchemaTooNew

__all__ = ["CACHE_KIB", "TABLES", "VERSION", "check_version", "connect", "create", "grow_log", "log_of"]

VERSION = 1

TABLES = ("meta", "tally", "flag", "lane", "file", "report", "blob", "delivery", "attempt", "event")
"""In an order in which rows can be copied."""

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;

-- Counts by state, kept in the transactions that change them: kind is 'lane', 'folder' or 'total'.
CREATE TABLE tally (kind TEXT, name TEXT, counts TEXT NOT NULL, PRIMARY KEY (kind, name)) WITHOUT ROWID;

-- What an operator or the agent has set and a restart must find again (a paused lane, intake closed by a full queue).
CREATE TABLE flag (name TEXT PRIMARY KEY, value TEXT NOT NULL, since REAL NOT NULL) WITHOUT ROWID;

CREATE TABLE lane (name TEXT PRIMARY KEY, max_attempts INTEGER NOT NULL) WITHOUT ROWID;

CREATE TABLE file (
    no INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    folder TEXT NOT NULL,
    name NOT NULL,
    place NOT NULL,
    origin NOT NULL,
    state TEXT NOT NULL,
    reason NOT NULL DEFAULT '',
    confirmed INTEGER NOT NULL DEFAULT 0,
    live INTEGER NOT NULL DEFAULT 1,      -- lies in work/, or is being moved
    laid TEXT,                            -- where it came to lie: 'done' or 'failed'
    disposal TEXT,                        -- where it is to go: 'done' or 'failed'
    target,                               -- the path that a move under way leads to
    identity TEXT NOT NULL,
    size INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    occurrence INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    tags TEXT NOT NULL,
    claimed_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    not_before REAL NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    forced TEXT,                          -- the converter that it must go to
    converter TEXT,
    code TEXT,                            -- of the failure
    error TEXT,
    warnings TEXT,
    pending INTEGER NOT NULL DEFAULT 0,   -- deliveries not finished
    dead INTEGER NOT NULL DEFAULT 0,
    dropped INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX file_by_state ON file (folder, state);
CREATE INDEX file_by_content ON file (sha256);
CREATE INDEX file_by_name ON file (name);
CREATE INDEX file_live ON file (folder, id) WHERE live = 1;
CREATE INDEX file_at_rest ON file (updated_at) WHERE live = 0;
CREATE INDEX file_unconfirmed ON file (id) WHERE confirmed = 0;
CREATE INDEX file_next ON file (priority DESC, no) WHERE state = 'claimed' AND confirmed = 1;
CREATE INDEX file_converting ON file (no) WHERE state = 'converting';
CREATE INDEX file_parked ON file (reason) WHERE state = 'parked';
CREATE INDEX file_disposal ON file (no) WHERE disposal IS NOT NULL AND target IS NULL;

CREATE TABLE report (
    no INTEGER PRIMARY KEY,
    uid NOT NULL,
    revision INTEGER NOT NULL,
    file INTEGER,                         -- file.no; NULL: offered without a file
    ordinal INTEGER NOT NULL,
    media_type TEXT NOT NULL,
    schema TEXT,
    fields TEXT NOT NULL,
    size INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    crc INTEGER NOT NULL,                 -- of the payload
    seal INTEGER NOT NULL,                -- checksum of the columns above, apart from file and ordinal
    tier TEXT NOT NULL,                   -- 'row', 'segment', 'file'; 'gone' once nobody needs the payload
    segment INTEGER,
    place,                                -- offset in the segment, or name of its own file
    created_at REAL NOT NULL,
    UNIQUE (uid, revision)
);
CREATE INDEX report_by_file ON report (file) WHERE file IS NOT NULL;
CREATE INDEX report_by_segment ON report (segment) WHERE segment IS NOT NULL;
CREATE INDEX report_in_file ON report (no) WHERE tier = 'file';

-- Small payloads, apart: in the item's own row every change of state would rewrite them.
CREATE TABLE blob (report INTEGER PRIMARY KEY, data BLOB NOT NULL);

CREATE TABLE delivery (
    id INTEGER PRIMARY KEY,
    report INTEGER NOT NULL,
    file INTEGER,                         -- file.no
    lane TEXT NOT NULL,
    state TEXT NOT NULL,
    reason NOT NULL DEFAULT '',
    size INTEGER NOT NULL,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    next_at REAL NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    fence INTEGER NOT NULL DEFAULT 0,
    owner TEXT,
    code TEXT,                            -- of the last failure
    error TEXT,
    started_at REAL,                      -- of the attempt that succeeded
    receipt TEXT                          -- what the destination answered to it
);
CREATE INDEX delivery_by_state ON delivery (lane, state);
CREATE UNIQUE INDEX delivery_by_report ON delivery (report, lane);
CREATE INDEX delivery_due ON delivery (lane, next_at) WHERE state = 'delayed';

-- One row for each lease that ended in vain: the fence counts the leases of a delivery.
CREATE TABLE attempt (
    delivery INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    started_at REAL NOT NULL,
    ended_at REAL NOT NULL,
    outcome TEXT NOT NULL,
    answer TEXT NOT NULL,
    PRIMARY KEY (delivery, fence)
) WITHOUT ROWID;

CREATE TABLE event (
    seq INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    subject NOT NULL,
    name TEXT NOT NULL,
    data TEXT NOT NULL
);
CREATE INDEX event_by_subject ON event (subject);
"""


CACHE_KIB = 16_384
_FILLER = 1_000_000


def connect(path: Path) -> sqlite3.Connection:
    """The one write connection; it belongs to the thread that calls this.

    A commit is written and not synced: who makes it syncs the log himself (`log_of`) where what it did must last, and need not
    where its loss only makes work be done again. Checkpoints sync what they must.
    Automatic checkpoints are only a safety net above the engine's own, which it makes when there is nothing to do.
    """
    connection = sqlite3.connect(path, isolation_level=None, cached_statements=512, timeout=10.0)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA wal_autocheckpoint = 16384")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def grow_log(connection: sqlite3.Connection, size: int) -> None:
    """Let the write-ahead log take its room on disk once and for all: commits into a file that does not grow cost half.

    What is written for that is rolled back, so that neither the database nor the log's content has it.
    """
    connection.execute("PRAGMA cache_size = 20")  # pages that do not fit are spilled into the log
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("CREATE TABLE filler (data BLOB)")
        connection.executemany("INSERT INTO filler VALUES (zeroblob(?))", [(_FILLER,)] * (size // _FILLER))
        connection.execute("ROLLBACK")
    finally:
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")


def log_of(path: Path) -> Path:
    """The write-ahead log of a database."""
    return path.with_name(f"{path.name}-wal")


def create(connection: sqlite3.Connection) -> None:
    """Make the tables in an empty database, in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    for statement in _SCHEMA.split(";\n"):
        if statement.strip():
            connection.execute(statement)
    connection.execute("INSERT INTO meta VALUES ('schema', ?)", (VERSION,))
    connection.execute("COMMIT")


def check_version(connection: sqlite3.Connection, path: Path) -> int:
    """The version of the tables in a database; 0 for an empty one.

    Raises:
        SchemaTooNew: a newer dropmill made them.
        sqlite3.DatabaseError: the database is damaged.
    """
    if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0:
        return 0
    (found,) = connection.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone() or (0,)
    if found > VERSION:
        raise SchemaTooNew(
            f"the queue has schema {found}, this dropmill knows schemas up to {VERSION}",
            where=str(path),
            todo="run the dropmill that wrote it, or a newer one",
        )
    return int(found)
