"""`dropmill init`: a commented sample configuration and its folders."""

from __future__ import annotations

import os
from pathlib import Path

import click

from dropmill.cli.errors import CommandError, NotPermitted
from dropmill.cli.logs import to_stderr
from dropmill.cli.session import Session, with_session

__all__ = ["init"]


@click.command()
@click.argument("directory", metavar="[DIR]", default=".", type=click.Path(path_type=Path, file_okay=False))
@with_session
def init(session: Session, directory: Path) -> None:
    """Make DIR (default: the current folder) with dropmill.toml, inbox/ and reports/.

    Nothing is ever overwritten: where a dropmill.toml exists, nothing is made.
    """
    from dropmill.config.sample import BUNDLED, sample_config
    from dropmill.config.settings import PluginPin
    from dropmill.plugins import load

    to_stderr()
    config = directory / "dropmill.toml"
    inbox, reports = directory / "inbox", directory / "reports"
    try:
        if config.exists():
            raise _exists(config)
        text = sample_config(load([PluginPin(name=name) for name in BUNDLED]))
        directory.mkdir(parents=True, exist_ok=True)
        with config.open("x", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        inbox.mkdir(exist_ok=True)
        reports.mkdir(exist_ok=True)
    except FileExistsError as error:
        raise _exists(error.filename or config) from None
    except PermissionError as error:
        raise NotPermitted(
            "the folder may not be written to by this user",
            where=str(error.filename or directory),
            todo="choose another folder, or run the command as its owner",
        ) from None
    except OSError as error:
        raise CommandError(
            f"it cannot be made: {error.strerror}", where=str(error.filename or directory), code="DM-A108"
        ) from None
    made = {"config": str(config), "inbox": str(inbox), "reports": str(reports)}
    if session.output.as_json:
        session.output.json(made)
        return
    session.output.line(f"made {config}")
    session.output.line(f"drop files into {inbox}/, reports appear in {reports}/")
    session.output.line(f"start with: dropmill run --config {config}")


def _exists(path: object) -> CommandError:
    return CommandError(
        "it exists already; nothing was changed",
        where=str(path),
        todo="choose another folder, or edit what is there",
        code="DM-A107",
    )
