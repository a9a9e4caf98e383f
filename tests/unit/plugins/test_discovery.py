from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dropmill.plugins import discover
from support.sites import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "site")


def test_what_is_installed_is_found_without_being_imported(site: Site) -> None:
    module = site.add("acme", "raise AssertionError('imported')", version="2.3")
    found = discover([str(site.path)])
    [entry] = found.claims["acme"]
    assert (entry.distribution, entry.version, entry.value, entry.api) == ("dropmill-acme", "2.3", module, "v1")
    assert entry.supported
    assert str(entry) == "acme (dropmill-acme 2.3)"
    assert found.problems == []
    assert module not in sys.modules


def test_two_distributions_with_one_name_are_both_named(site: Site) -> None:
    site.add("acme", distribution="acme-one")
    site.add("acme", distribution="acme-two", version="2.0")
    found = discover([str(site.path)])
    assert [entry.distribution for entry in found.claims["acme"]] == ["acme-one", "acme-two"]
    [problem] = found.problems
    assert problem.code == "DM-P002"
    assert "acme-one 1.0 and acme-two 2.0" in problem.what
    assert 'distribution = "..."' in problem.todo


def test_a_plugin_for_another_api_is_reported_by_name(site: Site) -> None:
    module = site.add("future", "raise AssertionError('imported')", group="dropmill.plugins.v2")
    found = discover([str(site.path)])
    assert "future" not in found.claims
    [entry] = found.foreign["future"]
    assert entry.api == "v2"
    assert not entry.supported
    [problem] = found.problems
    assert problem.code == "DM-P003"
    assert "v2" in problem.what
    assert "v1" in problem.what
    assert module not in sys.modules


def test_the_distribution_that_stands_first_on_the_path_shadows_the_other(tmp_path: Path) -> None:
    first, second = Site(tmp_path / "first"), Site(tmp_path / "second")
    first.add("acme", version="1.0")
    second.add("acme", distribution="Dropmill.Acme", version="2.0")
    [entry] = discover([str(first.path), str(second.path)]).claims["acme"]
    assert entry.version == "1.0"


def test_damaged_metadata_costs_nobody_else_anything(site: Site) -> None:
    site.add("good")
    broken = site.path / "broken-1.0.dist-info"
    broken.mkdir()
    (broken / "METADATA").write_text("Name: broken\nVersion: 1\n")
    (broken / "entry_points.txt").write_text("[dropmill.plugins.v1]\nno equals sign here\n")
    found = discover([str(site.path)])
    assert set(found.claims) == {"good"}
    [problem] = found.problems
    assert problem.code == "DM-P006"
    assert "broken-1.0.dist-info" in problem.where


def test_distributions_without_plugins_are_passed_over(site: Site) -> None:
    site.add("other", group="console_scripts")
    (site.path / "plain-1.0.dist-info").mkdir()
    found = discover([str(site.path)])
    assert (found.claims, found.foreign, found.problems) == ({}, {}, [])


def test_the_bundled_plugins_are_found_like_any_other() -> None:
    found = discover()
    assert {"csv", "json", "junit", "wsjf", "directory", "http", "reject", "oldest_first", "pause"} <= set(found.claims)
    assert found.claims["csv"][0].distribution == "dropmill"
