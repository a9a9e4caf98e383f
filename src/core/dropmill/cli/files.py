"""`dropmill files`: the files that were claimed, newest first."""

from __future__ import annotations

from typing import Any

import click

from dropmill.cli import output
from dropmill.cli.backend import reach
from dropmill.cli.options import filter_options, page_options, pages, without_empty
from dropmill.cli.output import Column
from dropmill.cli.session import Session, with_session
from dropmill.control.filters import FILE_PARAMETERS

__all__ = ["files"]

COLUMNS = (
    Column("file", "id"),
    Column("state", "state"),
    Column("folder", "folder"),
    Column("name", "name"),
    Column("size", "size", output.size, right=True),
    Column("changed", "updatedAt", output.local),
    Column("converter", "converter"),
    Column("pending", "pending", right=True),
    Column("dead", "dead", right=True),
    Column("reason", "reason"),
)


@click.command()
@filter_options(FILE_PARAMETERS)
@page_options
@with_session
def files(session: Session, limit: int, after: str | None, **options: Any) -> None:
    """List the files that were claimed, newest first.

    A file that still waits in its folder has no row yet: `dropmill explain FILE` tells why it was not taken.
    In a pipe each line holds id, state, folder, name, size, time of the last change, converter, pending deliveries, dead
    deliveries and reason, separated by tabs.
    """
    backend, wanted = reach(session), without_empty(options)
    cursor = session.output.items(
        pages(lambda cursor, count: backend.files(wanted, cursor, count), after=after, limit=limit), COLUMNS
    )
    session.more(cursor)
