"""The composed schema, and the options that are completed by it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from dropmill.config import compose
from dropmill.config.annotations import follow, visit
from dropmill.config.composition import embed
from dropmill.config.options import complete
from dropmill.config.quantities import PATTERNS
from dropmill.config.validation import findings
from dropmill.config.wording import bounds, expected, invalid_url, password_in_url, render, sounds_secret
from support.catalogs import FakeCatalog


def test_it_is_a_schema_and_json(kit: Any) -> None:
    schema = compose(kit.catalog)
    jsonschema_rs.meta.validate(json.loads(json.dumps(schema)))
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_another_validator_agrees_with_it(kit: Any, base: str) -> None:
    """What editors make of the schema is what the agent makes of it."""
    import tomllib

    validator = jsonschema_rs.Draft202012Validator(compose(kit.catalog))
    data = tomllib.loads(base + "[converter.csv]\nwait = '5 min'\n")
    assert validator.is_valid(data)
    for path, wrong in (("settle", -1), ("settle", "soon"), ("setle", 1), ("converters", []), ("name", "a/b")):
        folder = {**data["folder"][0], path: wrong}
        assert not validator.is_valid({**data, "folder": [folder]}), (path, wrong)
    layer = {"csv": {"delimiter": "too long"}}
    assert not validator.is_valid({**data, "converter": layer})
    entry = {"id": "csv", "options": {"delimter": ";"}}
    assert not validator.is_valid({**data, "folder": [{**data["folder"][0], "converters": [entry]}]})


def test_every_setting_is_described(kit: Any) -> None:
    def check(schema: dict[str, Any], where: str) -> None:
        for name, part in schema.get("properties", {}).items():
            found = follow(part, root)
            assert found.get("description", "").endswith("."), f"{where}.{name}"
            check(found, f"{where}.{name}")
            if isinstance(found.get("items"), dict):
                check(found["items"], f"{where}.{name}[]")

    root = compose(kit.catalog)
    check({"properties": root["properties"]}, "")


def test_what_is_embedded_refers_to_itself_where_it_stands() -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "a": {"$ref": "#/$defs/x"},
            "$ref": {"type": "string", "description": "An option of that name."},
            "s": {"type": "string", "writeOnly": True, "pattern": "^x", "description": "Secret."},
            "any": {"anyOf": [{"items": {"$ref": "#"}}, True, False]},
            "wait": {"type": "integer", "x-unit": "seconds"},
        },
        "$defs": {"x": {"const": {"$ref": "#/stays"}}},
        "additionalProperties": False,
    }
    assert embed(schema, "#/$defs/k.i") == {
        "type": "object",
        "properties": {
            "a": {"$ref": "#/$defs/k.i/$defs/x"},
            "$ref": {"type": "string", "description": "An option of that name."},
            "s": {"$ref": "#/$defs/secret", "writeOnly": True, "description": "Secret."},
            "any": {"anyOf": [{"items": {"$ref": "#/$defs/k.i"}}, True, {"not": {}}]},
            "wait": {"type": ["integer", "string"], "x-unit": "seconds", "pattern": PATTERNS["seconds"]},
        },
        "$defs": {"x": {"const": {"$ref": "#/stays"}}},
        "additionalProperties": False,
    }


def test_options_that_follow_a_pattern_may_stand_in_any_layer(kit: Any, base: str) -> None:
    from dataclasses import replace

    offer = kit.catalog.converters["json"]
    schema = {
        "type": "object",
        "additionalProperties": False,
        "patternProperties": {"^x_": {"type": "integer", "description": "X."}},
    }
    kit.catalog.converters["json"] = replace(offer, spec=replace(offer.spec, options_schema=schema))
    settings = kit.read(base + "[converter.json]\nx_a = 1\n").settings
    assert settings.folders[0].converters[1].options == {"x_a": 1}
    problem = kit.problem(base + "[converter.json]\nx_a = 'one'\n")
    assert (problem.code, problem.key) == ("DM-C011", "converter.json.x_a")
    assert kit.problem(base + "[converter.json]\ny_a = 1\n").code == "DM-C010"


def default(value: Any, **more: Any) -> dict[str, Any]:
    return {"default": value, **more}


@pytest.mark.parametrize(
    ("schema", "options", "complete_options"),
    [
        ({"properties": {"a": default(1), "b": {}}}, {}, {"a": 1}),
        ({"properties": {"a": default(1)}}, {"a": 2}, {"a": 2}),
        ({"properties": {"t": {"properties": {"a": default(1)}}}}, {}, {}),
        ({"properties": {"t": {"properties": {"a": default(1)}}}}, {"t": {}}, {"t": {"a": 1}}),
        ({"properties": {"t": default({}, properties={"a": default(1)})}}, {}, {"t": {"a": 1}}),
        (
            {"properties": {"l": {"items": {"properties": {"a": default(1)}}}}},
            {"l": [{}, {"a": 2}]},
            {"l": [{"a": 1}, {"a": 2}]},
        ),
        (
            {"properties": {"l": {"prefixItems": [{"properties": {"a": default(1)}}]}}},
            {"l": [{}, {}]},
            {"l": [{"a": 1}, {}]},
        ),
        ({"properties": {"a": {"$ref": "#/$defs/d"}}, "$defs": {"d": default(7)}}, {}, {"a": 7}),
        ({"allOf": [{"properties": {"a": default(1)}}]}, {}, {"a": 1}),
        (
            {
                "oneOf": [
                    {"properties": {"k": {"const": "x"}, "a": default(1)}, "required": ["k"]},
                    {"properties": {"k": {"const": "y"}, "b": default(2)}, "required": ["k"]},
                ]
            },
            {"k": "y"},
            {"k": "y", "b": 2},
        ),
        (
            {
                "if": {"properties": {"k": {"const": "x"}}},
                "then": {"properties": {"a": default(1)}},
                "else": {"properties": {"b": default(2)}},
            },
            {"k": "y"},
            {"k": "y", "b": 2},
        ),
        ({"anyOf": [False, True], "properties": {"a": True, "b": default([1])}}, {}, {"b": [1]}),
    ],
)
def test_defaults_are_filled_in_where_they_belong(schema: Any, options: Any, complete_options: Any) -> None:
    complete(schema, options, schema)
    assert options == complete_options


def test_filling_in_ends_even_where_defaults_hold_themselves() -> None:
    options: dict[str, Any] = {}
    schema: dict[str, Any] = {"properties": {"a": {"$ref": "#", "default": {}}, "b": {"$ref": "#", "default": {}}}}
    complete(schema, options, schema)
    assert options["a"]["b"]["a"] is not options


def test_visiting_ends_where_a_schema_never_does() -> None:
    loop: dict[str, Any] = {"allOf": [{"$ref": "#"}]}
    assert len(list(visit(loop, 1, loop))) < 100
    pure: dict[str, Any] = {"$ref": "#"}
    assert len(list(visit(pure, 1, pure))) == 1


@pytest.mark.parametrize(
    ("schema", "value", "found"),
    [
        ({"not": {"type": "string"}}, "x", [((), "not")]),
        ({"type": "array", "uniqueItems": True}, [1, 1], [((), "uniqueItems")]),
        ({"oneOf": [{"minimum": 1}, {"maximum": 5}]}, 3, [((), "oneOf")]),
        ({"anyOf": [{"required": ["a"]}, {"required": ["b"]}]}, {}, [((), "anyOf")]),
        ({"anyOf": [{"type": "string"}, {"type": ["integer", "null"]}]}, [], [((), "type")]),
        (
            {
                "oneOf": [
                    {"properties": {"k": {"const": "x"}, "n": {"type": "integer"}}},
                    {"properties": {"k": {"const": "y"}}, "required": ["z"]},
                ]
            },
            {"k": "y"},
            [(("z",), "required")],
        ),
        (embed({"properties": {"a": False}}, ""), {"a": 1}, [(("a",), "not")]),
        ({"multipleOf": 5}, 7, [((), "multipleOf")]),
    ],
)
def test_findings_say_which_rule_is_broken(schema: Any, value: Any, found: Any) -> None:
    assert [(finding.path, finding.keyword) for finding in findings(schema, value, schema)] == found


_json = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False) | some.text(max_size=5),
    lambda inner: (
        some.lists(inner, max_size=3)
        | some.dictionaries(
            some.sampled_from(["name", "path", "converters", "id", "options"]) | some.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@settings(deadline=None)
@given(
    some.dictionaries(
        some.sampled_from(
            ["agent", "plugins", "queue", "folder", "destination", "converter", "transport", "policy", "x"]
        ),
        _json,
    )
)
def test_findings_agree_with_another_validator_on_whether_there_is_anything(data: Any) -> None:
    schema = compose(FakeCatalog())
    assert bool(findings(schema, data, schema)) == (not jsonschema_rs.Draft202012Validator(schema).is_valid(data))


def test_settings_alone_cost_no_validator() -> None:
    code = "import sys, dropmill.config.settings; sys.exit('jsonschema' in sys.modules or 'dropmill.plugins' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        ('say "hi"', '"say \\"hi\\""'),
        ("x" * 100, '"' + "x" * 77 + '..."'),
        ("https://me:pw@host/x", '"https://***@host/x"'),
        ([], "[]"),
        ([1], "[...] (1 entry)"),
        ({"a": 1, "b": 2}, "{...} (2 keys)"),
        ({}, "{}"),
        (1.5, "1.5"),
        ("gr\u00fcn", '"gr\u00fcn"'),
    ],
)
def test_values_are_written_short_and_without_secrets(value: Any, text: str) -> None:
    assert render(value) == text


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://host/path?q={serial}", ""),
        ("http://[::1]:8080/", ""),
        ("mqtts://broker", ""),
        ("host/path", "scheme"),
        ("1http://h", "scheme"),
        ("https://", "host"),
        ("https://h:port/", "ort"),
        ("https://h:0/", "port 0"),
        ("https://[::1/", "host cannot be read"),
        ("https://h/a b", "space"),
        ("https://h/\n", "space"),
    ],
)
def test_urls(url: str, reason: str) -> None:
    found = invalid_url(url)
    assert (found == "") == (reason == "")
    assert reason in found


def test_passwords_in_urls_are_noticed() -> None:
    assert password_in_url("https://user:pw@host/")
    assert not password_in_url("https://host/@user")
    assert not password_in_url("https://[::1")


def test_names_that_sound_secret() -> None:
    assert all(
        map(sounds_secret, ["password", "API_KEY", "apikey", "key", "client-secret", "authToken", "private_key"])
    )
    assert not any(map(sounds_secret, ["keyboard", "delimiter", "monkey", "path"]))


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"minimum": 0, "maximum": 100}, "from 0 to 100"),
        ({"exclusiveMinimum": 0.5}, "more than 0.5"),
        ({"minimum": 1, "exclusiveMaximum": 2}, "at least 1 and less than 2"),
        ({"maximum": 60, "x-unit": "seconds"}, "at most 1 min"),
        ({}, ""),
    ],
)
def test_ranges_in_words(schema: Any, words: str) -> None:
    assert bounds(schema) == words


def test_kinds_in_words() -> None:
    assert expected({"type": ["integer", "string", "null"]}) == "a whole number, a text in quotes or nothing"
    assert expected({}) == "something else"
