"""How a command speaks: tables and colour on a terminal, plain lines in a pipe, one JSON shape with `--json`.

Plain lines are tab-separated and never truncated; tabs, line ends and backslashes in a value are written `\\t`, `\\n`, `\\\\`.
On a terminal, control characters are shown as `\\xNN`: the name of a dropped file must not steer a person's terminal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Column", "Output", "local", "seconds", "size"]

_STYLES = {
    "sent": "green",
    "finished": "green",
    "running": "green",
    "online": "green",
    "loaded": "green",
    "ok": "green",
    "dead": "red",
    "failed": "red",
    "error": "red",
    "offline": "red",
    "open": "red",
    "quarantined": "red",
    "parked": "yellow",
    "delayed": "yellow",
    "degraded": "yellow",
    "paused": "yellow",
    "stopping": "yellow",
    "waiting for destination": "yellow",
    "breaker open": "red",
    "stuck": "red",
    "backoff": "yellow",
}


@dataclass(frozen=True)
class Column:
    """A column of a table: its title and how to take its value from a row. `show` words it for people."""

    title: str
    key: str
    show: Callable[[Any], str] | None = None
    right: bool = False


class Output:
    """Standard output in one of three modes, chosen once."""

    def __init__(self, *, as_json: bool, stream: TextIO | None = None) -> None:
        self.as_json = as_json
        self._stream = stream if stream is not None else sys.stdout
        if hasattr(self._stream, "reconfigure"):  # names may hold bytes that are no text
            self._stream.reconfigure(errors="surrogateescape")
        self._console: Console | None = None

    @property
    def on_terminal(self) -> bool:
        """Whether a person looks at it."""
        return not self.as_json and self._stream.isatty()

    def json(self, value: Any) -> None:
        """One JSON document: on one line, indented on a terminal."""
        self._write(_dumps(value, indent=2 if self._stream.isatty() else None) + "\n")

    def line(self, text: str = "") -> None:
        """A sentence for people and pipes alike; nothing with `--json`."""
        if not self.as_json:
            self._write((_printable(text) if self.on_terminal else text) + "\n")

    def record(self, values: Mapping[str, Any], shape: Mapping[str, Any] | None = None) -> None:
        """Names and values of one thing, one a line; `shape` is what `--json` prints instead."""
        if self.as_json:
            self.json(shape if shape is not None else values)
            return
        width = max((len(name) for name in values), default=0)
        for name, value in values.items():
            text = "" if value is None else str(value)
            if self.on_terminal:
                self._write(f"{name:<{width}}  {_printable(text)}\n")
            else:
                self._write(f"{name}\t{_escaped(text)}\n")

    def rows(self, columns: Sequence[Column], rows: Iterable[Mapping[str, Any]], *, title: str = "") -> int:
        """A table; the number of rows. With `--json` use `items`."""
        if self.on_terminal:
            return self._table(columns, rows, title)
        lines = ["\t".join(_escaped(_plain(row.get(column.key))) for column in columns) + "\n" for row in rows]
        self._write("".join(lines))
        return len(lines)

    def items(self, pages: Iterator[Mapping[str, Any]], columns: Sequence[Column]) -> Any:
        """Pages of a list, one after another, as they come; answers with the cursor after the last one (None: that was all)."""
        cursor: Any = None
        if self.as_json:
            opening = '{"items":['  # written with the first item: what fails at once leaves no half document
            for page in pages:
                for item in page["items"]:
                    self._write(opening + _dumps(item))
                    opening = ","
                cursor = page["next"]
            if opening != ",":
                self._write(opening)
            self._write(f'],"next":{_dumps(cursor)}}}\n')
            return cursor
        rows: list[Mapping[str, Any]] = []
        for page in pages:
            cursor = page["next"]
            if self.on_terminal:
                rows += page["items"]
            else:
                self.rows(columns, page["items"])
        if self.on_terminal:
            self.rows(columns, rows)
        return cursor

    def _table(self, columns: Sequence[Column], rows: Iterable[Mapping[str, Any]], title: str) -> int:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False)
        for column in columns:
            table.add_column(column.title, justify="right" if column.right else "left", overflow="fold")
        for row in rows:
            cells = []
            for column in columns:
                value = row.get(column.key)
                text = column.show(value) if column.show is not None and value is not None else _plain(value)
                cells.append(Text(_printable(text), style=_STYLES.get(text, "")))
            table.add_row(*cells)
        if table.row_count:
            self.console.print(table)
        return table.row_count

    @property
    def console(self) -> Console:
        """rich's console on this stream."""
        if self._console is None:
            from rich.console import Console

            self._console = Console(file=self._stream, highlight=False, soft_wrap=False)
        return self._console

    def _write(self, text: str) -> None:
        self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()


def local(value: str) -> str:
    """A time of the API's for people: the local one."""
    return datetime.fromisoformat(value).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def seconds(value: float) -> str:
    """`3.2 s`, `5 min`, `2.0 h`, `3.5 d`."""
    if value < 120:
        return f"{value:.1f} s"
    if value < 7200:
        return f"{value / 60:.0f} min"
    return f"{value / 3600:.1f} h" if value < 172_800 else f"{value / 86_400:.1f} d"


def size(value: float) -> str:
    """`512 B`, `1.5 MB`: powers of 1000, as in the configuration."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping | list | tuple):
        return _dumps(value)
    return str(value)


def _dumps(value: Any, indent: int | None = None) -> str:
    separators = (",", ":") if indent is None else None
    text = json.dumps(value, ensure_ascii=False, indent=indent, separators=separators)
    try:
        text.encode()
    except UnicodeEncodeError:  # a name that is no text: escapes round-trip, raw bytes would not be JSON
        return json.dumps(value, indent=indent, separators=separators)
    return text


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def _printable(text: str) -> str:
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if character.isprintable() or character == "\n":
        return character
    number = ord(character)
    return f"\\x{number - 0xDC00 if 0xDC80 <= number <= 0xDCFF else number:02x}"  # a byte that is no text, or a control
