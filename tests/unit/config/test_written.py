"""What is written from the schema: the sample and the reference."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest

from dropmill.config import compose, effective_settings, sample_config
from dropmill.config.annotations import follow
from dropmill.config.prose import default, kind, toml
from dropmill.config.reference import reference
from dropmill.config.sample import BUNDLED
from dropmill.config.vocabulary import SECRET

SECTIONS = ("agent", "plugins", "queue", "folder", "destination", "conversion", "shutdown", "control", "log")


def settle(kit: Any) -> None:
    """Offer what the sample names."""
    for name in ("junit", "wsjf"):
        kit.catalog.converters[name] = kit.catalog.converters["json"]


def uncommented(text: str) -> str:
    """Every setting that has a default, set."""
    lines = [line for line in text.split("\n") if not line.endswith("# no default")]
    return "\n".join(re.sub(r"^#(?=\S+ = )", "", line) for line in lines)


def test_the_sample_is_sound_and_keeps_to_the_contract(kit: Any) -> None:
    settle(kit)
    settings = kit.read(sample_config()).settings
    assert [pin.name for pin in settings.plugins.enable] == list(BUNDLED)
    assert settings.agent.state == kit.folder / "state"
    [folder] = settings.folders
    assert (folder.name, folder.path, folder.settle) == ("inbox", kit.folder / "inbox", 2.0)
    assert folder.destinations == ("reports",)
    [destination] = settings.destinations
    assert (destination.transport, destination.options) == ("directory", {"path": "reports"})
    assert (settings.queue.max_items, settings.queue.max_bytes, settings.queue.when_full) == (100_000, 10**10, "reject")


def test_setting_everything_to_its_default_changes_nothing(kit: Any) -> None:
    settle(kit)
    before = effective_settings(kit.read(sample_config(kit.catalog)))["settings"]
    text = uncommented(sample_config(kit.catalog))
    assert text != sample_config(kit.catalog)
    assert effective_settings(kit.read(text))["settings"] == before


def test_every_setting_and_option_stands_in_it_with_its_description(kit: Any) -> None:
    text = sample_config(kit.catalog)
    flat = " ".join(re.sub(r"(?m)^# ", "", text).split())
    root = compose(kit.catalog)
    schemas = [root["properties"][name] for name in SECTIONS]
    schemas = [schema.get("items", schema) for schema in schemas]
    schemas += [part for name, part in root["$defs"].items() if name != "secret"]
    for schema in schemas:
        for name, option in schema.get("properties", {}).items():
            assert re.search(rf"(?m)^#?{name} = ", text), name
            assert follow(option, root)["description"] in flat


def test_even_examples_are_toml(kit: Any) -> None:
    text = re.sub(r"(?m)^#(?=\S+ = )", "", sample_config(kit.catalog))
    assert tomllib.loads(text)["transport"]["http"]["token"] == {"env": "NAME"}


def test_no_line_is_too_long() -> None:
    assert max(map(len, sample_config().split("\n"))) <= 130


def test_the_reference_tells_of_every_setting(kit: Any) -> None:
    text = reference(kit.catalog)
    for title in ("`[agent]`", "`[[folder]]`", "`[converter.csv]`", "`[transport.http]`", "`[policy.pause]`"):
        assert f"## {title}\n" in text
    assert '| `settle` | duration, more than 0 s and at most 1 d | `"2 s"` |' in text
    assert "| `token` | secret |  | The bearer token. |" in text
    assert "| `url` | URL | **required** | Where reports go. |" in text
    assert "| `auth.kind` | `basic` or `bearer` | **required** | The scheme. |" in text
    assert "| `converters[].id` | text | **required** |" in text
    assert "| `socket` | path | agent.sock in the state folder |" in text
    assert "It has no options." in text
    assert "token.env" not in text
    assert not re.search(r"[^`]\n\| [^|]*\|[^|]*\|[^|]*\|[^|]*\|[^|\n]*\|", text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ('a "b" \\ \n', '"a \\"b\\" \\\\ \\n"'),
        ([1, "x", True], '[1, "x", true]'),
        ({"a": 1, "b c": [2]}, '{ a = 1, "b c" = [2] }'),
        ({}, "{}"),
        (1.0, "1.0"),
    ],
)
def test_values_as_toml(value: Any, text: str) -> None:
    assert toml(value) == text
    assert tomllib.loads(f"x = {text}")["x"] == value


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "string"}, "text"),
        ({"type": ["integer", "null"]}, "whole number or null"),
        ({"properties": {}}, "table"),
        ({"type": "array", "items": {"type": "string", "x-path": True}}, "list of path"),
        ({"type": "array"}, "list"),
        ({"anyOf": [{"const": "rest"}, {"type": "array", "items": True}]}, "`rest` or list"),
        ({"type": "number", "x-unit": "bytes", "minimum": 1}, "size, at least 1 B"),
        (SECRET, "secret"),
    ],
)
def test_kinds_in_words(schema: Any, words: str) -> None:
    assert kind(schema, {}) == words


def test_defaults_in_words() -> None:
    assert default({"default": 90, "x-unit": "seconds"}, {}) == '`"90 s"`'
    assert default({}, {}) == ""
