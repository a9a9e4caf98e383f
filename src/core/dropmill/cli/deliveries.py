"""`dropmill deliveries`: reports on their way, newest first."""

from __future__ import annotations

from typing import Any

import click

from dropmill.cli import output
from dropmill.cli.backend import reach
from dropmill.cli.options import filter_options, page_options, pages, without_empty
from dropmill.cli.output import Column
from dropmill.cli.session import Session, with_session
from dropmill.control.filters import DELIVERY_PARAMETERS

__all__ = ["deliveries"]

COLUMNS = (
    Column("delivery", "id", right=True),
    Column("state", "state"),
    Column("destination", "destination"),
    Column("folder", "folder"),
    Column("name", "name"),
    Column("size", "size", output.size, right=True),
    Column("changed", "updatedAt", output.local),
    Column("tries", "attempts", right=True),
    Column("next try", "nextAt", output.local),
    Column("key", "key"),
    Column("reason", "reason"),
)


@click.command()
@filter_options(DELIVERY_PARAMETERS)
@page_options
@with_session
def deliveries(session: Session, limit: int, after: str | None, **options: Any) -> None:
    """List deliveries (one report on its way to one destination), newest first.

    `--state pending` is ready, leased and delayed ones; `--state failed` is dead letters.
    In a pipe each line holds id, state, destination, folder, name of the file, size, time of the last change, tries, time of the
    next try, idempotency key and reason, separated by tabs.
    """
    backend, wanted = reach(session), without_empty(options)
    cursor = session.output.items(
        pages(lambda cursor, count: backend.deliveries(wanted, cursor, count), after=after, limit=limit), COLUMNS
    )
    session.more(cursor)
