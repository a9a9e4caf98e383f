"""`dropmill submit`: hand copies of files to the queue, through the agent or straight in while none runs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from dropmill.cli.backend import Backend, Remote, agent, reach
from dropmill.cli.codes import Exit, exit_code
from dropmill.cli.errors import CommandError
from dropmill.cli.output import Column, Output
from dropmill.cli.session import Session, with_session
from dropmill.foundation.errors import DropmillError

__all__ = ["submit"]

_COLUMNS = (Column("path", "path"), Column("file", "fileId"), Column("state", "state"), Column("reason", "reason"))
_MOST = 200
"""Paths in one request."""
_ENDS = ("finished", "failed", "parked")


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("--folder", metavar="NAME", help="The folder whose converters and destinations apply.")
@click.option("--wait", is_flag=True, help="Wait until each file is finished, failed or parked.")
@click.option(
    "--timeout", type=click.FloatRange(0), metavar="SECONDS", help="With --wait: give up waiting after this long."
)
@with_session
def submit(session: Session, paths: Sequence[Path], folder: str | None, wait: bool, timeout: float | None) -> int:
    """Hand copies of FILEs to the queue, and print the id of each once it is safe there.

    They are copied into the state folder and stay where they are. Without a running agent they go straight into the store,
    and are converted when one starts; --wait needs an agent. In a pipe each line holds path, id, state and reason, separated
    by tabs.

    The exit code is that of the first file that is not well: 3 where it cannot be read or converted, 6 where the queue is full;
    with --wait also 1 where one of its deliveries is dead, or the time is up.
    """
    if timeout is not None and not wait:
        raise click.UsageError("--timeout needs --wait")
    backend: Backend = agent(session) if wait else reach(session, writes=True)
    items: list[dict[str, Any]] = []
    error: DropmillError | None = None
    absolute = [path.absolute() for path in paths]
    try:
        for start in range(0, len(absolute), _MOST):
            items += [_item(one) for one in backend.submit(absolute[start : start + _MOST], folder)["items"]]
    except DropmillError as raised:  # what was taken before is told first
        error = raised
    if wait and items:
        assert isinstance(backend, Remote)
        _wait(session.output, backend, items, timeout)
    if items or error is None:
        if session.output.as_json:
            session.output.json({"items": items})
        else:
            session.output.rows(_COLUMNS, items)
    if error is not None:
        raise error
    return next((code for item in items if (code := _code(item)) != Exit.DONE), Exit.DONE)


def _item(one: Mapping[str, Any]) -> dict[str, Any]:
    problem = one["problem"]
    return {
        "path": one["path"],
        "fileId": one["fileId"],
        "state": "queued" if problem is None else "refused",
        "reason": "" if problem is None else f"{problem['code']}: {problem['what']}",
        "problem": problem,
    }


def _code(item: Mapping[str, Any]) -> Exit:
    if item["problem"] is not None:
        found = exit_code(DropmillError("", code=item["problem"]["code"]))
        return Exit.REFUSED if found is Exit.FAILED else found
    if item["state"] == "failed" and item["dead"]:
        return Exit.FAILED
    return {
        "failed": Exit.REFUSED,
        "parked": Exit.REFUSED,
        "finished": Exit.FAILED if item.get("dead") else Exit.DONE,
    }.get(item["state"], Exit.DONE)


def _wait(out: Output, remote: Remote, items: Sequence[dict[str, Any]], timeout: float | None) -> None:
    deadline = None if timeout is None else time.monotonic() + timeout
    waiting = [item for item in items if item["fileId"] is not None]
    pause = 0.05
    with _shown(out, lambda: f"{len(waiting)} of {len(items)} files under way"):
        while True:
            for item in waiting:
                file = remote.file(item["fileId"])
                item.update(state=file["state"], reason=file["reason"], dead=file["dead"])
            waiting = [item for item in waiting if item["state"] not in _ENDS]
            if not waiting:
                return
            if deadline is not None and time.monotonic() > deadline:
                raise CommandError(
                    f"{len(waiting)} of {len(items)} files are not finished after {timeout:g} s",
                    where=waiting[0]["path"],
                    todo=f"they stay in the queue: `dropmill explain {waiting[0]['fileId']}`",
                    code="DM-A106",
                )
            time.sleep(pause)
            pause = min(1.0, pause * 1.5)


@contextmanager
def _shown(out: Output, text: Any) -> Iterator[None]:
    if not out.on_terminal:
        yield
        return
    with out.console.status(text()):
        yield
