"""The options of converters, transports and policies, put together from their layers.

Defaults, then `[converter.ID]`, then the folder's or destination's own entry; a later layer replaces an option whole. Every
option remembers which layer it came from, so that a problem of the whole points at the line that caused it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dropmill.config.annotations import follow, visit
from dropmill.config.catalog import Kind
from dropmill.config.composition import definition
from dropmill.config.normalization import get
from dropmill.config.positions import KeyPath
from dropmill.config.vocabulary import Schema

__all__ = ["Merged", "Use", "complete", "merge", "uses"]

_MOST_ROUNDS = 8


@dataclass(frozen=True)
class Use:
    """A place in the file that uses a converter, transport or policy."""

    kind: Kind
    id: str
    entry: KeyPath
    """What names it."""
    own: KeyPath
    """Where its own options stand, if it has any."""

    @property
    def place(self) -> KeyPath:
        """Where its options stand once the configuration is complete."""
        return (*self.own, "options") if self.own == self.entry else self.own

    @property
    def layers(self) -> tuple[KeyPath, KeyPath]:
        """Where options for it may stand, the stronger last."""
        return (self.kind, self.id), self.own


@dataclass(frozen=True)
class Merged:
    """Complete options."""

    options: dict[str, Any]
    sources: Mapping[str, KeyPath]
    """By option, where it stands in the file; none for a default."""

    def source(self, path: KeyPath, use: Use) -> KeyPath:
        """Where in the file a path within the options comes from."""
        if path and path[0] in self.sources:
            return self.sources[str(path[0])] + path[1:]
        return use.own + path


def uses(data: Mapping[str, Any]) -> Iterator[Use]:
    """Every use in a document, in its order."""
    queue = get(data, ("queue",))
    policy = queue.get("when_full", "reject") if isinstance(queue, dict) else "reject"
    if isinstance(policy, str):
        yield Use("policy", policy, ("queue", "when_full"), ("queue", "policy"))
    for number, folder in enumerate(get(data, ("folder",)) or ()):
        for place, entry in enumerate(get(folder, ("converters",)) or ()):
            path: KeyPath = ("folder", number, "converters", place)
            if isinstance(entry, str):
                yield Use("converter", entry, path, path)
            elif isinstance(entry, dict) and isinstance(entry.get("id"), str):
                yield Use("converter", entry["id"], (*path, "id"), (*path, "options"))
    for number, destination in enumerate(get(data, ("destination",)) or ()):
        transport = get(destination, ("transport",))
        if isinstance(transport, str):
            yield Use("transport", transport, ("destination", number, "transport"), ("destination", number, "options"))


def merge(use: Use, data: Mapping[str, Any], root: Schema) -> Merged:
    """The layers of a use in one, with defaults where the plugin's schema is at hand."""
    options: dict[str, Any] = {}
    sources: dict[str, KeyPath] = {}
    for path in use.layers:
        layer = get(data, path)
        if isinstance(layer, dict):
            for key, value in layer.items():
                options[key] = copy.deepcopy(value)
                sources[key] = (*path, key)
    schema = root["$defs"].get(definition(use.kind, use.id))
    if schema is not None:
        complete(schema, options, root)
    return Merged(options, sources)


def complete(schema: Schema, options: dict[str, Any], root: Schema) -> None:
    """Fill in defaults, in tables within the options too (of alternatives, those of the one that fits)."""
    for _ in range(_MOST_ROUNDS):  # a default may be a table that has defaults itself
        filled = False
        for _, part, value in list(visit(schema, options, root, fitting=True)):
            for key, option in part.get("properties", {}).items() if isinstance(value, dict) else ():
                whole = follow(option, root) if isinstance(option, dict) else {}
                if "default" in whole and key not in value:
                    value[key] = copy.deepcopy(whole["default"])
                    filled = True
        if not filled:
            return
