"""`dropmill explain`: where one file is, what happened to it, when and why."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from dropmill.cli.backend import reach
from dropmill.cli.output import Output, local
from dropmill.cli.session import Session, with_session

__all__ = ["explain"]

_ID = re.compile(r"[0-9a-hjkmnp-tv-z]{16}")


@click.command()
@click.argument("file", metavar="FILE")
@with_session
def explain(session: Session, file: str) -> int:
    """Tell where FILE (a path, or an id) is, what happened to it, when and why.

    The path is where the file was dropped, or where it lies now. Also of a file that was not taken: by which pattern it is
    excluded, or what it waits for. The exit code is 1 where nothing is known of it.
    """
    path = file if _ID.fullmatch(file) and not Path(file).exists() else str(Path(file).absolute())
    shape = reach(session).explain(path)
    if session.output.as_json:
        session.output.json(shape)
    else:
        _tell(session.output, shape)
    return 0 if shape["state"] != "unknown" else 1


def _tell(out: Output, shape: Mapping[str, Any]) -> None:
    out.line(f"{shape['path']}: {shape['state']}" + (f" ({shape['reason']})" if shape["reason"] else ""))
    for sighting in shape["sightings"]:
        out.line(f"  folder {sighting['folder']}: {sighting['state']}: {sighting['reason']}")
        for name, value in sighting["details"].items():
            out.line(f"    {name}: {_short(value)}")
    for file in shape["files"]:
        out.line(f"file {file['id']}: {file['state']}" + (f" ({file['reason']})" if file["reason"] else ""))
        out.line(f"  dropped in {file['folder']} as {file['name']}, {file['size']} bytes, sha256 {file['sha256']}")
        out.line(f"  lies at {file['place']}" if file["place"] else "  was removed")
        if file["converter"]:
            out.line(f"  converter {file['converter']}")
        if file["error"]:
            out.line(f"  error {_short(file['error'])}")
        for event in file["events"]:
            out.line(f"  {_time(out, event['at'])}  {event['name']}  {_short(event['data'])}".rstrip())
        for report in file["reports"]:
            out.line(
                f"  report {report['reportId']}.{report['revision']}  {report['size']} bytes  {_short(report['fields'])}"
            )
        for delivery in file["deliveries"]:
            reason = f" ({delivery['reason']})" if delivery["reason"] else ""
            out.line(f"  delivery {delivery['id']} to {delivery['destination']}: {delivery['state']}{reason}")
            for attempt in delivery["history"]:
                out.line(
                    f"    {_time(out, attempt['endedAt'])}  try {attempt['number']}: {attempt['outcome']}"
                    f"  {_short(attempt['answer'])}".rstrip()
                )


def _time(out: Output, value: str) -> str:
    return local(value) if out.on_terminal else value


def _short(value: Any) -> str:
    """A value on one line; nothing for an empty one."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return " ".join(
            f"{name}={_short(part) if isinstance(part, str) else json.dumps(part)}" for name, part in value.items()
        )
    return json.dumps(value)
