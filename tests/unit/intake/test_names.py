"""Which names are candidates, and what becomes of a name that is taken."""

from __future__ import annotations

import fnmatch
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropmill.intake.entries import entry_name, is_id, parse_entry
from dropmill.intake.names import NameFilter, _Patterns, printable, with_suffix

ID = "0123456789abcdef"


@pytest.mark.parametrize(
    "name",
    [
        ".hidden",
        "._mac",
        "~$open.xlsx",
        "a.tmp",
        "A.TMP",
        "a.part",
        "a.filepart",
        "a.crdownload",
        "Thumbs.db",
        "desktop.ini",
    ],
)
def test_built_in_excludes(name: str) -> None:
    names = NameFilter()
    assert not names.takes(name, name)
    assert "built-in exclude" in (names.why_not(name) or "")


@pytest.mark.parametrize(
    "name", ["a.csv", "tmp", "a.tmp.csv", "part", "x~$", "Ünïcode .xml", "bad\udcff.csv", "dot.", " lead"]
)
def test_everything_else_is_taken(name: str) -> None:
    assert NameFilter().takes(name, name)
    assert NameFilter().why_not(name) is None


def test_include_and_exclude() -> None:
    names = NameFilter(["*.csv", "deep/*/x*.xml"], ["old*", "skip/*"])
    assert names.takes("a.csv", "a.csv")
    assert not names.takes("a.CSV", "a.CSV")
    assert not names.takes("old.csv", "sub/old.csv")
    assert not names.takes("a.csv", "skip/a.csv")
    assert names.takes("x1.xml", "deep/er/x1.xml")
    assert not names.takes("x1.xml", "x1.xml")
    assert names.why_not("old.csv") == "the exclude pattern 'old*' matches"
    assert names.why_not("skip/a.csv") == "the exclude pattern 'skip/*' matches"
    assert names.why_not("x1.xml") == "no include pattern matches: *.csv, deep/*/x*.xml"


def test_our_own_folders_are_never_entered() -> None:
    names = NameFilter(own=["done", "out/failed"])
    assert not names.enters("done", "done")
    assert not names.enters("failed", "out/failed")
    assert not names.enters(".dropmill", ".dropmill")
    assert not names.enters("@eaDir", "@eaDir")
    assert names.enters("done", "sub/done")
    assert names.why_not("done/a.csv") == "done/ belongs to dropmill"
    assert names.why_not(".git/a.csv") == "its folder .git/ is left out: the built-in exclude '.*' matches"


def test_an_excluded_folder_is_not_entered() -> None:
    names = NameFilter(exclude=["old", "a/b"])
    assert not names.enters("old", "old")
    assert not names.enters("b", "a/b")
    assert names.enters("b", "b")
    assert names.why_not("old/x.csv") == "its folder old/ is left out: the exclude pattern 'old' matches"


def test_markers_are_no_candidates() -> None:
    names = NameFilter(marker_suffixes=(".done", ".ready"))
    assert names.is_marker("a.csv.done")
    assert not names.is_marker(".a.done")
    assert not names.takes("a.csv.done", "a.csv.done")
    assert names.takes("a.csv", "a.csv")
    assert names.why_not("a.ready") == "it is a marker for another file"
    assert not NameFilter().is_marker("a.done")


def test_the_suffix_goes_before_the_extension() -> None:
    assert with_suffix("a.csv", 1_700_000_000.5, "deadbeef" * 8) == "a-20231114T221320500Z-deadbeef.csv"
    assert with_suffix("a.csv", 1_700_000_000.5, "deadbeef" * 8, number=2) == "a-20231114T221320500Z-deadbeef-2.csv"


names_of_files = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="/\0"), min_size=1, max_size=255
).filter(lambda name: len(os.fsencode(name)) <= 255 and name not in (".", ".."))


@given(names_of_files)
def test_a_suffixed_name_fits_and_keeps_its_extension(name: str) -> None:
    changed = with_suffix(name, 1_700_000_000.0, "deadbeef" * 8)
    assert len(os.fsencode(changed)) <= 255
    assert changed != name
    extension = os.path.splitext(name)[1]
    if len(os.fsencode(extension)) < 200:
        assert changed.endswith(extension)


@given(names_of_files)
def test_an_entry_gives_its_name_back(name: str) -> None:
    entry = entry_name(ID, name)
    assert all(len(os.fsencode(part)) <= 255 for part in entry.split("/"))
    if "/" in entry:
        assert len(os.fsencode(name)) > 238
        assert entry == f"{ID}/{name}"
        assert parse_entry(ID) == (ID, "")
    else:
        assert parse_entry(entry) == (ID, name)


@pytest.mark.parametrize("entry", ["", "short", "0123456789ABCDEF-x", ID + "x", ID + "-", "-" * 20])
def test_what_is_not_ours_is_not_parsed(entry: str) -> None:
    assert parse_entry(entry) is None


def test_ids() -> None:
    assert is_id(ID)
    assert not is_id(ID + "0")


def test_undecodable_bytes_are_shown_as_escapes() -> None:
    assert printable(os.fsdecode(b"a\xff.csv")) == "a\\xff.csv"


patterns = st.sampled_from(
    ["*", "a*", "*a", "*a*", "a", "A?", "[ab]*", "**", "", "*.csv", "a*b", "~$*", "*.", ".*", "x.*.y"]
)


@given(st.lists(patterns, min_size=1, max_size=4), st.text("aAb.$~xyc", max_size=6))
def test_patterns_match_as_fnmatch_does(globs: list[str], name: str) -> None:
    assert _Patterns(globs).match(name) == any(fnmatch.fnmatchcase(name, glob) for glob in globs)
    folded = any(fnmatch.fnmatchcase(name.lower(), glob.lower()) for glob in globs)
    assert _Patterns(globs, fold=True).match(name) == folded
