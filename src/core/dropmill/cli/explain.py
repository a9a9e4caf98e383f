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

_TEXT_LINES = 20
_ID = re.compile(r"[0-9a-hjkmnp-tv-z]{16}")


@click.command()
@click.argument("file", metavar="FILE")
@with_session
def explain(session: Session, file: str) -> int:
    """Tell where FILE is, what happened to it, when and why.

    FILE is a path where the file was dropped or lies now, or an id, a name or a SHA-256. Also of a file that was not taken: by
    which pattern it is excluded, or what it waits for. A file that was submitted is found by id or name: the path that it was
    copied from is not kept. The exit code is 1 where nothing is known of it.
    """
    backend = reach(session)
    by_path = "/" in file or (Path(file).exists() and not _ID.fullmatch(file))
    shape = backend.explain(str(Path(file).absolute()) if by_path else file)
    if by_path and "/" not in file and shape["state"] == "unknown":  # it was submitted from here, by that name
        by_name = backend.explain(file)
        shape = by_name if by_name["files"] else shape
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
            _tell_error(out, file["error"])
        for event in file["events"]:
            out.line(f"  {_time(out, event['at'])}  {event['name']}  {_plain(event['data'])}".rstrip())
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


def _tell_error(out: Output, error: Mapping[str, Any]) -> None:
    """A failure's record as a person reads it: what, whose, how it ended, what to do; `--json` has all of it."""
    line = f" (line {error['line']})" if error.get("line") else ""
    out.line(f"  error {error.get('code', '')}: {error.get('message', '')}{line}")
    plugin = [f"{name} {error[name]}" for name in ("plugin", "distribution", "version") if error.get(name)]
    ended = [
        f"{name} {error[name]}" for name in ("outcome", "attempt", "signal", "exitCode") if error.get(name) is not None
    ]
    out.line(f"    {', '.join([*plugin, *ended])}")
    texts = {"traceback": (error.get("exception") or {}).get("traceback"), "stack": error.get("stack")}
    texts["output"] = error.get("output")
    for name, text in texts.items():
        if text:
            out.line(f"    {name}:")
            for row in str(text).rstrip().splitlines()[-_TEXT_LINES:]:
                out.line(f"      {row}")
    if error.get("next"):
        out.line(f"    to do: {error['next']}")


def _plain(data: Mapping[str, Any]) -> str:
    """An event's own words; what is nested stands with the file already."""
    return _short({name: part for name, part in data.items() if not isinstance(part, Mapping | list)})


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
