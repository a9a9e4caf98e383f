"""Three ways to speak: a terminal, a pipe, JSON."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from dropmill.cli.output import Column, Output, local, seconds, size

COLUMNS = (
    Column("id", "id", right=True),
    Column("name", "name"),
    Column("size", "size", size),
    Column("state", "state"),
)
ROWS: list[dict[str, Any]] = [
    {"id": 1, "name": "a\tb\nc\\d", "size": 1500, "state": "dead", "more": {}},
    {"id": 2, "name": "caf\udce9 \x1b[31mred", "size": None, "state": "sent", "more": {}},
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def pages(*pages: list[Any], last: str | None = None) -> Any:
    for number, items in enumerate(pages):
        yield {"items": items, "next": last if number == len(pages) - 1 else str(number)}


def test_pipe_is_tab_separated_and_escaped() -> None:
    stream = io.StringIO()
    out = Output(as_json=False, stream=stream)
    assert out.items(pages(ROWS[:1], ROWS[1:], last="z"), COLUMNS) == "z"
    assert stream.getvalue() == "1\ta\\tb\\nc\\\\d\t1500\tdead\n2\tcaf\udce9 \x1b[31mred\t\tsent\n"


def test_json_is_one_document_however_many_pages() -> None:
    stream = io.StringIO()
    out = Output(as_json=True, stream=stream)
    out.items(pages(ROWS[:1], ROWS[1:], last=None), COLUMNS)
    text = stream.getvalue()
    assert json.loads(text) == {"items": ROWS, "next": None}
    text.encode("ascii")  # a byte that is no text is escaped


def test_json_keeps_text_readable() -> None:
    stream = io.StringIO()
    Output(as_json=True, stream=stream).json({"name": "Prüfling"})
    assert stream.getvalue() == '{"name":"Prüfling"}\n'


def test_empty_list() -> None:
    stream = io.StringIO()
    Output(as_json=True, stream=stream).items(pages([]), COLUMNS)
    assert json.loads(stream.getvalue()) == {"items": [], "next": None}
    for terminal in (io.StringIO(), Terminal()):
        Output(as_json=False, stream=terminal).items(pages([]), COLUMNS)
        assert terminal.getvalue() == ""


def test_terminal_shows_a_table_and_no_control_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    stream = Terminal()
    Output(as_json=False, stream=stream).items(pages(ROWS), COLUMNS)
    text = stream.getvalue()
    assert "id" in text.splitlines()[0] or "id" in text.splitlines()[1]
    assert "1.5 kB" in text
    assert "\\x1b[31mred" in text
    assert "caf\\xe9" in text
    assert "\x1b[31mred" not in text


def test_no_colour_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    Output(as_json=False, stream=stream).items(pages(ROWS), COLUMNS)
    assert "\x1b[3" not in stream.getvalue()


def test_long_values_are_folded_never_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    Output(as_json=False, stream=stream).items(pages([{**ROWS[0], "name": "x" * 100}]), COLUMNS)
    assert stream.getvalue().count("x") == 100


def test_record_and_line() -> None:
    stream = io.StringIO()
    out = Output(as_json=False, stream=stream)
    out.record({"state": "running", "reason": None, "where": "a\tb"})
    out.line("a sentence")
    assert stream.getvalue() == "state\trunning\nreason\t\nwhere\ta\\tb\na sentence\n"
    stream = io.StringIO()
    out = Output(as_json=True, stream=stream)
    out.record({"state": "running"}, {"whole": True})
    out.line("not in JSON")
    assert stream.getvalue() == '{"whole":true}\n'


def test_record_on_a_terminal_is_aligned() -> None:
    stream = Terminal()
    Output(as_json=False, stream=stream).record({"a": 1, "long": "x"})
    assert stream.getvalue() == "a     1\nlong  x\n"


def test_json_on_a_terminal_is_indented() -> None:
    stream = Terminal()
    Output(as_json=True, stream=stream).json({"a": 1})
    assert stream.getvalue() == '{\n  "a": 1\n}\n'


def test_plain_values() -> None:
    stream = io.StringIO()
    Output(as_json=False, stream=stream).rows(
        [Column(key, key) for key in "abcd"], [{"a": True, "b": False, "c": {"x": 1}, "d": [1, 2]}]
    )
    assert stream.getvalue() == 'yes\tno\t{"x":1}\t[1,2]\n'


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2e9, "2.0 GB"), (5e15, "5000.0 TB")]
)
def test_sizes(value: float, text: str) -> None:
    assert size(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.25, "0.2 s"), (119, "119.0 s"), (600, "10 min"), (7300, "2.0 h"), (200_000, "2.3 d")]
)
def test_durations(value: float, text: str) -> None:
    assert seconds(value) == text


def test_local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        assert local("2026-11-24T13:00:00.500Z") == "2026-11-24 14:00:00"
    finally:
        monkeypatch.undo()
        time.tzset()
