"""The JSON Schema of the core's own settings: what may stand in the file, in the order in which it is documented.

Defaults are taken from the settings' dataclasses, so that neither can say anything else than the other.
"""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

from dropmill.config import settings
from dropmill.config.vocabulary import (
    Schema,
    array,
    choice,
    flag,
    name,
    number,
    path,
    quantity,
    table,
    text,
)

__all__ = ["LEVELS", "agent", "control", "conversion", "destination", "folder", "log", "plugins", "queue", "shutdown"]

LEVELS = ("weak", "possible", "likely", "certain")
"""The names of `dropmill.api.Level`, as `min_level` takes them."""

_BIG = 2**53
_TAG = "^[A-Za-z_][A-Za-z0-9_]{0,63}$"
_YEAR = 366 * 86400


def _default(of: type, field: str) -> dict[str, Any]:
    """`{"default": ...}` as the dataclass has it, in JSON."""
    found = next(each for each in fields(of) if each.name == field)
    value = found.default if found.default_factory is MISSING else found.default_factory()
    return {"default": list(value) if isinstance(value, tuple) else value}


def agent() -> Schema:
    of = settings.AgentSettings
    return table(
        "The agent itself.",
        {
            "state": path(
                "Folder for the queue, its lock and the control socket: on a local disk, outside all watched folders.",
                default="state",
            ),
            "name": name(
                "Tells several agents on one machine apart, in logs, receipts and process lists.",
                **_default(of, "name"),
            ),
        },
    )


def log() -> Schema:
    of = settings.LogSettings
    return table(
        "What the agent writes to standard error.",
        {
            "level": choice(
                "The least important lines that are written.",
                ("debug", "info", "warning", "error"),
                **_default(of, "level"),
            ),
            "format": choice(
                "auto writes readable lines to a terminal and JSON elsewhere.",
                ("auto", "json", "text"),
                **_default(of, "format"),
            ),
        },
    )


def plugins() -> Schema:
    of = settings.PluginSettings
    pin = table(
        "A plugin, pinned to what you have tested.",
        {
            "name": text("The plugin's name, as `dropmill plugins list` shows it.", minLength=1),
            "distribution": text("The installed distribution that it must come from.", minLength=1),
            "version": text("The exact version of that distribution.", minLength=1),
        },
        required=("name",),
    )
    return table(
        "Plugins: converters, transports and policies. Nothing that is not enabled here is ever loaded.",
        {
            "enable": array(
                "The plugins to load, as names, or as tables { name, distribution, version } that pin. Where two offer the same "
                "id, the first keeps it.",
                {"oneOf": [text("A plugin's name.", minLength=1), pin]},
                minItems=1,
                maxItems=500,
            ),
            "on_error": choice(
                "What happens when an enabled plugin cannot be loaded: quarantine goes on without it (its files and deliveries "
                "wait), fail refuses to start.",
                ("quarantine", "fail"),
                **_default(of, "on_error"),
            ),
        },
        required=("enable",),
    )


def queue() -> Schema:
    of = settings.QueueSettings
    return table(
        "The queue on disk, which keeps every report until each of its destinations has acknowledged it.",
        {
            "max_items": number(
                "Deliveries that may wait: reports times their destinations.",
                minimum=1,
                maximum=1_000_000_000,
                **_default(of, "max_items"),
            ),
            "max_bytes": quantity(
                "Bytes of reports that may wait.", "bytes", minimum=1_000_000, maximum=_BIG, **_default(of, "max_bytes")
            ),
            "min_free_disk": quantity(
                "While less than this is free on the disk of the state folder, nothing is taken in.",
                "bytes",
                minimum=0,
                maximum=_BIG,
                **_default(of, "min_free_disk"),
            ),
            "high_water": number(
                "Share of max_items and max_bytes at which claiming stops.",
                "number",
                exclusiveMinimum=0,
                maximum=1,
                **_default(of, "high_water"),
            ),
            "low_water": number(
                "Share at which claiming goes on; below high_water.",
                "number",
                minimum=0,
                exclusiveMaximum=1,
                **_default(of, "low_water"),
            ),
            "when_full": text(
                "The policy that decides what happens when the queue is full: reject and pause leave new files where they are, "
                "oldest_first drops the oldest deliveries (they become dead letters).",
                minLength=1,
                **_default(of, "when_full"),
            ),
            "policy": {
                "type": "object",
                "description": "Options of that policy, over those in [policy.ID].",
                "default": {},
            },
            "max_claimed": number(
                "Files that may be claimed and not converted yet; above it nothing more is claimed.",
                minimum=1,
                maximum=10_000_000,
                **_default(of, "max_claimed"),
            ),
            "max_dead": number(
                "Dead letters that are kept; above it the oldest are dropped for good.",
                minimum=0,
                maximum=1_000_000_000,
                **_default(of, "max_dead"),
            ),
            "retention": quantity(
                "How long finished files, their receipts and events can be explained.",
                "seconds",
                minimum=0,
                maximum=100 * _YEAR,
                **_default(of, "retention"),
            ),
        },
    )


