from __future__ import annotations

import types
from dataclasses import replace
from typing import Any

import pytest

from dropmill.api import Accepts, ConverterSpec, Magic, PolicySpec, TransportCaps, TransportSpec
from dropmill.plugins.records import checked

CONVERTER = ConverterSpec(id="acme", factory="acme.convert:Acme.Inner", accepts=Accepts(globs=("*.x",)))
TRANSPORT = TransportSpec(id="acme", factory="acme:Acme")
POLICY = PolicySpec(id="acme", factory="acme:Acme")


def flaws(record: object, kind: Any) -> str:
    spec, found = checked(record, kind)
    assert (spec is None) == bool(found)
    return "; ".join(found)


@pytest.mark.parametrize("spec", [CONVERTER, TRANSPORT, POLICY])
def test_a_sound_record_passes(spec: Any) -> None:
    assert checked(spec, type(spec)) == (spec, [])


@pytest.mark.parametrize(
    "record", ["csv", None, {"id": "csv"}, TRANSPORT, type("Sub", (ConverterSpec,), {})("a", "a:A", CONVERTER.accepts)]
)
def test_only_the_type_itself_is_taken(record: object) -> None:
    assert "is not a ConverterSpec" in flaws(record, ConverterSpec)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"id": "Acme"}, "lower-case letters"),
        ({"id": ""}, "lower-case letters"),
        ({"id": 7}, "lower-case letters"),
        ({"id": "a" * 65}, "64 at most"),
        ({"factory": "acme.convert.Acme"}, '"package.module:Class"'),
        ({"factory": "acme:"}, '"package.module:Class"'),
        ({"factory": lambda options: options}, '"package.module:Class"'),
        ({"summary": "two\nlines"}, "one line"),
        ({"summary": None}, "one line"),
        ({"timeout": 0}, "seconds above 0"),
        ({"timeout": float("inf")}, "seconds above 0"),
        ({"timeout": True}, "seconds above 0"),
        ({"timeout": "60"}, "seconds above 0"),
        ({"atomic": 1}, "True or False"),
        ({"accepts": ("*.x",)}, "an Accepts is expected"),
        ({"accepts": Accepts(globs=())}, "a tuple of patterns"),
        ({"accepts": Accepts(globs="*.csv")}, "a tuple of patterns"),
        ({"accepts": Accepts(globs=["*.csv"])}, "a tuple of patterns"),
        ({"accepts": Accepts(globs=("in/*.csv",))}, "without folders"),
        ({"accepts": Accepts(globs=("*",), magic=(b"PK",))}, "Magic"),
        ({"accepts": Accepts(globs=("*",), magic=(Magic(b""),))}, "Magic"),
        ({"accepts": Accepts(globs=("*",), magic=(Magic(b"PK", -1),))}, "Magic"),
        ({"accepts": Accepts(globs=("*",), min_bytes=-1)}, "min_bytes"),
        ({"accepts": Accepts(globs=("*",), min_bytes=10, max_bytes=9)}, "max_bytes"),
    ],
)
def test_a_converter_with_a_flaw_is_refused(change: dict[str, Any], said: str) -> None:
    assert said in flaws(replace(CONVERTER, **change), ConverterSpec)


@pytest.mark.parametrize(
    ("caps", "said"),
    [
        (None, "a TransportCaps is expected"),
        (TransportCaps(max_batch=0), "max_batch"),
        (TransportCaps(max_bytes=0), "max_bytes"),
        (TransportCaps(max_in_flight=True), "max_in_flight"),
        (TransportCaps(idempotency="maybe"), "key, natural or none"),  # type: ignore[arg-type]
        (TransportCaps(ordered="yes"), "ordered"),  # type: ignore[arg-type]
    ],
)
def test_a_transport_with_impossible_caps_is_refused(caps: Any, said: str) -> None:
    assert said in flaws(replace(TRANSPORT, caps=caps), TransportSpec)


def schema(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}


