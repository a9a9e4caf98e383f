from __future__ import annotations

import fnmatch
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropmill.api import Level, Magic
from dropmill.config.settings import ConverterChoice
from dropmill.conversion.selection import GlobIndex, Selector
from support.conversions import bind

ALPHABET = st.sampled_from("abAB._-1é")
NAMES = st.text(ALPHABET, min_size=1, max_size=8)
PATTERNS = st.lists(
    st.sampled_from(["*", "?", "[ab]", "[!a]", ".", "a", "B", "_", "é", ".b"]), min_size=1, max_size=5
).map("".join)


@given(st.lists(PATTERNS, max_size=8), NAMES)
def test_the_index_finds_what_a_linear_scan_finds(patterns: list[str], name: str) -> None:
    index = GlobIndex((pattern, position) for position, pattern in enumerate(patterns))
    expected = {
        position
        for position, pattern in enumerate(patterns)
        if fnmatch.fnmatchcase(name.casefold(), pattern.casefold())
    }
    assert index.find(name) == expected


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("*.XML", "report.xml", True),
        ("*.tar.gz", "a.TAR.GZ", True),
        ("*.tar.gz", "a.gz", False),
        ("TEST-*.xml", "test-1.xml", True),
        ("report_*", "Report_7", True),
        ("*result*", "my_result_1", True),
        ("exact.csv", "EXACT.csv", True),
        ("exact.csv", "xexact.csv", False),
        ("*.[ct]sv", "a.tsv", True),
        ("*", "anything", True),
        ("prüf*.csv", "Pru\u0308f1.csv", True),
        ("*.a\nb", "x.a\nb", True),
    ],
)
def test_patterns(pattern: str, name: str, fits: bool) -> None:
    assert (GlobIndex([(pattern, 0)]).find(name) == {0}) is fits


def test_patterns_that_cannot_fit_are_not_tried() -> None:
    index = GlobIndex(
        (f"*_{letter}.{letter}{letter}{letter}", position) for position, letter in enumerate(string.ascii_lowercase)
    )
    tried = []

    class Watched:
        def match(self, name: str) -> None:
            tried.append(name)

    for extension, members in index._by_extension.items():
        index._by_extension[extension] = [(Watched(), position) for _, position in members]  # type: ignore[misc]
    assert index.find("report_q.qqq") == set()
    assert len(tried) == 1


def choice(name: str, minimum: str | None = None, **options: Any) -> ConverterChoice:
    return ConverterChoice(id=name, options=options, min_level=minimum)


CONVERTERS = {
    binding.spec.id: binding
    for binding in (
        bind("csv", "Lines", ["*.csv", "*.txt"]),
        bind("text", "Lines", ["*.txt"], sizes={"min_bytes": 10, "max_bytes": 100}),
        bind("bin", "Lines", ["*.bin"], magic=(Magic(b"AB", 1), Magic(b"XY"))),
    )
}


def never() -> bytes:
    raise AssertionError("the head is not needed")


def test_the_folders_list_and_globs() -> None:
    selector = Selector([choice("csv"), choice("text")], CONVERTERS)
    found = selector.shortlist("sub/a.txt", 50, never)
    assert [candidate.binding.spec.id for candidate in found.candidates] == ["csv", "text"]
    assert selector.ordered
    found = selector.shortlist("a.csv", 50, never)
    assert [candidate.binding.spec.id for candidate in found.candidates] == ["csv"]
    assert found.considered == {"text": "its name fits none of *.txt"}


@pytest.mark.parametrize(("size", "reason"), [(9, "fewer than 10"), (101, "more than 100")])
def test_sizes(size: int, reason: str) -> None:
    found = Selector([choice("text")], CONVERTERS).shortlist("a.txt", size, never)
    assert not found.candidates
    assert reason in found.considered["text"]


def test_magic_is_looked_for_on_one_head() -> None:
    reads = []

    def head() -> bytes:
        reads.append(1)
        return b"?AB"

    selector = Selector([choice("bin"), choice("bin", level="x")], CONVERTERS)
    found = selector.shortlist("a.bin", 3, head)
    assert [candidate.base for candidate in found.candidates] == [Level.LIKELY, Level.LIKELY]
    assert len(reads) == 1
    assert Selector([choice("bin")], CONVERTERS).shortlist("a.bin", 3, lambda: b"XY").candidates
    refused = Selector([choice("bin")], CONVERTERS).shortlist("a.bin", 3, lambda: b"ZZZ")
    assert refused.considered == {"bin": "its first bytes are not those of the format"}


def test_no_list_means_all_without_an_order() -> None:
    selector = Selector([], CONVERTERS)
    assert not selector.ordered
    assert [candidate.binding.spec.id for candidate in selector.all()] == ["bin", "csv", "text"]


def test_missing_converters_are_named() -> None:
    found = Selector([choice("gone"), choice("csv")], CONVERTERS).shortlist("a.csv", 1, never)
    assert found.missing == ["gone"]
    assert len(found.candidates) == 1


def test_one_converter_twice_with_other_options() -> None:
    first, second = Selector([choice("csv", delimiter=","), choice("csv", delimiter=";")], CONVERTERS).all()
    assert first.key != second.key
    assert first.setup()["options"] == {"delimiter": ","}
    same = Selector([choice("csv", delimiter=",")], CONVERTERS).all()[0]
    assert same.key == first.key


def test_forcing_one() -> None:
    selector = Selector([choice("csv", delimiter=";")], CONVERTERS)
    assert selector.forced("csv").candidates[0].choice.options == {"delimiter": ";"}
    assert selector.forced("text").candidates[0].choice.options == {}
    assert selector.forced("gone").missing == ["gone"]


def test_minimum_levels_and_labels() -> None:
    (candidate,) = Selector([choice("csv", minimum="likely")], CONVERTERS).all()
    assert candidate.minimum is Level.LIKELY
    assert candidate.binding.label == "csv 1.2.3"
    (candidate,) = Selector([choice("csv")], CONVERTERS).all()
    assert candidate.minimum is None