def conversion() -> Schema:
    of = settings.ConversionSettings
    return table(
        "The worker processes that converters run in.",
        {
            "workers": number("Conversions at a time.", minimum=1, maximum=256, **_default(of, "workers")),
            "memory": quantity(
                "Memory that one worker may take.", "bytes", minimum=67_108_864, maximum=_BIG, **_default(of, "memory")
            ),
            "recycle_after": number(
                "Conversions after which a worker process is replaced by a fresh one.",
                minimum=1,
                maximum=1_000_000,
                **_default(of, "recycle_after"),
            ),
            "max_output": quantity(
                "Bytes of reports that one file may become.",
                "bytes",
                minimum=1,
                maximum=_BIG,
                **_default(of, "max_output"),
            ),
        },
    )


def shutdown() -> Schema:
    of = settings.ShutdownSettings
    return table(
        "How the agent stops. Both times count from the signal.",
        {
            "graceful": quantity(
                "Work in flight may finish for this long; nothing new is begun.",
                "seconds",
                minimum=0,
                maximum=86400,
                **_default(of, "graceful"),
            ),
            "force": quantity(
                "After this long whatever is left is cancelled and goes back to the queue; not less than graceful.",
                "seconds",
                exclusiveMinimum=0,
                maximum=86400,
                **_default(of, "force"),
            ),
        },
    )


def control() -> Schema:
    return table(
        "How the command line reaches the running agent.",
        {
            "socket": path(
                "The Unix socket; only the agent's own user may connect.",
                examples=["state/agent.sock"],
                **{"x-default": "agent.sock in the state folder"},
            )
        },
    )