OPTION = {"type": "string", "description": "An option."}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "a JSON Schema of an object is expected"),
        ({"type": "object", "properties": {"a": object()}}, "not JSON"),
        (schema(a={**OPTION, "default": float("nan")}), "not JSON"),
        (schema(a={**OPTION, "description": "x" * 1_000_001}), "larger than"),
        (schema(a={**OPTION, "type": "text"}), "not valid JSON Schema 2020-12"),
        ({**schema(), "type": "array"}, '"type": "object"'),
        ({"type": "object"}, '"additionalProperties": false'),
        ({**schema(), "$schema": "http://json-schema.org/draft-07/schema#"}, "draft-07"),
        (schema(a={"type": "string"}), "option a has no description"),
        (
            schema(a={**OPTION, "type": "object", "properties": {"b": {"type": "string"}}}),
            "option b has no description",
        ),
        (schema(**{"no spaces": OPTION}), "'no spaces'"),
        (schema(a={**OPTION, "default": 7}), "default of option a"),
        (schema(a={**OPTION, "writeOnly": True, "default": "x"}), "with a default"),
        (schema(a={"description": "x", "type": "object", "writeOnly": True}), 'does not say "type": "string"'),
        (schema(a={**OPTION, "$ref": "https://example.org/schema"}), "by #/ alone"),
        (schema(a={**OPTION, "$ref": "other#/x"}), "by #/ alone"),
        (schema(a={**OPTION, "anyOf": [{"$anchor": "here"}]}), "$anchor"),
        ({**schema(), "$id": "urn:x"}, "$id"),
        (schema(a={**OPTION, "pattern": "("}), "cannot be read"),
        (schema(a={**OPTION, "patternProperties": {"[": True}}), "cannot be read"),
        (schema(a={**OPTION, "$ref": "#/$defs/missing", "default": "x"}), "does not exist"),
        (schema(a={**OPTION, "$ref": "#/properties/a/type/0"}), "does not exist"),
        (schema(a={**OPTION, "$ref": "#/properties/a"}), "leads back to itself"),
        (
            schema(a={**OPTION, "anyOf": [True, {"$ref": "#/properties/b"}]}, b={"$ref": "#/properties/a"}),
            "leads back to itself",
        ),
        (schema(a={**OPTION, "x-hint": 7}), "x-hint"),
        (schema(a={**OPTION, "x-path": "yes"}), "x-path"),
        (schema(a={**OPTION, "x-unit": "hours"}), "x-unit"),
    ],
)
def test_an_options_schema_with_a_flaw_is_refused(options: Any, said: str) -> None:
    assert said in flaws(replace(POLICY, options_schema=options), PolicySpec)


def test_a_schema_that_is_nested_too_deep_is_refused() -> None:
    inner: dict[str, Any] = {}
    for _ in range(60):
        inner = {"items": inner}
    assert "deep" in flaws(replace(POLICY, options_schema=schema(a={**OPTION, **inner})), PolicySpec)


def test_references_within_the_schema_are_allowed() -> None:
    options = {
        **schema(
            a={"$ref": "#/$defs/text", "default": "x"},
            b={"oneOf": [{"$ref": "#/$defs/text"}, True], "description": "B."},
        ),
        "$defs": {"text": OPTION},
    }
    assert flaws(replace(POLICY, options_schema=options), PolicySpec) == ""


def test_names_within_an_option_are_free_and_constants_need_no_description() -> None:
    inner = schema(**{"unit.serial": OPTION, "type": {"const": "a"}})
    assert flaws(replace(POLICY, options_schema=schema(columns={**inner, "description": "C."})), PolicySpec) == ""


def test_what_is_kept_is_a_plain_copy() -> None:
    option = dict(OPTION)
    spec, _ = checked(
        replace(POLICY, options_schema=types.MappingProxyType(schema(a=types.MappingProxyType(option)))), PolicySpec
    )
    assert spec is not None
    option["description"] = "changed behind our back"
    assert spec.options_schema == schema(a=OPTION)
    assert type(spec.options_schema["properties"]["a"]) is dict
