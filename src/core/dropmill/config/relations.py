"""Checks that settings go together: low below high, the longer time not shorter, done and failed inside their folder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from dropmill.config import schema as core
from dropmill.config.document import Document
from dropmill.config.normalization import get
from dropmill.config.positions import KeyPath
from dropmill.config.problems import ConfigProblem
from dropmill.config.wording import render

__all__ = ["problems"]

_OWN = ".dropmill"
"""The folder inside a watched folder where claimed files lie."""


def problems(document: Document, data: Mapping[str, Any]) -> Iterator[ConfigProblem]:
    """Look at a document as far as it is well-formed; what is not set counts with its default."""

    def clash(path: KeyPath, code: str, what: str, todo: str) -> ConfigProblem:
        return document.problem(path, code, what, todo, value=render(get(document.data, path)))

    queue = get(data, ("queue",))
    low, high = _pair(queue, core.queue(), "low_water", "high_water")
    if low is not None and high is not None and low >= high:
        key = "low_water" if "low_water" in queue else "high_water"
        yield clash(
            ("queue", key),
            "DM-C030",
            f"low_water ({low:g}) must be less than high_water ({high:g})",
            "leave room between them, such as 0.75 and 0.9, or intake would start and stop all the time",
        )
    shutdown = get(data, ("shutdown",))
    graceful, force = _pair(shutdown, core.shutdown(), "graceful", "force")
    if graceful is not None and force is not None and force < graceful:
        key = "force" if "force" in shutdown else "graceful"
        yield clash(
            ("shutdown", key),
            "DM-C031",
            f"force ({force:g} s) must not be less than graceful ({graceful:g} s)",
            "both count from the signal: raise force or lower graceful",
        )
    for number, destination in enumerate(get(data, ("destination",)) or ()):
        backoff, cap = _pair(destination, core.destination(), "backoff", "backoff_cap")
        if backoff is not None and cap is not None and cap < backoff:
            key = "backoff_cap" if "backoff_cap" in destination else "backoff"
            yield clash(
                ("destination", number, key),
                "DM-C036",
                f"backoff_cap ({cap:g} s) must not be less than backoff ({backoff:g} s)",
                "raise backoff_cap or lower backoff",
            )
    for number, folder in enumerate(get(data, ("folder",)) or ()):
        yield from _ends(document, ("folder", number), folder)


def _pair(section: Any, schema: Mapping[str, Any], one: str, other: str) -> tuple[float | None, float | None]:
    """Two numbers of a section, where at least one of them is set and both are well-formed."""
    if not isinstance(section, dict) or not {one, other} & set(section):
        return None, None
    values = [section.get(key, schema["properties"][key]["default"]) for key in (one, other)]
    return values[0], values[1]


def _ends(document: Document, path: KeyPath, folder: Any) -> Iterator[ConfigProblem]:
    """`done` and `failed`."""
    if not isinstance(folder, dict):
        return
    root = folder.get("path")
    if not isinstance(root, str):
        return
    base = os.path.normpath(document.base / root)
    found: dict[str, str] = {}
    for key in ("done", "failed"):
        written = folder.get(key, key)
        place = os.path.normpath(os.path.join(base, written))
        inner = PurePath(place).parts[len(PurePath(base).parts) :] if PurePath(place).is_relative_to(base) else ()
        if not inner:
            yield document.problem(
                (*path, key),
                "DM-C028",
                f"{key} must lie inside the watched folder and must not be that folder itself",
                f'it is relative to the folder: write {key} = "{key}"',
                value=render(written),
            )
        elif inner[0] == _OWN:
            yield document.problem(
                (*path, key),
                "DM-C028",
                f"{_OWN} belongs to the agent: claimed files lie there",
                "choose another name",
                value=render(written),
            )
        else:
            found[key] = place
    if len(found) == 2 and (_within(found["done"], found["failed"]) or _within(found["failed"], found["done"])):
        key = "failed" if "failed" in folder else "done"
        yield document.problem(
            (*path, key),
            "DM-C029",
            "done and failed must be two folders, neither inside the other",
            "give each a name of its own",
            value=render(folder.get(key, key)),
        )


def _within(inner: str, outer: str) -> bool:
    return PurePath(inner).is_relative_to(outer)