def folder() -> Schema:
    of = settings.FolderSettings
    choice_of_converter = table(
        "A converter with options of its own for this folder.",
        {
            "id": text("The converter's id.", minLength=1),
            "options": {"type": "object", "description": "Options, over those in [converter.ID].", "default": {}},
            "min_level": choice("The least certainty at which it may take a file.", LEVELS),
        },
        required=("id",),
    )
    return table(
        "A folder that is watched. There may be many; none may lie inside another.",
        {
            "name": name("What it is called in lists, logs and reports."),
            "path": path("The folder. It need not exist yet: until it does, it counts as offline."),
            "converters": array(
                'Which converters its files may go to. Order breaks ties. An entry is an id, or a table such as { id = "csv", '
                'options = { delimiter = ";" }, min_level = "likely" }.',
                {"oneOf": [text("A converter's id.", minLength=1), choice_of_converter]},
                minItems=1,
                maxItems=200,
            ),
            "destinations": array(
                "Names of the destinations that every report of this folder goes to.",
                text("A destination's name.", minLength=1),
                minItems=1,
                maxItems=100,
            ),
            "settle": quantity(
                "A file is taken when it has not changed for this long and nobody has it open for writing.",
                "seconds",
                exclusiveMinimum=0,
                maximum=86400,
                **_default(of, "settle"),
            ),
            "rescan": quantity(
                "How often the whole folder is looked through, whatever the system reported.",
                "seconds",
                minimum=1,
                maximum=86400,
                **_default(of, "rescan"),
            ),
            "stuck_after": quantity(
                "A file that never settles, or that a program keeps open, is reported after this long, never taken by force.",
                "seconds",
                exclusiveMinimum=0,
                maximum=_YEAR,
                **_default(of, "stuck_after"),
            ),
            "include": array(
                "Patterns of names to take.",
                text("A pattern for a file's name: * and ? stand for anything.", minLength=1),
                minItems=1,
                maxItems=200,
                **_default(of, "include"),
            ),
            "exclude": array(
                "Patterns of names to leave alone, besides the built-in ones (dotfiles, *.tmp, *.part and the like).",
                text("A pattern for a file's name.", minLength=1),
                maxItems=200,
                **_default(of, "exclude"),
            ),
            "recursive": flag("Whether subfolders are watched too.", **_default(of, "recursive")),
            "zero_byte": choice(
                "What becomes of empty files: wait until they have content, take them, or move them to failed.",
                ("wait", "take", "quarantine"),
                **_default(of, "zero_byte"),
            ),
            "ready": choice(
                "settled takes a file when it has settled; marker waits for a file beside it that says so.",
                ("settled", "marker"),
                **_default(of, "ready"),
            ),
            "marker_suffixes": array(
                "Endings of marker files: report.csv is ready when report.csv.done is there.",
                text(
                    "An ending.",
                    pattern=r"^[^/\x00-\x1f]+$",
                    **{"x-hint": "an ending of a file's name, such as .done, without a slash"},
                ),
                minItems=1,
                maxItems=20,
                **_default(of, "marker_suffixes"),
            ),
            "order": choice(
                "Which files are taken first when many wait.", ("oldest", "newest", "name"), **_default(of, "order")
            ),
            "duplicates": choice(
                "What becomes of a file whose content came before: process it again, skip it (straight to done), or move it to "
                "failed.",
                ("process", "skip", "quarantine"),
                **_default(of, "duplicates"),
            ),
            "done": path("Where finished files go, inside the folder and relative to it.", default="done"),
            "failed": path(
                "Where files go that cannot be converted or delivered, beside their reason; inside the folder, relative to it.",
                default="failed",
            ),
            "tags": {
                "type": "object",
                "description": "Values that go along with every report of this folder, for templates and search.",
                "propertyNames": {"pattern": _TAG},
                "additionalProperties": text("A value.", maxLength=1000),
                "maxProperties": 50,
                **_default(of, "tags"),
            },
            "priority": number(
                "Folders with a higher number are converted first.",
                minimum=-1000,
                maximum=1000,
                **_default(of, "priority"),
            ),
        },
        required=("name", "path", "converters", "destinations"),
    )


def destination() -> Schema:
    of = settings.DestinationSettings
    return table(
        "A place that reports are delivered to. There may be many; one that is down never holds up another.",
        {
            "name": name("What it is called in lists, logs and in the folders' destinations."),
            "transport": text("The transport's id, such as directory or http.", minLength=1),
            "options": {
                "type": "object",
                "description": "Options of the transport, over those in [transport.ID].",
                "default": {},
            },
            "concurrency": number(
                "Deliveries under way at a time.", minimum=1, maximum=100, **_default(of, "concurrency")
            ),
            "retries": number(
                "Further attempts after the first, until a delivery becomes a dead letter. Outages of the destination as a whole "
                "do not count.",
                minimum=0,
                maximum=100,
                **_default(of, "retries"),
            ),
            "timeout": quantity(
                "One attempt is ended after this long.",
                "seconds",
                exclusiveMinimum=0,
                maximum=86400,
                **_default(of, "timeout"),
            ),
            "backoff": quantity(
                "The first retry comes after at most this long; the time doubles with every further one.",
                "seconds",
                exclusiveMinimum=0,
                maximum=86400,
                **_default(of, "backoff"),
            ),
            "backoff_cap": quantity(
                "The longest time between two attempts; not less than backoff.",
                "seconds",
                exclusiveMinimum=0,
                maximum=_YEAR,
                **_default(of, "backoff_cap"),
            ),
            "probe_every": quantity(
                "While the destination is down, it is tried this often.",
                "seconds",
                minimum=0.1,
                maximum=86400,
                **_default(of, "probe_every"),
            ),
        },
        required=("name", "transport"),
    )
