"""`dropmill status`: everything at a glance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

from dropmill.cli import output
from dropmill.cli.backend import reach
from dropmill.cli.output import Column
from dropmill.cli.session import Session, with_session

__all__ = ["status"]

_DELIVERY_STATES = ("ready", "leased", "delayed", "sent", "dead")
_COLUMNS = (Column("destination", "destination"), *(Column(state, state, right=True) for state in _DELIVERY_STATES))


@click.command()
@with_session
def status(session: Session) -> None:
    """Tell how the agent is and what is in the queue.

    Without a running agent the state is `offline`, and the counts come from the store. In a pipe each line holds a name and
    a value, separated by a tab.
    """
    shape = reach(session).status()
    out = session.output
    if out.as_json:
        out.json(shape)
    elif out.on_terminal:
        _for_people(session, shape)
    else:
        out.record(dict(_flat(shape)))


def _for_people(session: Session, shape: Mapping[str, Any]) -> None:
    out, agent = session.output, shape["agent"]
    since = f" since {output.local(shape['since'])}" if shape["since"] else ""
    out.line(f"{shape['state']}{since}" + (f": {shape['reason']}" if shape["reason"] else ""))
    if agent is not None:
        out.line(f"agent {agent['name']}, process {agent['pid']}, version {agent['version']}, {agent['config']}")
    if (stop := shape["stopping"]) is not None:
        waiting = ", ".join(stop["waitingFor"][:5]) or "nothing"
        out.line(f"stopping, phase {stop['phase']}: waiting for {waiting}; {stop['left']:.0f} s at most")
    files = ", ".join(f"{count} {state}" for state, count in shape["files"].items() if count)
    out.line(f"files: {files or 'none'}")
    if "maxItems" in (queue := shape["queue"]):  # not there before anything was ever queued
        out.line(
            f"queue: {queue['items']} of {queue['maxItems']} items,"
            f" {output.size(queue['bytes'])} of {output.size(queue['maxBytes'])},"
            f" the oldest waits {output.seconds(queue['oldestAge'])}"
        )
    out.rows(
        _COLUMNS,
        [
            {"destination": name, **{state: states.get(state, 0) for state in _DELIVERY_STATES}}
            for name, states in shape["deliveries"].items()
        ],
    )
    for problem in shape["problems"]:
        out.line(f"{problem['code']}: {problem['what']}" + (f" - {problem['todo']}" if problem["todo"] else ""))


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, part in value.items():
        if isinstance(part, Mapping):
            yield from _flat(part, f"{prefix}{name}.")
        elif isinstance(part, list):
            for number, item in enumerate(part):
                yield from _flat(item if isinstance(item, Mapping) else {"": item}, f"{prefix}{name}.{number}.")
        else:
            yield f"{prefix}{name}".rstrip("."), part
