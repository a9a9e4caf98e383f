from __future__ import annotations

import pytest

from dropmill.foundation.similar import closest


@pytest.mark.parametrize(
    ("word", "candidates", "meant"),
    [
        ("setle", ["settle", "rescan"], "settle"),
        ("Max-Items", ["max_items", "max_bytes"], "max_items"),
        ("dest", ["destinations", "name"], "destinations"),
        ("xyz", ["settle", "rescan"], ""),
        ("", ["a"], ""),
        ("a", [], ""),
        ("de", ["destinations"], ""),
        ("colour", ["colours", "color"], "colours"),
    ],
)
def test_what_was_probably_meant(word: str, candidates: list[str], meant: str) -> None:
    assert closest(word, candidates) == meant


def test_the_order_of_candidates_makes_no_difference() -> None:
    assert closest("ab", ["abc", "abd"]) == closest("ab", ["abd", "abc"]) == "abc"
