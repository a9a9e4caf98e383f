"""Shared options: filters made from the API's parameters, pages, times as people write them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import click
import pytest
from click.testing import CliRunner

from dropmill.cli.options import filter_options, page_options, pages, without_empty
from dropmill.control.filters import DELIVERY_PARAMETERS, FILE_PARAMETERS


@click.command()
@filter_options(FILE_PARAMETERS)
@page_options
def command(limit: int, after: str | None, **options: Any) -> None:
    click.echo(json.dumps({"limit": limit, "after": after, "filter": without_empty(options)}))


def run(*arguments: str, code: int = 0) -> Any:
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == code, result.output
    return json.loads(result.output) if code == 0 else result.output


def test_nothing_is_asked_by_default() -> None:
    assert run() == {"limit": 100, "after": None, "filter": {}}


def test_every_parameter_of_the_api_is_an_option() -> None:
    names = {option for parameter in command.params for option in parameter.opts}
    assert {f"--{parameter.name}" for parameter in FILE_PARAMETERS} <= names
    assert len({parameter.name for parameter in DELIVERY_PARAMETERS}) == len(DELIVERY_PARAMETERS)


def test_filters() -> None:
    asked = run(
        "--folder", "a", "--folder", "b", "--state", "failed", "--name", "*.xml", "--limit", "5", "--after", "x"
    )
    assert asked == {
        "limit": 5,
        "after": "x",
        "filter": {"folder": ["a", "b"], "state": ["failed"], "name": "*.xml"},
    }


def test_unknown_state_is_a_usage_error() -> None:
    assert "'claimed'" in run("--state", "clamed", code=2)


@pytest.mark.parametrize(("text", "ago"), [("90s", 90), ("5m", 300), ("2h", 7200), ("1.5d", 129_600), ("1w", 604_800)])
def test_times_ago(text: str, ago: float) -> None:
    assert run("--since", text)["filter"]["since"] == pytest.approx(time.time() - ago, abs=5)


def test_times() -> None:
    assert run("--until", "2026-11-24T13:00:00Z")["filter"] == {"until": 1795525200.0}
    for wrong in ("yesterday", "2026-11-24T13:00:00", "1e400", "-3"):
        assert "ago" in run(f"--since={wrong}", code=2)


class Source:
    def __init__(self, total: int) -> None:
        self.total = total
        self.asked: list[tuple[str | None, int]] = []

    def __call__(self, after: str | None, limit: int) -> Mapping[str, Any]:
        self.asked.append((after, limit))
        start = int(after or 0)
        items = list(range(start, min(self.total, start + limit)))
        return {"items": items, "next": str(start + len(items)) if start + len(items) < self.total else None}


def rows(source: Source, limit: int) -> list[int]:
    return [item for page in pages(source, after=None, limit=limit) for item in page["items"]]


def test_pages_end_at_the_limit_or_at_the_end() -> None:
    assert rows(Source(1200), 700) == list(range(700))
    assert rows(Source(1200), 0) == list(range(1200))
    assert rows(Source(3), 100) == [0, 1, 2]
    assert rows(Source(0), 100) == []


def test_pages_are_bounded() -> None:
    source = Source(1200)
    rows(source, 0)
    assert source.asked == [(None, 500), ("500", 500), ("1000", 500)]
    source = Source(1200)
    rows(source, 700)
    assert source.asked == [(None, 500), ("500", 200)]
