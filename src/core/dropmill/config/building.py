"""Builds the settings from a document that has passed every check, and remembers where each value came from."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dropmill.config import schema as core
from dropmill.config import settings
from dropmill.config.document import Document
from dropmill.config.normalization import get
from dropmill.config.options import Merged, Use, complete
from dropmill.config.positions import KeyPath, spell
from dropmill.config.references import pins

__all__ = ["Effective", "build", "effective"]

_SECTIONS = {
    "agent": core.agent,
    "log": core.log,
    "plugins": core.plugins,
    "queue": core.queue,
    "conversion": core.conversion,
    "shutdown": core.shutdown,
    "control": core.control,
}
_TABLES = {"folder": core.folder, "destination": core.destination}


@dataclass(frozen=True)
class Effective:
    """The whole configuration in the shape of the file: nothing left out, units resolved, paths absolute."""

    data: Mapping[str, Any]
    origins: Mapping[str, str]
    """By key path (`folder[0].settle`): `default`, or `FILE:LINE`."""


def effective(document: Document, data: Mapping[str, Any], merged: Mapping[Use, Merged]) -> Effective:
    """Complete a document.

    Args:
        document: Where values stand.
        data: Its values, checked.
        merged: The options of every use.
    """
    whole: dict[str, Any] = {}
    for name, schema in _SECTIONS.items():
        whole[name] = copy.deepcopy(data.get(name, {}))
        complete(schema(), whole[name], {})
    for name, schema in _TABLES.items():
        whole[name] = copy.deepcopy(data[name])
        for entry in whole[name]:
            complete(schema(), entry, {})
    whole["plugins"]["enable"] = [
        {"name": entry} if isinstance(entry, str) else entry for entry in whole["plugins"]["enable"]
    ]
    for folder in whole["folder"]:
        folder["converters"] = [{"id": entry} if isinstance(entry, str) else entry for entry in folder["converters"]]
    own: dict[KeyPath, Merged] = {}
    for use, options in merged.items():
        get(whole, use.place[:-1])[use.place[-1]] = options.options
        own[use.place] = options
    _paths(document, whole)
    return Effective(whole, dict(_origins(document, whole, own)))


def _paths(document: Document, whole: dict[str, Any]) -> None:
    """Make the core's paths absolute. The names of links are kept: what they point to may change."""
    agent = whole["agent"]
    agent["state"] = _absolute(document.base, agent["state"])
    control = whole["control"]
    control["socket"] = _absolute(document.base, control.get("socket", os.path.join(agent["state"], "agent.sock")))
    for folder in whole["folder"]:
        folder["path"] = _absolute(document.base, folder["path"])
        for key in ("done", "failed"):
            folder[key] = _absolute(Path(folder["path"]), folder[key])


def _absolute(base: Path, path: str) -> str:
    return os.path.normpath(base / path)


def _origins(document: Document, whole: Any, own: Mapping[KeyPath, Merged]) -> Iterator[tuple[str, str]]:
    for path in _leaves(whole, ()):
        source: KeyPath | None = path
        for length in range(len(path)):
            merged = own.get(path[:length])
            if merged is not None:
                option = path[length:]
                source = merged.sources[str(option[0])] + option[1:] if option[0] in merged.sources else None
        if source is not None and isinstance(get(document.data, source[:-1]), str):
            source = source[:-1]  # an entry written as a bare name
        if source is None or get(document.data, source) is None:
            yield spell(path), "default"
        else:
            place_of = document.positions.value(source)
            yield spell(path), f"{document.path.name}:{place_of.line}" if place_of else document.path.name


def _leaves(value: Any, path: KeyPath) -> Iterator[KeyPath]:
    """Paths of single values; lists of single values count as one."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for number, item in enumerate(value):
            yield from _leaves(item, (*path, number))
    else:
        yield path


def build(document: Document, whole: Mapping[str, Any]) -> settings.Settings:
    """The settings of a complete document."""
    return settings.Settings(
        file=document.path,
        base=document.base,
        agent=settings.AgentSettings(**{**whole["agent"], "state": Path(whole["agent"]["state"])}),
        log=settings.LogSettings(**whole["log"]),
        plugins=settings.PluginSettings(enable=tuple(pins(whole)), on_error=whole["plugins"]["on_error"]),
        queue=settings.QueueSettings(**whole["queue"]),
        conversion=settings.ConversionSettings(**whole["conversion"]),
        shutdown=settings.ShutdownSettings(**whole["shutdown"]),
        control=settings.ControlSettings(socket=Path(whole["control"]["socket"])),
        folders=tuple(map(_folder, whole["folder"])),
        destinations=tuple(settings.DestinationSettings(**entry) for entry in whole["destination"]),
    )


def _folder(entry: Mapping[str, Any]) -> settings.FolderSettings:
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    values |= {key: Path(entry[key]) for key in ("path", "done", "failed")}
    values["converters"] = tuple(settings.ConverterChoice(**choice) for choice in entry["converters"])
    return settings.FolderSettings(**values)
