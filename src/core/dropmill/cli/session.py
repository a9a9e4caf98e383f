"""What every command has: its config file, its output, and the options `--config` and `--json` that set them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from dropmill.cli.output import Output
from dropmill.cli.place import Place, locate

__all__ = ["Session", "with_session"]

F = TypeVar("F", bound=Callable[..., Any])


class Session:
    """One command's surroundings."""

    def __init__(self, config: Path, *, as_json: bool) -> None:
        self.config = config
        self.output = Output(as_json=as_json)

    @functools.cached_property
    def place(self) -> Place:
        """Where the agent's files are.

        Raises:
            ConfigError: the config file does not say.
        """
        return locate(self.config)

    def more(self, cursor: str | None) -> None:
        """Tell on stderr that a list goes on."""
        if cursor is not None and not self.output.as_json:
            click.echo(f"there are more: --after {cursor}, or --limit 0 for all", err=True)


_CONFIG = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="DROPMILL_CONFIG",
    default="dropmill.toml",
    show_default=True,
    metavar="FILE",
    help="The configuration (or DROPMILL_CONFIG).",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON; errors too.")


def with_session(function: F) -> F:
    """Give a command `--config` and `--json`, and a `Session` as its first argument."""

    @_CONFIG
    @_JSON
    @functools.wraps(function)
    def command(config: Path, as_json: bool, **rest: Any) -> Any:
        return function(Session(config, as_json=as_json), **rest)

    return command  # type: ignore[return-value]
