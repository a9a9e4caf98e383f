"""No value makes a name that leaves its folder, hides, or is refused by a file system."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dropmill_plugins.transports.directory.names import MAX_NAME, clean, component, with_suffix


@pytest.mark.parametrize(
    ("value", "cleaned"),
    [
        ("S-1", "S-1"),
        ("../../etc/passwd", "_./.._etc_passwd".replace("/", "_")),
        ("..", "_"),
        (".", "_"),
        ("", "_"),
        ("a/b\\c:d*e?f", "a_b_c_d_e_f"),
        ("tab\tnul\x00", "tab_nul_"),
        (".hidden", "_hidden"),
        ("trailing. . ", "trailing"),
        ("Prüfling 7", "Prüfling 7"),
    ],
)
def test_values(value: str, cleaned: str) -> None:
    assert clean(value) == cleaned


@pytest.mark.parametrize("name", ["CON", "nul.json", "Com1.txt", "LPT9"])
def test_names_that_windows_keeps_for_itself(name: str) -> None:
    assert component(name) == "_" + name
    assert component("CONSOLE.json") == "CONSOLE.json"


def test_long_names_are_cut_keep_their_suffix_and_stay_apart() -> None:
    one, two = component("x" * 300 + "1.json"), component("x" * 300 + "2.json")
    assert one != two
    for name in (one, two):
        assert len(name.encode()) <= MAX_NAME and name.endswith(".json")
    assert len(component("ü" * 200 + ".json").encode()) <= MAX_NAME
    assert len(component("x" * 200 + "." + "y" * 100).encode()) <= MAX_NAME


def test_another_reports_name_is_always_the_same() -> None:
    assert with_suffix("a.json", "k1") == with_suffix("a.json", "k1") != with_suffix("a.json", "k2")
    assert with_suffix("a.json", "k1").startswith("a-") and with_suffix("a.json", "k1").endswith(".json")
    assert with_suffix("noext", "k").startswith("noext-")


anything = st.text(st.characters(codec=None), max_size=400)


@given(anything)
@example("\udcff")
@example("\ud800")
@example("/" * 300)
@example(" . . ")
def test_whatever_the_value_the_name_can_be_used(tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    folder = tmp_path_factory.getbasetemp() / "names"
    folder.mkdir(exist_ok=True)
    names = [component(clean(value)), component(f"report {clean(value)}.json")]
    for name in [*names, *(with_suffix(name, value) for name in names)]:
        assert name not in ("", ".", "..") and "/" not in name
        assert len(os.fsencode(name)) <= 255
        path = folder / name
        path.touch()
        assert path.parent == folder and Path(os.path.realpath(path)).parent == Path(os.path.realpath(folder))
        path.unlink()
