"""Templates say the same for every attempt, and nothing about when."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropmill_plugins.transports.templates import NAME_PATTERN, PATTERN, MissingValue, Template, suffix_of, values_of


def item(**fields: Any) -> Any:
    return SimpleNamespace(
        key="id-1.2", report_id="id-1", sha256="ab" * 32, media_type="application/json", fields=fields, attempt=1
    )


def render(text: str, **fields: Any) -> str:
    return Template(text).render(values_of(item(**fields)), lambda value: value)


@pytest.mark.parametrize(
    ("template", "rendered"),
    [
        ("plain", "plain"),
        ("{key}{suffix}", "id-1.2.json"),
        ("{report_id}/{sha256}", "id-1/" + "ab" * 32),
        ("{{key}} is {key}", "{key} is id-1.2"),
        ("{serial}-{count}-{ok}", "S1-3-true"),
        ("{stem}", "TEST-1.part"),
        ("{date} {year}/{month}/{day}", "2026-11-24 2026/11/24"),
        ("{part.no}", "P-7"),
    ],
)
def test_placeholders(template: str, rendered: str) -> None:
    fields = {"serial": "S1", "count": 3, "ok": True, "file": "sub/TEST-1.part.xml", "start": "2026-11-24T13:02:56Z"}
    assert render(template, **fields, **{"part.no": "P-7"}) == rendered


@pytest.mark.parametrize("name", ["serial", "stem", "date", "attempt", "now"])
def test_what_a_report_does_not_have_is_missing(name: str) -> None:
    with pytest.raises(MissingValue, match=name):
        render(f"{{{name}}}", serial="", start="yesterday", other=None)


@pytest.mark.parametrize("text", ["{", "}", "{key", "key}", "{}", "{1}", "{a b}", "{{key}", "{key}}"])
def test_stray_braces_are_refused_by_pattern_and_parser_alike(text: str) -> None:
    with pytest.raises(ValueError, match="stray brace"):
        Template(text)
    assert not re.search(PATTERN, text)


@given(st.text(alphabet="{}ab/_.-1 ", max_size=12))
def test_pattern_and_parser_agree(text: str) -> None:
    try:
        Template(text)
        parsed = True
    except ValueError:
        parsed = False
    assert bool(re.search(PATTERN, text)) == parsed
    assert bool(re.search(NAME_PATTERN, text)) == (parsed and "/" not in text)


def test_values_are_encoded_and_literals_are_not() -> None:
    text = Template("a/{serial}/b").render(values_of(item(serial="x/y")), lambda value: value.replace("/", "%2F"))
    assert text == "a/x%2Fy/b"


@pytest.mark.parametrize(
    ("media_type", "suffix"),
    [
        ("application/json", ".json"),
        ("application/json; charset=utf-8", ".json"),
        ("application/vnd.acme+json", ".json"),
        ("application/vnd.acme+xml", ".xml"),
        ("text/csv", ".csv"),
        ("application/pdf", ".pdf"),
        ("application/x-ndjson", ".ndjson"),
        ("nonsense", ".bin"),
        ("", ".bin"),
    ],
)
def test_suffixes(media_type: str, suffix: str) -> None:
    assert suffix_of(media_type) == suffix
