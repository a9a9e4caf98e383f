"""Whatever a file holds, reading it ends in settings or in a list of problems, and never shows a secret."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from dropmill.config import ConfigError, effective_settings, read
from support.catalogs import FakeCatalog

SECRET = "hunter2-secret"

KEYS = [
    "agent",
    "state",
    "name",
    "log",
    "level",
    "format",
    "plugins",
    "enable",
    "on_error",
    "distribution",
    "version",
    "queue",
    "max_items",
    "max_bytes",
    "when_full",
    "policy",
    "high_water",
    "low_water",
    "retention",
    "conversion",
    "memory",
    "shutdown",
    "graceful",
    "force",
    "control",
    "socket",
    "folder",
    "path",
    "converters",
    "id",
    "options",
    "min_level",
    "destinations",
    "settle",
    "include",
    "done",
    "failed",
    "tags",
    "priority",
    "recursive",
    "destination",
    "transport",
    "retries",
    "timeout",
    "backoff",
    "converter",
    "csv",
    "json",
    "directory",
    "http",
    "reject",
    "pause",
    "delimiter",
    "columns",
    "lookup",
    "wait",
    "url",
    "token",
    "auth",
    "kind",
    "user",
    "password",
    "headers",
    "env",
    "file",
    "limit",
    "resume_below",
    "key",
    "certificate",
]

words = some.sampled_from(
    [
        *KEYS,
        "inbox",
        "reports",
        "5 min",
        "10 GB",
        "../x",
        "/",
        "~",
        "",
        "https://h/",
        "https://u:p@h/",
        "inbox/{x}",
        "basic",
        "bearer",
    ]
)
scalars = some.one_of(
    words, some.text(max_size=4), some.integers(-5, 200), some.integers(), some.floats(), some.booleans()
).filter(lambda value: not isinstance(value, str) or value.isprintable())
values = some.recursive(
    scalars,
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


@some.composite
def near_misses(draw: some.DrawFn) -> dict[str, Any]:
    """A sound configuration of which some parts were replaced, added or taken away."""
    whole: dict[str, Any] = {
        "agent": {"state": "state"},
        "plugins": {"enable": ["csv", "json", "directory", "http", "reject", "pause"]},
        "queue": {"when_full": "pause", "policy": {"resume_below": 0.5}, "low_water": 0.5},
        "folder": [
            {"name": "a", "path": "a", "converters": ["csv", {"id": "json", "options": {}}], "destinations": ["d", "w"]}
        ],
        "destination": [
            {"name": "d", "transport": "directory", "options": {"path": "d"}},
            {
                "name": "w",
                "transport": "http",
                "options": {"url": "https://h/", "token": {"env": "T"}, "headers": {"A": "b"}},
            },
        ],
        "converter": {"csv": {"delimiter": ";", "wait": "1 s", "columns": {"serial": "S"}}},
        "transport": {"http": {"auth": {"kind": "basic", "user": "u", "password": {"env": "T"}}}},
    }
    for _ in range(draw(some.integers(0, 4))):
        parents = list(_containers(whole))
        parent = draw(some.sampled_from(parents))
        if isinstance(parent, dict):
            key = draw(some.sampled_from([*parent, *KEYS]))
            if draw(some.booleans()):
                parent[key] = draw(values)
            else:
                parent.pop(key, None)
        else:
            parent.insert(draw(some.integers(0, len(parent))), draw(values))
    return whole


def _containers(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        yield value
        for item in value.values() if isinstance(value, dict) else value:
            yield from _containers(item)


def toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {toml(item)}' for key, item in value.items())} }}"
    return repr(value)


@settings(max_examples=300, deadline=None)
@given(near_misses() | some.dictionaries(some.sampled_from(KEYS), values, max_size=6))
def test_reading_ends_in_settings_or_problems(data: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "dropmill.toml"
        file.write_text("\n".join(f"{key} = {toml(value)}" for key, value in data.items()), encoding="utf-8")
        try:
            configuration = read(file, lambda _: FakeCatalog(), environment={"T": SECRET})
        except ConfigError as error:
            assert error.problems
            told = [(problem.code, problem.key) for problem in error.problems]
            assert len(told) == len(set(told)), error
            for problem in error.problems:
                assert problem.code.startswith("DM-")
                assert problem.todo
                assert problem.line is not None or problem.key.partition(".")[0].partition("[")[0] not in data, problem
            assert SECRET not in json.dumps(error.as_dict())
        else:
            shown = json.dumps(effective_settings(configuration))
            assert SECRET not in shown
            assert SECRET not in repr(configuration)


@settings(max_examples=200, deadline=None)
@given(some.binary(max_size=200) | some.text(some.characters(codec="utf-8"), max_size=200).map(str.encode))
def test_any_bytes_at_all(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "dropmill.toml"
        file.write_bytes(content)
        with pytest.raises(ConfigError) as caught:
            read(file, lambda _: FakeCatalog(), environment={})
        assert caught.value.problems
