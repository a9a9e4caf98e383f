from __future__ import annotations

import json
import math
from types import MappingProxyType
from typing import Any

import jsonschema
import pytest

from dropmill.reports.errors import InvalidReport
from dropmill.reports.schema import REPORT, Schemas, report_schema


def whole(**more: Any) -> dict[str, Any]:
    source = {"path": "a", "sha256": "0" * 64, "size": 1, "format": "csv", "converter": {"name": "csv", "version": "1"}}
    return {
        "schemaVersion": "1.0",
        "reportId": "9bd1bd02-c5b7-5ffa-8b3d-4dde7a4af7d7",
        "kind": "test",
        "outcome": "passed",
        "source": source,
        **more,
    }


def test_the_schema_is_valid_and_named() -> None:
    jsonschema.Draft202012Validator.check_schema(dict(report_schema()))
    assert report_schema()["$id"] == REPORT


@pytest.mark.parametrize(
    ("change", "path", "part"),
    [
        ({"outcome": "splendid"}, "$.outcome", '"splendid" is not one of'),
        ({"reportId": "7"}, "$.reportId", 'is not a "uuid"'),
        ({"start": "yesterday"}, "$.start", "does not match"),
        ({"surprise": 1}, "$", "'surprise' was unexpected"),
        ({"root": {"name": "r", "type": "group"}}, "$.root", '"outcome" is a required property'),
        ({"duration": math.nan}, "$.duration", '{"nonFinite":"NaN"} is not of types'),
        ({"duration": -1}, "$.duration", "minimum"),
    ],
)
def test_both_validators_refuse_what_breaks_it(change: dict[str, Any], path: str, part: str, schemas: Schemas) -> None:
    with pytest.raises(InvalidReport) as caught:
        schemas.render(REPORT, whole(**change))
    assert caught.value.code == "DM-V004"
    assert caught.value.path == path
    assert part in str(caught.value)
    assert caught.value.value

    reference = jsonschema.Draft202012Validator(dict(report_schema()), format_checker=jsonschema.FormatChecker())
    document = json.loads(json.dumps(whole(**change)).replace("NaN", '{"nonFinite": "NaN"}'))
    assert not reference.is_valid(document)


def test_a_valid_document_comes_back_as_it_is(schemas: Schemas) -> None:
    document = whole(operator=None, misc=[{"name": "a", "value": None}])
    checked, encoded = schemas.render(REPORT, document)
    assert checked is document
    assert json.loads(encoded) == document


def test_a_held_member_counts_but_is_not_written(schemas: Schemas) -> None:
    _, encoded = schemas.render(REPORT, whole(), "source")
    assert "source" not in json.loads(encoded)
    with pytest.raises(InvalidReport, match="required property"):
        schemas.render(REPORT, {key: member for key, member in whole().items() if key != "source"}, "source")


def test_nan_never_becomes_null(schemas: Schemas) -> None:
    measurement = {"name": "u", "value": math.inf, "status": "passed", "unit": None}
    root = {"name": "r", "type": "test", "outcome": "passed", "measurements": [measurement]}
    _, encoded = schemas.render(REPORT, whole(root=root))
    assert json.loads(encoded)["root"]["measurements"][0]["value"] == {"nonFinite": "Infinity"}

    # Where the schema says nothing of a value's type, no validator would have noticed.
    unit = {"children": [{"type": "board", "serial": None, "note": math.nan}]}
    _, encoded = schemas.render(REPORT, whole(unit=unit))
    assert json.loads(encoded)["unit"]["children"][0]["note"] == {"nonFinite": "NaN"}


def test_unusual_types_are_validated_as_what_they_become(schemas: Schemas) -> None:
    _, encoded = schemas.render(REPORT, MappingProxyType(whole(unit=MappingProxyType({"serial": "S"}))))
    assert json.loads(encoded)["unit"] == {"serial": "S"}
    with pytest.raises(InvalidReport) as caught:
        schemas.render(REPORT, MappingProxyType(whole(outcome=b"passed")))
    assert (caught.value.code, caught.value.path) == ("DM-V005", "$.outcome")


def test_a_number_beyond_64_bits_is_refused(schemas: Schemas) -> None:
    with pytest.raises(InvalidReport) as caught:
        schemas.render(REPORT, whole(misc=[{"name": "n", "value": 2**70}]))
    assert (caught.value.code, caught.value.path) == ("DM-V005", "$.misc[0].value")


def test_steps_are_validated_one_by_one(schemas: Schemas) -> None:
    step = {
        "name": "s",
        "type": "test",
        "outcome": "passed",
        "steps": [{"name": "t", "type": "action", "outcome": "failed"}],
    }
    assert json.loads(schemas.render_step(step, 0)[1]) == step
    with pytest.raises(InvalidReport) as caught:
        schemas.render_step({**step, "duration": "long"}, 17)
    assert caught.value.path == "$.root.steps[17].duration"
    with pytest.raises(InvalidReport):
        schemas.render_step("no step", 3)


def test_a_message_stays_short(schemas: Schemas) -> None:
    with pytest.raises(InvalidReport) as caught:
        schemas.render(REPORT, whole(operator=["x" * 5_000]))
    assert len(str(caught.value)) < 1_000


def test_unknown_and_declared_schemas(schemas: Schemas) -> None:
    assert schemas.render("urn:test:weather", {"t": 1})[1] == b'{"t":1}'
    with pytest.raises(InvalidReport) as caught:
        schemas.render("urn:test:climate", {"t": 1})
    assert caught.value.code == "DM-V006"
    assert "urn:dropmill:report:1, urn:test:weather" in str(caught.value)


@pytest.mark.parametrize(
    "declared",
    [
        {"type": "object"},
        {"$id": 7},
        {"$id": REPORT},
        {"$id": "urn:x", "type": "no such type"},
        {"$id": "urn:x", "$ref": "https://example.com/schema.json"},
    ],
)
def test_a_schema_that_cannot_be_used_is_refused(declared: dict[str, Any]) -> None:
    with pytest.raises(InvalidReport) as caught:
        Schemas([declared])
    assert caught.value.code == "DM-V006"


def test_json_text_is_held_to_its_schema(schemas: Schemas) -> None:
    schemas.check_text("urn:test:weather", b' {"t": 21.5}\n')
    with pytest.raises(InvalidReport) as caught:
        schemas.check_text("urn:test:weather", b"{}")
    assert caught.value.code == "DM-V004"
    with pytest.raises(InvalidReport) as caught:
        schemas.check_text("urn:test:weather", b"{t: 1}")
    assert caught.value.code == "DM-V005"
