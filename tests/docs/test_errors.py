"""Holds `docs/errors.md` to the code: codes, the failure's record, exit codes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dropmill.cli.codes import Exit
from dropmill.supervision.exits import ExitCode

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "errors.md").read_text()

CODE = re.compile(r"DM-[A-Z]\d{3}")
PLUGIN_CODE = re.compile(r'"((?:CSV|DIR|HTTP|JSON|JUNIT|WSJF|XML)(?:-[A-Z]+)+)"')


def occurring(root: Path, pattern: re.Pattern[str]) -> dict[str, set[str]]:
    """What the pattern finds below a source root, each with the modules that have it."""
    found: dict[str, set[str]] = {}
    for path in root.rglob("*.py"):
        for code in pattern.findall(path.read_text()):
            found.setdefault(code, set()).add(str(path.relative_to(ROOT)))
    return found


def rows(page: str) -> list[str]:
    """The first cell of each row of each table."""
    return [line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| ") and "---" not in line]


def section(title: str) -> str:
    """The text of a `##` section."""
    match = re.search(rf"^## {re.escape(title)}$(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert match, title
    return match[1]


def explained() -> list[str]:
    return [code for cell in rows(PAGE) for code in CODE.findall(cell)]


# A message that quotes an example of a code is not its use.
EXAMPLES = {"DM-Q014"}


def test_every_code_of_the_code_is_explained():
    missing = {code: sorted(places) for code, places in occurring(ROOT / "src", CODE).items() if code not in EXAMPLES}
    for code in explained():
        missing.pop(code, None)
    assert not missing


def test_every_explained_code_exists():
    assert set(explained()) - set(occurring(ROOT / "src", CODE)) == set()


def test_no_code_is_explained_twice():
    codes = explained()
    assert sorted(codes) == sorted(set(codes))


def test_each_code_stands_in_the_section_of_its_letter():
    for letter, text in re.findall(r"^## [^\n]*\(([A-Z])\)$(.*?)(?=^## )", PAGE, re.MULTILINE | re.DOTALL):
        found = {code for cell in rows(text) for code in CODE.findall(cell)}
        assert found
        assert {code[3] for code in found} == {letter}


def test_codes_of_the_bundled_plugins():
    told = set(re.findall(r"`([A-Z]+(?:-[A-Z]+)+)`", section("Codes of the bundled plugins")))
    used = occurring(ROOT / "src" / "plugins", PLUGIN_CODE)
    assert {code: used[code] for code in set(used) - told} == {}
    assert {code for code in told - set(used) if not code.startswith("DIR-E")} == set()


def test_exit_codes():
    told = {int(cell) for cell in rows(section("Exit codes")) if cell.isdecimal()}
    assert told == {int(code) for code in Exit} | {int(code) for code in ExitCode} | {130}


def fields(title: str) -> set[str]:
    return {name for cell in rows(section(title)) for name in re.findall(r"`([A-Za-z]+)`", cell)}


@pytest.mark.parametrize("module", ["intake/reason.py", "conversion/verdicts.py", "conversion/decisions.py"])
def test_fields_of_the_failures_record(module):
    """Every key that is written into a record is explained."""
    text = (ROOT / "src" / "core" / "dropmill" / module).read_text()
    written = set(re.findall(r'^\s+"([a-z][A-Za-z]*)": ', text, re.MULTILINE))
    written |= {
        name for line in re.findall(r"error = (\{.*?\})", text) for name in re.findall(r'"([a-z][A-Za-z]*)": ', line)
    }
    outcomes = {"error", "timeout", "crash", "oom", "limit", "protocol", "cancelled"}
    assert written - outcomes - fields("The failure's record") == set()
