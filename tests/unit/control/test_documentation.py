"""`docs/api.md` is what the routes say, and the limits that it names are the defaults."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

from dropmill.control import changing, reading, shapes
from dropmill.control.limits import Limits

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
NOTHING = cast("Any", None)


def test_the_page_is_current() -> None:
    text = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "api.py")], capture_output=True, text=True, check=True
    ).stdout
    assert text == PAGE, "run python docs/build.py"


def test_every_route_is_there_once() -> None:
    routes = [*reading.routes(NOTHING, NOTHING, NOTHING), *changing.routes(NOTHING, NOTHING)]
    assert len({(route.method, route.path) for route in routes}) == len(routes)
    for route in routes:
        assert f"\n### {route.method} {route.path}\n" in PAGE
        for parameter in route.parameters:
            assert f"| `{parameter.name}` |" in PAGE


def test_every_shape_is_there() -> None:
    for name in shapes.__all__:
        assert f"\n### {name.removesuffix('Shape')}\n" in PAGE


def test_every_limit_for_clients_is_there() -> None:
    """`sweep` and `stop` are the server's own, `body_grace` and `send_buffer` part of others."""
    named = {"head", "head_bytes", "body_stall", "body_rate", "body_bytes", "write_stall", "request", "keep_alive"}
    named |= {"age", "connections"}
    own = {"sweep", "stop", "body_grace", "send_buffer"}
    assert {field.name for field in dataclasses.fields(Limits)} == named | own
    table = PAGE.partition("## Limits")[2].partition("## Routes")[0]
    assert table.count("\n| ") == len(named) + 1
