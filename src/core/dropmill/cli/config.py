"""`dropmill config`: check the configuration, show what it comes to, print its schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from dropmill.cli.logs import to_stderr
from dropmill.cli.output import Column
from dropmill.cli.session import Session, with_session

if TYPE_CHECKING:
    from dropmill.config import Configuration
    from dropmill.plugins import Registry

__all__ = ["config", "read"]


@click.group(no_args_is_help=False)
def config() -> None:
    """Check the configuration, show what it comes to, print its schema."""


@config.command(short_help="Tell everything that is wrong.")
@with_session
def check(session: Session) -> None:
    """Tell everything that is wrong with the configuration, each with its place, its value and what to do.

    The exit code is 4 where anything is wrong. What is only odd is a warning.
    """
    warnings = read(session).warnings
    if session.output.as_json:
        session.output.json(
            {
                "file": str(session.config.absolute()),
                "valid": True,
                "warnings": [warning.as_dict() for warning in warnings],
            }
        )
        return
    for warning in warnings:
        session.output.line(f"warning: {warning}")
    session.output.line(f"{session.config.absolute()} is valid")


@config.command(short_help="Show every setting in force.")
@with_session
def show(session: Session) -> None:
    """Show every setting with its default filled in, where it comes from, and no secret.

    Durations are seconds, sizes bytes, paths absolute. In a pipe each line holds key, value (as JSON) and origin, separated
    by tabs.
    """
    from dropmill.config import effective_settings

    shape = effective_settings(read(session))
    if session.output.as_json:
        session.output.json(shape)
        return
    origins = shape["origins"]
    session.output.rows(
        (Column("setting", "key"), Column("value", "value"), Column("from", "origin")),
        (
            {"key": key, "value": json.dumps(value, ensure_ascii=False), "origin": _origin(key, origins)}
            for key, value in _leaves(shape["settings"])
        ),
    )


@config.command(short_help="Print the JSON Schema of the whole file.")
@with_session
def schema(session: Session) -> None:
    """Print the JSON Schema (2020-12) of the whole file, with the options of the plugins that it enables."""
    from dropmill.config import compose, read_pins
    from dropmill.plugins import load

    to_stderr()
    session.output.json(compose(load(read_pins(session.config))))


def read(session: Session) -> Configuration[Registry]:
    """The whole configuration, with its plugins loaded.

    Raises:
        ConfigError: with everything that is wrong.
    """
    from dropmill import config as configuration
    from dropmill.plugins import load

    to_stderr()
    return configuration.read(session.config, load)


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, part in value.items():
            yield from _leaves(part, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(part, Mapping) for part in value):
        for number, part in enumerate(value):
            yield from _leaves(part, f"{path}[{number}]")
    else:
        yield path, value


def _origin(key: str, origins: Mapping[str, str]) -> str:
    """Of the setting, or of the nearest table around it that has one."""
    while key:
        if key in origins:
            return origins[key]
        key = key.rpartition("[" if key.endswith("]") else ".")[0]
    return ""
