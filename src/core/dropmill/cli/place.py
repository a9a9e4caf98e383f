"""Where an agent lives, read from its config file without judging the rest of it.

`dropmill status` must work while the config is being edited, and must not spend its time on plugins' schemas: this looks at
two keys only. Whatever needs more loads the whole configuration through `dropmill.config`.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dropmill.config.problems import ConfigError, ConfigProblem

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
    config = config.absolute()
    try:
        table = tomllib.loads(config.read_text("utf-8"))
    except FileNotFoundError:
        raise _error(
            config,
            "there is no configuration file",
            "name one with --config or DROPMILL_CONFIG, or make one with `dropmill init`",
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _error(config, f"it is not TOML: {error}", "correct it, then `dropmill config check`") from None
    except OSError as error:
        raise _error(config, f"it cannot be read: {error.strerror}", "check the path and its permissions") from None
    state = config.parent / (_text(table, "agent", "state", config) or "state")
    socket = _text(table, "control", "socket", config)
    return Place(config=config, state=state, socket=config.parent / socket if socket else state / "agent.sock")


def _text(table: dict[str, Any], section: str, key: str, config: Path) -> Path | None:
    part = table.get(section, {})
    value = part.get(key) if isinstance(part, dict) else part
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise _error(config, f"{section}.{key} is not a path", "write it as text", f"{section}.{key}")
    return Path(value).expanduser()


def _error(config: Path, what: str, todo: str, key: str = "") -> ConfigError:
    return ConfigError(config, [ConfigProblem(code="DM-C001", what=what, where=str(config), todo=todo, key=key)])
