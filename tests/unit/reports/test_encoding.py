from __future__ import annotations

import enum
import json
import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropmill.reports.encoding import encode, is_finite, plain
from dropmill.reports.errors import InvalidReport, json_path, shorten

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)


def marked(value: Any) -> Any:
    """What `plain` must make of a document: the obvious way."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"nonFinite": {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[repr(value)]}
    if isinstance(value, list):
        return [marked(member) for member in value]
    if isinstance(value, dict):
        return {key: marked(member) for key, member in value.items()}
    return value


@given(PLAIN)
def test_what_is_not_finite_is_marked_and_nothing_else_changes(document: Any) -> None:
    assert plain(document) == marked(document)
    assert json.loads(encode(plain(document))) == marked(document)


@given(PLAIN)
def test_finite_documents_are_known(document: Any) -> None:
    assert is_finite(document) == (marked(document) == document)


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.Enum):
    HIGH = 3


class Array:
    """As numpy's scalars and arrays answer."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def tolist(self) -> Any:
        return self._value


class Own(Sequence[int]):
    def __getitem__(self, index: Any) -> Any:
        return [1, 2][index]

    def __len__(self) -> int:
        return 2


class MyFloat(float): ...


class MyInt(int): ...


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (MappingProxyType({"a": (1, 2)}), {"a": [1, 2]}),
        (OrderedDict(b=1), {"b": 1}),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (date(2026, 1, 2), "2026-01-02"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05+00:00"),
        (Array([1.5, math.nan]), [1.5, {"nonFinite": "NaN"}]),
        (Array(MyFloat("inf")), {"nonFinite": "Infinity"}),
        (MyFloat(2.5), 2.5),
        (MyInt(7), 7),
        (Own(), [1, 2]),
        (range(3), [0, 1, 2]),
    ],
)
def test_unusual_values_are_brought_to_plain_ones(value: Any, expected: Any) -> None:
    made = plain({"x": value})["x"]
    assert made == expected
    assert encode(made)


@dataclass
class Record:
    a: float = math.nan


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"a": [0, {"b c": b"bytes"}]}, "$.a[1]['b c']"),
        ({"a": {1: 2}}, "$.a"),
        ({"a": "\udc80"}, "$.a"),
        ({"a\udc80": 1}, "$['a\\udc80']"),
        ([2**64], "$[0]"),
        ([-(2**63) - 1], "$[0]"),
        ({"a": {1, 2}}, "$.a"),
        ({"a": Record()}, "$.a"),
        ({"a": object()}, "$.a"),
    ],
)
def test_what_json_cannot_hold_is_refused_with_its_path(document: Any, path: str) -> None:
    with pytest.raises(InvalidReport) as caught:
        plain(document)
    assert caught.value.code == "DM-V005"
    assert caught.value.path.startswith(path)
    str(caught.value).encode()


def test_a_document_cannot_be_nested_without_end() -> None:
    deep: list[Any] = []
    deep.append(deep)
    with pytest.raises(InvalidReport, match="deeper than 200"):
        plain(deep)


def test_encode_refuses_rather_than_guesses() -> None:
    for document in ({"a": Record()}, {"a": datetime(2026, 1, 1, tzinfo=UTC)}, {1: 2}, "\ud800"):
        with pytest.raises(InvalidReport) as caught:
            encode(document)
        assert caught.value.code == "DM-V005"


def test_paths_and_values_are_shown_short_and_safe() -> None:
    class Nasty:
        def __repr__(self) -> str:
            raise ValueError

    assert json_path(["a", 0, "b c", "d"]) == "$.a[0]['b c'].d"
    assert shorten("x" * 500, 50).endswith("…")
    assert len(shorten("x" * 500, 50)) == 50
    assert shorten(Nasty()) == "<Nasty>"
    assert shorten("\udc80") == "'\\udc80'"
