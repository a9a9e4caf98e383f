"""What the converters share: times, numbers, encodings, limits, strict JSON, digests."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropmill.api import BadInput
from dropmill.testing import RecordingContext
from dropmill_plugins.converters.common.digest import WarningDigest, silent
from dropmill_plugins.converters.common.encodings import find_encoding, known_encoding, marked_encoding
from dropmill_plugins.converters.common.fields import FieldError, FieldRule, place
from dropmill_plugins.converters.common.measurements import LimitError, judge, limit, measurement
from dropmill_plugins.converters.common.numbers import loses_digits, parse_duration, parse_number
from dropmill_plugins.converters.common.steps import overall, shown
from dropmill_plugins.converters.common.strict_json import Doubled, Inexact, StrictDecoder, decode_text, parse
from dropmill_plugins.converters.common.timestamps import parse_timestamp


@pytest.mark.parametrize(
    ("text", "read", "precision"),
    [
        ("2024-01-03T11:23:00", "2024-01-03T11:23:00", "local-no-offset"),
        ("2024-01-03T 12:40:13", "2024-01-03T12:40:13", "local-no-offset"),
        ("2024-01-03 12:27:54Z", "2024-01-03T12:27:54Z", "exact"),
        ("2024-01-03T12:27:11.21-01:00", "2024-01-03T12:27:11.21-01:00", "exact"),
        ("2024-01-03T12:27:11,5+0530", "2024-01-03T12:27:11.5+05:30", "exact"),
        ("2024-01-03T12:27:11+01", "2024-01-03T12:27:11+01:00", "exact"),
        ("2021-03-07T10:36:56 UTC", "2021-03-07T10:36:56Z", "exact"),
        ("2021-03-07T9:36", "2021-03-07T09:36:00", "local-no-offset"),
        (" 2024-01-03 ", "2024-01-03", "date-only"),
        ("Sat, 07 Dec 2013 10:36:56 GMT", "2013-12-07T10:36:56Z", "exact"),
        ("7 Mar 2021 10:36", "2021-03-07T10:36:00", "local-no-offset"),
        ("2026-01-30T22:01:41.4707353+01:00", "2026-01-30T22:01:41.4707353+01:00", "exact"),
    ],
)
def test_a_time_keeps_what_it_tells(text: str, read: str, precision: str) -> None:
    found = parse_timestamp(text)
    assert found is not None
    assert (found.text, found.precision) == (read, precision)


@pytest.mark.parametrize(
    "text",
    ["", "now", "2024-13-01", "2024-02-30T10:00:00", "2024-01-01T25:00:00", "2024-01-01T10:00:00+25:00", "7 Foo 2021 10:36:56",
     "1602000000000", "31 Feb 2021 10:36:56", "2024-01-01T10:00:00+01:99", "03/04/2024"],
)  # fmt: skip
def test_a_time_is_never_guessed(text: str) -> None:
    assert parse_timestamp(text) is None


def test_a_pattern_alone_decides() -> None:
    found = parse_timestamp("03.01.2024 12:40", "%d.%m.%Y %H:%M")
    assert found is not None
    assert (found.text, found.precision) == ("2024-01-03T12:40:00", "local-no-offset")
    found = parse_timestamp("03.01.2024", "%d.%m.%Y")
    assert found is not None
    assert (found.text, found.precision) == ("2024-01-03", "date-only")
    found = parse_timestamp("2024-01-03 12:40:00 +0530", "%Y-%m-%d %H:%M:%S %z")
    assert found is not None
    assert (found.text, found.exact) == ("2024-01-03T12:40:00+05:30", True)
    assert parse_timestamp("2024-01-03", "%d.%m.%Y") is None
    assert parse_timestamp("2024-01-03 12:40:00 +00:00:30", "%Y-%m-%d %H:%M:%S %z") is None


@pytest.mark.parametrize(
    ("text", "decimal", "thousands", "value"),
    [
        ("42", ".", "", 42),
        (" -1.50 ", ".", "", -1.5),
        ("1,5", ",", "", 1.5),
        ("1.234.567,5", ",", ".", 1234567.5),
        ("12 345", ".", " ", 12345),
        ("-1,234", ".", ",", -1234),
        (".5", ".", "", 0.5),
        ("1e3", ".", "", 1000.0),
        ("9007199254740993", ".", "", 9007199254740992.0),
        ("NaN", ".", "", {"nonFinite": "NaN"}),
        ("-Inf", ".", "", {"nonFinite": "-Infinity"}),
        ("+infinity", ".", "", {"nonFinite": "Infinity"}),
        ("1,5", ".", "", None),
        ("1.5", ",", "", None),
        ("1.5,2", ",", "", None),
        ("12,34", ".", ",", None),
        ("1234,567", ".", ",", None),
        ("", ".", "", None),
        ("1e999", ".", "", None),
        ("0x10", ".", "", None),
        ("1_000", ".", "", None),
        ("٣", ".", "", None),
    ],
)
def test_a_number_is_in_its_declared_notation(text: str, decimal: str, thousands: str, value: Any) -> None:
    found = parse_number(text, decimal, thousands)
    assert found == value
    assert type(found) is type(value)


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**52), 2**52))
def test_what_python_writes_comes_back(value: float) -> None:
    assert parse_number(repr(value)) == value
    assert not loses_digits(repr(value), value)


def test_lost_digits_are_seen() -> None:
    assert loses_digits("0.12345678901234567890", 0.12345678901234568)
    assert not loses_digits("1.500", 1.5)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", (0.0, False)),
        ("1.5", (1.5, False)),
        ("1,234.5", (1234.5, False)),
        ("1,234,567.5", (1234567.5, False)),
        ("1.234,5", (1234.5, False)),
        ("1,234", (1234.0, True)),
        ("1,234,567", (1234567.0, False)),
        ("0,013", (0.013, False)),
        ("12,5", (12.5, False)),
        ("-0.0", (0.0, False)),
        ("1E-3", (0.001, False)),
        ("-1", None),
        ("abc", None),
        ("NaN", None),
        ("inf", None),
        ("1e999", None),
        ("", None),
    ],
)
def test_a_duration_in_every_notation(text: str, seconds: tuple[float, bool] | None) -> None:
    found = parse_duration(text)
    assert found == seconds
    if found is not None:
        assert math.copysign(1, found[0]) == 1


@pytest.mark.parametrize(
    ("data", "name", "certain"),
    [
        ("Größe".encode(), "utf-8", True),
        ("\ufeffa".encode(), "utf-8-sig", True),
        ("a,b\n".encode("utf-16"), "utf-16", True),
        ("a,b\n".encode("utf-32"), "utf-32", True),
        ("a,b\n".encode("utf-16-le"), "utf-16-le", True),
        ("a,b\n".encode("utf-16-be"), "utf-16-be", True),
        ("a,b\n".encode("utf-32-le"), "utf-32-le", True),
        ("a,b\n".encode("utf-32-be"), "utf-32-be", True),
        ("Größe".encode("latin-1"), "cp1252", False),
        ("ab€".encode()[:-1], "cp1252", False),
        (b"", "utf-8", True),
    ],
)
def test_an_encoding_shows_itself_or_is_declared(data: bytes, name: str, certain: bool) -> None:
    found = find_encoding(io.BytesIO(data), "cp1252")
    assert found is not None
    assert (found.name, found.certain) == (name, certain)


def test_nul_bytes_are_no_text() -> None:
    assert find_encoding(io.BytesIO(b"a\0\0\0\0b,c\n"), "cp1252") is None
    assert find_encoding(io.BytesIO(b"a" * 2_000_000 + b"\0"), "cp1252") is None
    assert marked_encoding(b"\0") is None
    assert known_encoding("cp1252")
    assert not known_encoding("klingon")


@pytest.mark.parametrize(
    ("comparator", "low", "high", "expected", "built"),
    [
        (None, 1, 2, None, {"comparator": "GELE", "low": 1, "high": 2}),
        (None, 1, None, None, {"comparator": "GE", "low": 1}),
        (None, None, 2, None, {"comparator": "LE", "high": 2}),
        (None, None, None, "x", {"comparator": "EQ", "expected": "x"}),
        (None, None, None, None, None),
        ("GTLT", 1, 2, None, {"comparator": "GTLT", "low": 1, "high": 2}),
        ("LOG", None, None, None, {"comparator": "LOG"}),
    ],
)
def test_a_limit_follows_from_its_bounds(comparator: Any, low: Any, high: Any, expected: Any, built: Any) -> None:
    assert limit(comparator, low, high, expected) == built


@pytest.mark.parametrize("comparator", ["GELE", "GT", "LT", "EQ"])
def test_a_comparator_without_its_bound_is_wrong(comparator: str) -> None:
    with pytest.raises(LimitError, match=comparator):
        limit(comparator, None, None, None)


@pytest.mark.parametrize(
    ("comparator", "inside", "outside"),
    [
        ("GELE", (1, 1.5, 2), (0.9, 2.1)),
        ("GTLT", (1.5,), (1, 2)),
        ("GTLE", (1.5, 2), (1, 2.1)),
        ("GELT", (1, 1.5), (0.9, 2)),
        ("LTGT", (0.9, 2.1), (1, 1.5, 2)),
        ("LEGE", (0.9, 1, 2, 2.1), (1.5,)),
        ("GE", (1, 5), (0.9,)),
        ("GT", (1.1,), (1, 0)),
        ("LE", (2, 0), (2.1,)),
        ("LT", (1.9,), (2,)),
    ],
)
def test_judging_follows_the_comparator(comparator: str, inside: tuple[float, ...], outside: tuple[float, ...]) -> None:
    low = None if comparator in ("LE", "LT") else 1
    high = None if comparator in ("GE", "GT") else 2
    limits = limit(comparator, low, high, None)
    assert [judge(value, limits) for value in inside] == ["passed"] * len(inside)
    assert [judge(value, limits) for value in outside] == ["failed"] * len(outside)


def test_judging_claims_nothing_that_it_cannot_know() -> None:
    assert judge(1, None) == "unknown"
    assert judge("a", {"comparator": "GE", "low": 1}) == "unknown"
    assert judge(1, {"comparator": "GE", "low": "1"}) == "unknown"
    assert judge(True, {"comparator": "GE", "low": 0}) == "unknown"
    assert judge({"nonFinite": "NaN"}, {"comparator": "GE", "low": 1}) == "failed"
    assert judge({"nonFinite": "Infinity"}, {"comparator": "GE", "low": 1}) == "unknown"
    assert judge(None, {"comparator": "EQ", "expected": 1}) == "unknown"
    assert judge("A", {"comparator": "EQ", "expected": "a"}) == "failed"
    assert judge("A", {"comparator": "CASE_EQ", "expected": "a"}) == "passed"
    assert judge("A", {"comparator": "NE", "expected": "a"}) == "passed"
    assert judge(1, {"comparator": "LOG"}) == "unknown"


def test_a_measurement_keeps_the_text_of_digits_that_it_lost() -> None:
    built = measurement("v", 0.12345678901234568, "unknown", text="0.12345678901234567890", unit="V")
    assert built == {
        "name": "v",
        "value": 0.12345678901234568,
        "status": "unknown",
        "unit": "V",
        "raw": "0.12345678901234567890",
    }


def test_outcomes_of_many() -> None:
    assert overall([]) == "unknown"
    assert overall(["passed", "skipped"]) == "passed"
    assert overall(["skipped"]) == "skipped"
    assert overall(["passed", "failed", "error"]) == "error"
    assert overall(["passed", "unknown"]) == "unknown"


def test_a_name_of_any_bytes_can_be_shown() -> None:
    assert shown("a\udcff.xml") == "a\ufffd.xml"


def test_fields_take_what_fits_them() -> None:
    assert FieldRule.of("outcome", {}).read(" Pass ") == "passed"
    assert FieldRule.of("outcome", {"values": {"GUT": "passed"}}).read("gut") == "passed"
    with pytest.raises(FieldError, match="'PASS'"):
        FieldRule.of("outcome", {"values": {"GUT": "passed"}}).read("PASS")
    assert FieldRule.of("duration", {}).read("1.5") == 1.5
    with pytest.raises(FieldError):
        FieldRule.of("duration", {}).read("-1")
    with pytest.raises(FieldError, match="ISO 8601"):
        FieldRule.of("start", {}).read("yesterday")
    with pytest.raises(FieldError, match="%d"):
        FieldRule.of("start", {"format": "%d.%m.%Y"}).read("2024-01-01")
    assert FieldRule.of("process.code", {}).read("10") == 10
    assert FieldRule.of("process.code", {}).read("010") == "010"
    document: dict[str, Any] = {}
    place(document, "unit.serial", "1")
    place(document, "operator", "me")
    assert document == {"unit": {"serial": "1"}, "operator": "me"}


def test_the_parser_loses_nothing() -> None:
    value = parse(b'{"a": 12345678901234567890123, "b": 1.50, "c": 1e400, "d": 18446744073709551615, "e": 0.1}')
    assert isinstance(value["a"], Inexact)
    assert (value["a"].text, value["a"].number) == ("12345678901234567890123", 1.2345678901234568e22)
    assert type(value["b"]) is float
    assert value["c"].number is None
    assert value["d"] == 2**64 - 1
    decoder = StrictDecoder()
    doubled = decoder.whole('{"a": 1, "a": 2, "b": 3}')
    assert isinstance(doubled, Doubled)
    assert (doubled["a"], doubled.repeated, len(doubled.pairs), decoder.odd) == (2, {"a"}, 3, 1)


@pytest.mark.parametrize(
    "text", ["NaN", "[Infinity]", "-Infinity", "[1,]", "{'a': 1}", '"\t"', "01", "[1] 2", "", " ", "+1", ".5"]
)
def test_the_parser_keeps_to_the_standard(text: str) -> None:
    with pytest.raises(BadInput):
        parse(text.encode())


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
SINGLE = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)


@given(st.recursive(SINGLE, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=20))
def test_whatever_is_json_is_read_as_it_is(value: Any) -> None:
    assert parse(json.dumps(value).encode()) == value
    assert parse(json.dumps(value, ensure_ascii=False).encode()) == value


def test_a_surrogate_needs_its_other_half() -> None:
    assert parse(b'"\\ud83d\\ude00"') == "\U0001f600"
    for text in (b'"\\ud83d"', b'{"\\ude00": 1}', b'[{"a": ["\\ud83d"]}]', b'{"a": 1, "a": "\\udc00"}'):
        with pytest.raises(BadInput) as caught:
            parse(text)
        assert caught.value.code == "JSON-SURROGATE"


def test_bytes_that_are_no_text_are_named_with_their_line() -> None:
    with pytest.raises(BadInput) as caught:
        decode_text(b'{\n"a": "\xff"}')
    assert (caught.value.code, caught.value.line) == ("JSON-ENCODING", 2)
    assert decode_text("[1]".encode("utf-16")) == "[1]"


def test_a_digest_counts_what_it_does_not_pass_on() -> None:
    context = RecordingContext()
    digest = WarningDigest(context, each=2)
    for line in range(5):
        digest.warn("A", "odd", line=line)
    digest.warn("B", "odder")
    assert digest.count("A") == 5
    digest.close()
    assert context.warnings == [
        {"code": "A", "message": "odd", "line": 0},
        {"code": "A", "message": "odd", "line": 1},
        {"code": "B", "message": "odder"},
        {"code": "A", "message": "the same 3 more times"},
    ]
    silent("A", "nobody hears this")
