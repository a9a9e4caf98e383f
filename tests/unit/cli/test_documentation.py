"""`docs/command-line.md` shows the JSON that commands really print, and lists what there is."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")

Run = Callable[..., Any]


def shown(command: str) -> Any:
    """The example of a command's JSON."""
    section = re.search(rf"^### dropmill {command}$(.*?)(?=^### |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert section, command
    example = re.search(r"With `--json`: `(\{.*\})`\.$", section[1], re.MULTILINE)
    assert example, command
    return json.loads(example[1])


def form(value: Any) -> Any:
    """Names and types, without values; of a list its first item."""
    if isinstance(value, dict):
        return {key: form(part) for key, part in value.items()}
    if isinstance(value, list):
        return [form(value[0])] if value else []
    return type(value).__name__


def test_the_page_is_current() -> None:
    text = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "commands.py")], capture_output=True, text=True, check=True
    ).stdout
    assert text == PAGE, "run python docs/build.py"


def test_init(tmp_path: Path, run: Run) -> None:
    assert form(run("init", str(tmp_path / "x"), "--json").json) == form(shown("init"))


def test_submit_retry_and_drop(home: Path, run: Run) -> None:
    (home / "r.xml").write_text("<testsuite/>")
    assert form(run("submit", "r.xml", "--json").json) == form(shown("submit"))
    assert form(run("retry", "--all", "--files", "--json").json) == form(shown("retry"))
    assert form(run("drop", "--all", "--json").json) == form(shown("drop"))


def test_plugins(home: Path, run: Run) -> None:
    assert form(run("plugins", "list", "--json").json) == form(shown("plugins list"))
    listed, example = run("plugins", "show", "csv", "--json").json, shown("plugins show")
    listed["converters"][0]["optionsSchema"] = {}
    assert form(listed) | {"converters": None} == form(example) | {"converters": None}
    assert listed["converters"][0].keys() == example["converters"][0].keys()
    assert form(run("plugins", "check", "csv", "--json").json["items"][0]).keys() == example.keys()


def test_config(home: Path, run: Run) -> None:
    assert form(run("config", "check", "--json").json) == form(shown("config check"))


@pytest.mark.parametrize(
    ("command", "shape"),
    [
        ("status", "Status"),
        ("files", "FilePage"),
        ("deliveries", "DeliveryPage"),
        ("explain", "Explanation"),
        ("config show", "Config"),
    ],
)
def test_what_stands_in_the_apis_page(home: Path, run: Run, command: str, shape: str) -> None:
    from jsonschema import Draft202012Validator

    from dropmill.control import schemas, shapes

    assert f"With `--json`: [{shape}](api.md#{shape.lower()})." in PAGE
    (home / "r.xml").write_text("<testsuite/>")
    file_id = run("submit", "r.xml", "--json").json["items"][0]["fileId"]
    arguments = [*command.split(), *([file_id] if command == "explain" else [])]
    kind = next(getattr(shapes, name) for name in shapes.__all__ if name.removesuffix("Shape") == shape)
    Draft202012Validator(schemas.resolved(kind)).validate(run(*arguments, "--json").json)


def test_run(home: Path) -> None:
    import contextlib
    import io

    from dropmill.cli.config import read
    from dropmill.cli.run import _introduce
    from dropmill.cli.session import Session

    stream = io.StringIO()
    with contextlib.redirect_stdout(stream):
        session = Session(home / "dropmill.toml", as_json=True)
        _introduce(session, read(session).settings)
    assert form(json.loads(stream.getvalue())) == form(shown("run"))
