"""Registers `directory`: reports as files in a folder. The class lives in `transport`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dropmill.api import TransportCaps, TransportSpec, hookimpl
from dropmill_plugins.transports.templates import NAME_PATTERN, PATTERN

__all__ = ["OPTIONS", "SPEC", "register_transports"]

OPTIONS: Mapping[str, Any] = {
    "type": "object",
    "required": ["path"],
    "additionalProperties": False,
    "properties": {
        "path": {
            "type": "string",
            "minLength": 1,
            "x-path": True,
            "description": "The folder that receives the reports; a relative path stands below the config file's folder.",
        },
        "name": {
            "type": "string",
            "minLength": 1,
            "pattern": NAME_PATTERN,
            "default": "{key}{suffix}",
            "description": "Name of each file. Placeholders: {key}, {report_id}, {sha256}, {suffix} (by media type), {stem}, "
            "{date}, {year}, {month}, {day} and any field of the report, e.g. {serial}.",
        },
        "folder": {
            "type": "string",
            "pattern": PATTERN,
            "default": "",
            "description": "Subfolder for each file, made as needed, with the placeholders of `name`, e.g. "
            "`{partNumber}/{date}`.",
        },
        "missing": {
            "type": "string",
            "minLength": 1,
            "default": "unknown",
            "description": "What stands in a name or subfolder for a placeholder that a report has no value for.",
        },
        "collision": {
            "enum": ["suffix", "reject"],
            "default": "suffix",
            "description": "When another report's file has the name already: add a suffix made from the key, or reject "
            "the report.",
        },
        "create": {
            "type": "boolean",
            "default": True,
            "description": "Make the folder where it is missing. Turn it off for a share that may not be mounted.",
        },
        "mode": {
            "type": "string",
            "pattern": "^0?[0-7]{3}$",
            "description": "Permissions of the files, octal, e.g. `0640`; default: what the agent's umask leaves of 0666.",
        },
    },
}

SPEC = TransportSpec(
    id="directory",
    factory="dropmill_plugins.transports.directory.transport:DirectoryTransport",
    caps=TransportCaps(max_batch=64, idempotency="natural", max_in_flight=4),
    options_schema=OPTIONS,
    summary="files in a folder, atomic and durable",
)


@hookimpl
def register_transports() -> Iterable[TransportSpec]:
    return [SPEC]
