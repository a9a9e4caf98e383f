"""The configuration file as it is read: its text, its TOML values, and where each of them stands."""

from __future__ import annotations

import codecs
import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dropmill.config.positions import KeyPath, Place, Positions, locate, spell
from dropmill.config.problems import ConfigError, ConfigProblem
from dropmill.foundation.regular import UnusableFileError, read_regular

__all__ = ["MOST_BYTES", "Document", "read"]

MOST_BYTES = 4_000_000
"""A larger file is refused: no configuration is that large, but a device or a log may be."""

_MOST_DEPTH = 40


@dataclass(frozen=True)
class Document:
    """A file whose TOML is sound; whether it makes sense is for others to say."""

    path: Path
    """Absolute."""
    data: dict[str, Any]
    positions: Positions

    @property
    def base(self) -> Path:
        """Relative paths stand below it."""
        return self.path.parent

    def problem(
        self,
        key: KeyPath,
        code: str,
        what: str,
        todo: str,
        *,
        value: str = "",
        suggestion: str = "",
        at_key: bool = False,
    ) -> ConfigProblem:
        """A problem with its place in this file; `at_key` points at the key rather than at its value."""
        place = self.positions.key(key) if at_key else self.positions.value(key)
        return _problem(self.path, place, spell(key), code, what, todo, value=value, suggestion=suggestion)


def read(path: str | os.PathLike[str]) -> Document:
    """Read the file. Blocks on the disk.

    Raises:
        ConfigError: it cannot be read, or is not TOML; nothing more can be said about it then.
    """
    file = Path(path).absolute()
    text = _decode(file, _bytes(file))
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(file, [_syntax(file, text, str(error))]) from error
    except RecursionError as error:
        raise _too_deep(file) from error
    if _deeper(data, _MOST_DEPTH):
        raise _too_deep(file)
    return Document(file, data, locate(text))


def _deeper(value: Any, depth: int) -> bool:
    """Whether lists and tables are nested more than `depth` deep."""
    if not isinstance(value, dict | list):
        return False
    return depth == 0 or any(
        _deeper(item, depth - 1) for item in (value.values() if isinstance(value, dict) else value)
    )


def _too_deep(file: Path) -> ConfigError:
    what, todo = "lists or tables are nested too deeply", "no setting needs more than a few levels"
    return ConfigError(file, [_problem(file, None, "", "DM-C003", what, todo)])


def _bytes(file: Path) -> bytes:
    try:
        return read_regular(file, MOST_BYTES)
    except FileNotFoundError as error:
        todo = "give its path with --config, or make one with `dropmill init`"
        problem = _problem(file, None, "", "DM-C001", "there is no configuration file", todo)
        raise ConfigError(file, [problem]) from error
    except UnusableFileError as error:
        what = f"the configuration cannot be used: {error}"
        raise ConfigError(file, [_problem(file, None, "", "DM-C001", what, "give the path of a TOML file")]) from error
    except OSError as error:
        what = f"the configuration cannot be read: {error.strerror or error}"
        raise ConfigError(file, [_problem(file, None, "", "DM-C001", what, "look at its permissions")]) from error


def _decode(file: Path, content: bytes) -> str:
    try:
        return content.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        place = Place(before.count(b"\n") + 1, error.start - before.rfind(b"\n"))
        what = f"the byte {content[error.start]:#04x} is not UTF-8"
        todo = "save the file as UTF-8"
        raise ConfigError(file, [_problem(file, place, "", "DM-C002", what, todo)]) from error


def _syntax(file: Path, text: str, message: str) -> ConfigProblem:
    match = re.fullmatch(
        r"(?P<what>.*) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)", message, re.DOTALL
    )
    lines = text.split("\n")
    what = match["what"] if match else message
    place = (
        Place(int(match["line"]), int(match["column"]))
        if match and match["line"]
        else Place(len(lines), len(lines[-1]) + 1)
    )
    line = lines[place.line - 1].strip() if place.line <= len(lines) else ""
    what = what[:1].lower() + what[1:]
    return _problem(file, place, "", "DM-C003", f"this is not TOML: {what}", _advice(what, line))


def _advice(what: str, line: str) -> str:
    """What people most often mean by a line that is not TOML. The line is not repeated: it may hold a secret."""
    value = line.partition("=")[2].strip()
    if "overwrite" in what or "twice" in what or "declare" in what:
        return "this key or table stands in the file already; keep one of the two"
    if "\\" in line and '"' in line and ("escape" in what.lower() or "\\" in what):
        return r"in double quotes a backslash must be doubled; single quotes take it as it is: 'C:\drop'"
    if re.match(r"(?i)(true|false|yes|no|on|off|none|null)\b", value):
        return "write true or false in lower case; leave a setting out where you mean none"
    if value and re.match(r"[A-Za-z/~.*]", value):
        return 'text stands in quotes: name = "text"'
    if "=" not in line and ":" in line:
        return "keys and values are separated by =, not by a colon"
    if line.count('"') % 2 or line.count("'") % 2:
        return "a quote is missing"
    return "a line is `key = value`, [table], [[table]] or # comment"


def _problem(
    file: Path,
    place: Place | None,
    key: str,
    code: str,
    what: str,
    todo: str,
    *,
    value: str = "",
    suggestion: str = "",
) -> ConfigProblem:
    return ConfigProblem(
        code=code,
        what=what,
        where=str(file) if place is None else f"{file}:{place.line}:{place.column}",
        todo=todo,
        key=key,
        value=value,
        line=place.line if place else None,
        column=place.column if place else None,
        suggestion=suggestion,
    )
