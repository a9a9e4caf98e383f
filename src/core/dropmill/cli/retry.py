"""`dropmill retry` and `dropmill drop`: what failed goes again, or is given up, by id or all that match a filter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from dropmill.cli.backend import Backend, reach
from dropmill.cli.errors import UsageError
from dropmill.cli.options import filter_options, without_empty
from dropmill.cli.session import Session, with_session
from dropmill.control.filters import DELIVERY_PARAMETERS, FILE_PARAMETERS

__all__ = ["drop", "retry"]

_BOTH = [
    *(part for part in FILE_PARAMETERS if part.name != "state"),
    *(part for part in DELIVERY_PARAMETERS if part.name in ("destination", "file")),
]
_FILES_ONLY = {"reason", "name", "converter"}
_DELIVERIES_ONLY = {"destination", "file"}


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@filter_options(_BOTH, but=["converter"])
@click.option("--all", "everything", is_flag=True, help="All failed and parked files and all dead deliveries.")
@click.option("--files", "only_files", is_flag=True, help="Only files, of what the filter matches.")
@click.option("--deliveries", "only_deliveries", is_flag=True, help="Only deliveries, of what the filter matches.")
@click.option("--converter", metavar="ID", help="Convert by this converter, whatever the folder says.")
@click.option("--dry-run", is_flag=True, help="Only count what would be tried again.")
@with_session
def retry(
    session: Session,
    ids: Sequence[str],
    everything: bool,
    only_files: bool,
    only_deliveries: bool,
    converter: str | None,
    dry_run: bool,
    **options: Any,
) -> None:
    """Try again, by ID (of files, or numbers of deliveries) or by filter.

    Failed and parked files are converted again, dead deliveries sent again with fresh attempts. Without IDs name a filter,
    or --all.
    """
    wanted = without_empty(options)
    _check(ids, wanted, everything)
    if only_files and only_deliveries:
        raise UsageError("--files and --deliveries exclude each other", todo="leave both out for both")
    bodies: list[dict[str, Any]] = []
    numbers = [int(text) for text in ids if text.isdecimal() and len(text) < 16]
    names = [text for text in ids if not (text.isdecimal() and len(text) < 16)]
    take_files = bool(names) if ids else not (only_deliveries or wanted.keys() & _DELIVERIES_ONLY)
    take_deliveries = bool(numbers) if ids else not (only_files or converter or wanted.keys() & _FILES_ONLY)
    if take_files:
        which: dict[str, Any] = {"ids": names} if ids else {"filter": wanted}
        bodies.append({"what": "files", **which, **({"converter": converter} if converter else {})})
    if take_deliveries:
        which = {"ids": numbers} if ids else {"filter": wanted}
        bodies.append({"what": "deliveries", **which})
    if not bodies or (ids and converter and numbers):
        raise UsageError(
            "these options exclude each other",
            todo="a converter and a file's name or reason concern files, a destination concerns deliveries",
        )
    backend = reach(session, writes=True)
    done = {body["what"]: _in_full(backend.retry, body, dry_run=dry_run) for body in bodies}
    _tell(session, {what: done.get(what) for what in ("files", "deliveries")}, "tried again", dry_run=dry_run)


@click.command()
@click.argument("ids", nargs=-1, type=click.IntRange(0), metavar="[ID]...")
@filter_options(DELIVERY_PARAMETERS, but=["state"])
@click.option("--all", "everything", is_flag=True, help="All dead deliveries.")
@click.option("--reason", "why", metavar="TEXT", help="Kept on record.")
@click.option("--dry-run", is_flag=True, help="Only count what would be dropped.")
@with_session
def drop(
    session: Session, ids: Sequence[int], everything: bool, why: str | None, dry_run: bool, **options: Any
) -> None:
    """Give dead deliveries up for good, by ID or by filter; it stays on record that and why."""
    wanted = without_empty(options)
    _check(ids, wanted, everything)
    body: dict[str, Any] = {"ids": list(ids)} if ids else {"filter": wanted}
    if why:
        body["reason"] = why
    backend: Backend = reach(session, writes=True)
    _tell(session, {"deliveries": _in_full(backend.drop, body, dry_run=dry_run)}, "dropped", dry_run=dry_run)


def _check(ids: Sequence[Any], wanted: Mapping[str, Any], everything: bool) -> None:
    if bool(ids) + bool(wanted) + everything != 1:
        raise UsageError(
            "name either ids, or a filter, or --all",
            todo="`dropmill deliveries --state dead` and `dropmill files` list ids",
        )


def _in_full(act: Callable[[Mapping[str, Any]], Any], body: Mapping[str, Any], *, dry_run: bool) -> dict[str, Any]:
    """Ask until all that match have been met."""
    total = {"matched": 0, "changed": 0, "dryRun": dry_run}
    after: str | None = None
    while True:
        asked = {**body, **({"after": after} if after else {}), **({"dryRun": True} if dry_run else {})}
        answer = act(asked)
        total["matched"] += answer["matched"]
        total["changed"] += answer["changed"]
        after = answer["next"]
        if after is None:
            return total


def _tell(session: Session, done: Mapping[str, Any], verb: str, *, dry_run: bool) -> None:
    if session.output.as_json:
        session.output.json(done)
        return
    for what, counts in done.items():
        if counts is not None:
            number = counts["matched"] if dry_run else counts["changed"]
            session.output.line(f"{number} {what} {'would be ' if dry_run else ''}{verb}")
