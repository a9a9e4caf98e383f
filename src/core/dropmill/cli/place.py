"""Where an agent lives, read from its config file without judging the rest of it.

`dropmill status` must work while the config is being edited, and must not spend its time on plugins' schemas: this looks at
two keys only. Whatever needs more loads the whole configuration through `dropmill.config`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dropmill.config.document import Document, read
from dropmill.config.problems import ConfigError

__all__ = ["Place", "locate"]


@dataclass(frozen=True, kw_only=True)
class Place:
    """The files by which an agent is found."""

    config: Path
    state: Path
    socket: Path


def locate(config: Path) -> Place:
    """The state folder and the control socket that a config file names.

    Raises:
        ConfigError: the file is missing, is not TOML, or has something else in the place of the two keys.
    """
    document = read(config)
    state = document.base / (_path(document, "agent", "state") or "state")
    socket = _path(document, "control", "socket")
    return Place(config=document.path, state=state, socket=document.base / socket if socket else state / "agent.sock")


def _path(document: Document, section: str, key: str) -> str | None:
    table = document.data.get(section, {})
    value = table.get(key) if isinstance(table, dict) else table
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        problem = document.problem((section, key), "DM-C011", "must be a path", "write it as text")
        raise ConfigError(document.path, [problem])
    return value
