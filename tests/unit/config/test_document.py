from __future__ import annotations

import os
from pathlib import Path

import pytest

from dropmill.config import ConfigError, ConfigProblem, read_pins
from dropmill.config.document import MOST_BYTES, read
from dropmill.config.settings import PluginPin


def problem_of(path: Path) -> ConfigProblem:
    with pytest.raises(ConfigError) as caught:
        read(path)
    [problem] = caught.value.problems
    return problem


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "dropmill.toml"


def test_a_missing_file_says_how_to_make_one(file: Path) -> None:
    problem = problem_of(file)
    assert (problem.code, problem.where, problem.line) == ("DM-C001", str(file), None)
    assert "dropmill init" in problem.todo


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    assert problem_of(tmp_path).code == "DM-C001"


def test_a_pipe_is_no_configuration_and_is_not_waited_for(file: Path) -> None:
    os.mkfifo(file)
    problem = problem_of(file)
    assert problem.code == "DM-C001"
    assert "regular file" in problem.what


def test_a_file_that_cannot_be_opened_says_why(file: Path) -> None:
    file.symlink_to(file.name)
    problem = problem_of(file)
    assert problem.code == "DM-C001"
    assert "symbolic links" in problem.what


def test_a_device_is_not_read_for_ever(file: Path) -> None:
    with file.open("wb") as stream:
        stream.truncate(MOST_BYTES + 1)
    problem = problem_of(file)
    assert problem.code == "DM-C001"
    assert "larger than" in problem.what


def test_bytes_that_are_not_utf_8_are_pointed_at(file: Path) -> None:
    file.write_bytes(b'# fine\nname = "M\xfcller"\n')
    problem = problem_of(file)
    assert (problem.code, problem.line, problem.column) == ("DM-C002", 2, 10)
    assert "0xfc" in problem.what
    assert problem.where == f"{file}:2:10"


@pytest.mark.parametrize(
    ("text", "line", "column", "advice"),
    [
        ("a = 1\nb = text\n", 2, 5, "quotes"),
        ("a = 1\nb = True\n", 2, 5, "lower case"),
        ("b = yes\n", 1, 5, "lower case"),
        ("b = None\n", 1, 5, "leave a setting out"),
        ("b = /srv/inbox\n", 1, 5, "quotes"),
        ("b: 1\n", 1, 2, "separated by ="),
        ('path = "C:\\drop"\n', 1, None, "single quotes"),
        ("a = 1\na = 2\n", 2, None, "already"),
        ("[a]\n[a]\n", 2, None, "already"),
        ('a = "x\n', 1, None, "a quote is missing"),
        ("a = [1\n", 2, None, "key = value"),
        ("a =\n", 1, None, "key = value"),
        ("a = 1 2\n", 1, None, "key = value"),
    ],
)
def test_a_syntax_error_has_its_place_and_advice(
    file: Path, text: str, line: int, column: int | None, advice: str
) -> None:
    file.write_text(text)
    problem = problem_of(file)
    assert (problem.code, problem.line) == ("DM-C003", line)
    if column is not None:
        assert problem.column == column
    assert advice in problem.todo


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 2000, "a = " + "[" * 45 + "]" * 45, "a = " + "{b = " * 45 + "1" + "}" * 45]
)
def test_nesting_has_an_end(file: Path, text: str) -> None:
    file.write_text(text)
    problem = problem_of(file)
    assert problem.code == "DM-C003"
    assert "nested too deeply" in problem.what


def test_a_byte_order_mark_and_windows_line_ends_are_fine(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf[plugins]\r\nenable = ['csv']\r\n")
    document = read(file)
    assert document.data == {"plugins": {"enable": ["csv"]}}
    place = document.positions.value(("plugins", "enable", 0))
    assert place is not None
    assert (place.line, place.column) == (2, 11)


def test_a_relative_path_becomes_absolute(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("")
    monkeypatch.chdir(file.parent)
    document = read("dropmill.toml")
    assert document.path == file
    assert document.base == file.parent


def test_the_enabled_plugins_can_be_read_from_a_file_that_is_otherwise_wrong(file: Path) -> None:
    file.write_text(
        '[plugins]\nenable = ["csv", 7, "csv", {name = "x", version = "1"}, {}, {name = 3}]\n[folder]\nx = 1\n'
    )
    assert read_pins(file) == [PluginPin(name="csv"), PluginPin(name="x", version="1")]


@pytest.mark.parametrize("text", ["", "plugins = 3", "[plugins]\nenable = 'csv'", "[plugins]\nenable = {}"])
def test_where_nothing_is_enabled_there_are_no_pins(file: Path, text: str) -> None:
    file.write_text(text)
    assert read_pins(file) == []
