"""`dropmill pause` and `dropmill resume`: hold a folder, a destination or a plugin, and let it go on."""

from __future__ import annotations

import click

from dropmill.cli.backend import agent
from dropmill.cli.session import Session, with_session

__all__ = ["pause", "resume"]


@click.command()
@click.argument("kind", type=click.Choice(["folder", "destination", "plugin"]))
@click.argument("name")
@with_session
def pause(session: Session, kind: str, name: str) -> None:
    """Hold a folder, a destination or a plugin until it is resumed, over restarts. Nothing that waits is lost."""
    _ask(session, "pause", kind, name)


@click.command()
@click.argument("kind", type=click.Choice(["folder", "destination", "plugin", "task"]))
@click.argument("name")
@with_session
def resume(session: Session, kind: str, name: str) -> None:
    """End a pause, a plugin's quarantine, or the agent's giving up on one of its tasks."""
    _ask(session, "resume", kind, name)


def _ask(session: Session, verb: str, kind: str, name: str) -> None:
    answer = agent(session).client.post(f"/v1/{verb}", {"kind": kind, "name": name})
    if session.output.as_json:
        session.output.json(answer)
    else:
        session.output.line(f"{kind} {name} {verb}d")
