"""The agent may import what registers a converter: it is light, complete and described."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from dropmill.api import ENTRY_POINT_GROUP, ConverterSpec, Level
from dropmill.testing.converting import find_spec, with_defaults

BUNDLED = ("csv", "json", "junit", "wsjf")
HEAVY = ("lxml", "csv", "jsonschema", "orjson", "decimal", "xml", "sqlite3", "asyncio")


@pytest.mark.parametrize("name", BUNDLED)
def test_registering_imports_nothing_heavy(name: str) -> None:
    program = (
        f"import sys; import dropmill.api; before = set(sys.modules); import dropmill_plugins.converters.{name} as module; "
        f"module.register_converters(); print(*sorted(set(sys.modules) - before))"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {one.partition(".")[0] for one in loaded} & set(HEAVY)
    assert not [one for one in loaded if one.endswith((".converter", ".reader", ".table"))]


@pytest.mark.parametrize("name", BUNDLED)
def test_the_entry_point_offers_the_converter_and_its_class(name: str) -> None:
    (point,) = entry_points(group=ENTRY_POINT_GROUP, name=name)
    (spec,) = point.load().register_converters()
    assert isinstance(spec, ConverterSpec)
    assert (spec.id, spec.atomic) == (name, True)
    assert spec.summary
    module, _, class_name = spec.factory.partition(":")
    made = getattr(importlib.import_module(module), class_name)(with_defaults(spec.options_schema, {}))
    assert callable(made.convert)
    assert callable(made.sniff)


def undescribed(schema: Any, path: str = "") -> Iterator[str]:
    if isinstance(schema, dict):
        for name, member in schema.get("properties", {}).items():
            if not member.get("description"):
                yield f"{path}.{name}"
            yield from undescribed(member, f"{path}.{name}")
        for key in ("items", "additionalProperties"):
            yield from undescribed(schema.get(key), f"{path}.{key}")
        for key in ("anyOf", "oneOf"):
            for member in schema.get(key, ()):
                yield from undescribed(member, path)


@pytest.mark.parametrize("name", BUNDLED)
def test_every_option_is_described_and_defaults_are_valid(name: str) -> None:
    schema = find_spec(name).options_schema
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(with_defaults(schema, {}))
    assert list(undescribed(schema)) == []
    assert schema["additionalProperties"] is False


def test_json_never_beats_a_format_that_names_itself() -> None:
    from dropmill.api import Head
    from dropmill_plugins.converters.json.converter import JsonConverter
    from dropmill_plugins.converters.wsjf.converter import WsjfConverter
    from support.expectations import EXPECTED

    general, special = JsonConverter({}), WsjfConverter({})
    for one in EXPECTED:
        if one.converter not in ("json", "wsjf"):
            continue
        data = one.path.read_bytes()
        head = Head(one.path.name, len(data), data[:65_536])
        generic = general.sniff(head)
        assert generic is None or generic.level <= Level.POSSIBLE
        match = special.sniff(head)
        if one.converter == "wsjf":
            assert match is not None
            assert match.level >= Level.LIKELY
        else:
            assert match is None, one.file


def test_the_examples_of_the_documentation_are_valid() -> None:
    page = (Path(__file__).parents[3] / "docs" / "converters.md").read_text(encoding="utf-8")
    examples = re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(examples) == 2
    for text in examples:
        parsed = tomllib.loads(text if "[[folder]]" in text else f"[[folder]]\n{text}")
        for entry in parsed["folder"][0]["converters"]:
            schema = find_spec(entry["id"]).options_schema
            jsonschema.Draft202012Validator(schema).validate(with_defaults(schema, entry["options"]))


def test_an_unknown_converter_is_named() -> None:
    with pytest.raises(LookupError, match="'nobody'"):
        find_spec("nobody")
    with pytest.raises(LookupError, match="'directory'"):
        find_spec("directory")
