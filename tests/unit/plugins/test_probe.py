"""What the throw-away process answers; that it contains what it must is tested with real processes."""

from __future__ import annotations

import itertools
import sys
import types
from typing import Any

import pytest

from dropmill.api import ENTRY_POINT_GROUP
from dropmill.plugins import probe
from dropmill.plugins.discovery import Discovered
from support.sites import CONVERTER, HEAD

_numbers = itertools.count()


def answer(monkeypatch: pytest.MonkeyPatch, body: str, attribute: str = "") -> dict[str, Any]:
    module = types.ModuleType(f"probed_{next(_numbers)}")
    exec(compile(HEAD + body, "probed.py", "exec"), vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    value = module.__name__ + attribute
    return probe._load(Discovered(name="acme", value=value, group=ENTRY_POINT_GROUP, distribution="d", version="1"))


def test_a_sound_plugin_is_named_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert answer(monkeypatch, CONVERTER.format(id="acme")) == {"plugin": "acme"}


def test_an_exception_comes_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    body = "@hookimpl\ndef register_converters():\n    raise SystemExit('no licence')\n"
    assert answer(monkeypatch, body) == {"plugin": "acme", "error": "SystemExit: no licence", "place": "probed.py:4"}


def test_a_rule_that_is_broken_comes_as_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    found = answer(monkeypatch, "@hookimpl\nasync def register_converters():\n    return []\n")
    assert found["problem"]["code"] == "DM-P021"


def test_a_value_that_names_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "AttributeError" in answer(monkeypatch, "", ":missing")["error"]
