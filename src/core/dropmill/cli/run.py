"""`dropmill run`: the agent in the foreground."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dropmill.cli.config import read
from dropmill.cli.session import Session, with_session

if TYPE_CHECKING:
    from dropmill.config.settings import Settings

__all__ = ["run"]


@click.command()
@with_session
def run(session: Session) -> int:
    """Run the agent in the foreground until SIGTERM or SIGINT.

    The first signal lets work in flight finish, a second one cancels it, a third ends at once; nothing is lost by any of them.
    Where files are dropped and where reports appear is printed first, the log goes to standard error.

    The exit code is 0 after a clean stop, 10 where work was cancelled, 11 where something would not end, 12 at the hard
    deadline, 70 where a part failed for good; 4 where the configuration is wrong, 5 where another agent has the state folder.
    """
    from dropmill.agent import run_agent
    from dropmill.supervision.process import run_process

    configuration = read(session)
    for warning in configuration.warnings:
        click.echo(f"warning: {warning}", err=True)
    _introduce(session, configuration.settings)
    signals = click.get_current_context().obj
    return run_process(lambda: run_agent(configuration, signals=signals))


def _introduce(session: Session, settings: Settings) -> None:
    destinations = {one.name: _where(one.transport, one.options, settings.base) for one in settings.destinations}
    if session.output.as_json:
        session.output.json(
            {
                "config": str(settings.file),
                "state": str(settings.agent.state),
                "socket": str(settings.control.socket),
                "folders": {folder.name: str(folder.path) for folder in settings.folders},
                "destinations": destinations,
            }
        )
    else:
        for folder in settings.folders:
            session.output.line(f"drop files into {folder.path}  ({folder.name})")
        for name, where in destinations.items():
            session.output.line(f"reports appear at {where}  ({name})")
    session.output.flush()


def _where(transport: str, options: Any, base: Path) -> str:
    """What a person calls the place: a path or URL where the transport has one; an option that is a secret is neither."""
    if isinstance(options.get("path"), str):
        return str(base / options["path"])
    if isinstance(options.get("url"), str):
        return re.sub(r"(?<=://)[^/@]*@", "", str(options["url"]))
    return transport
