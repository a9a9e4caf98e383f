"""The sample configuration that `dropmill init` writes: the few settings that everyone has, and all others as comments.

It is made from the schema, so that it cannot fall behind. Prose is `# text`, a setting at its default is `#key = value`: taking
away the one character sets it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from dropmill.config import schema as core
from dropmill.config.annotations import follow
from dropmill.config.catalog import KINDS, Catalog, offers
from dropmill.config.composition import compose, definition
from dropmill.config.prose import sentence, toml
from dropmill.config.vocabulary import Schema

__all__ = ["BUNDLED", "sample_config"]

BUNDLED = ("csv", "json", "junit", "wsjf", "directory", "http", "reject", "oldest_first", "pause")
"""The plugins that come with dropmill and that the sample enables."""

_WIDTH = 118

_CHOSEN: Mapping[str, Mapping[str, Any]] = {
    "agent": {"state": "state"},
    "plugins": {"enable": list(BUNDLED)},
    "queue": {"max_items": 100_000, "max_bytes": "10 GB", "when_full": "reject"},
    "folder": {
        "name": "inbox",
        "path": "inbox",
        "converters": ["junit", "wsjf", "json", "csv"],
        "destinations": ["reports"],
        "settle": 2.0,
    },
    "destination": {"name": "reports", "transport": "directory", "options": {"path": "reports"}},
}

_SECTIONS = (
    ("agent", core.agent, "[agent]"),
    ("plugins", core.plugins, "[plugins]"),
    ("queue", core.queue, "[queue]"),
    ("folder", core.folder, "[[folder]]"),
    ("destination", core.destination, "[[destination]]"),
    ("conversion", core.conversion, "[conversion]"),
    ("shutdown", core.shutdown, "[shutdown]"),
    ("control", core.control, "[control]"),
    ("log", core.log, "[log]"),
)

_HEAD = """\
# Configuration of dropmill.
#
# Drop files into the folder "inbox"; reports appear in "reports". Relative paths stand below the folder of this file.
# A duration is a number of seconds, or a text such as "500 ms", "5 min", "1 h 30 min"; a size is bytes, or "10 GB", "64 MiB".
# A line such as #key = value is a setting at its default: take the # away to change it. Some have no default.
# `dropmill config check` says what is wrong with this file, `dropmill config show` what it comes to.
"""

_OPTIONS = """\
# Options of plugins, for wherever they are used. A folder or destination may have its own, which go over these:
# converters = [{ id = "csv", options = { delimiter = ";" } }] in a folder, options = { ... } in a destination.
"""


def sample_config(catalog: Catalog | None = None) -> str:
    """The text of the file.

    Args:
        catalog: Plugins whose options are listed as comments; None: none.
    """
    lines = [_HEAD]
    for name, schema, header in _SECTIONS:
        lines += _section(header, schema(), _CHOSEN.get(name, {}))
    if catalog is not None:
        root = compose(catalog)
        lines.append(_OPTIONS)
        for kind in KINDS:
            for id_, offered in offers(catalog, kind).items():
                whole = root["$defs"][definition(kind, id_)]
                if whole.get("properties"):
                    about = sentence(offered.spec.summary or f"Options of the {kind}")
                    lines += _section(f"[{kind}.{id_}]", {**whole, "description": about}, {}, root)
    return "\n".join(lines).rstrip() + "\n"


def _section(header: str, schema: Schema, chosen: Mapping[str, Any], root: Schema | None = None) -> Iterator[str]:
    yield from _prose(schema.get("description", ""))
    yield header
    properties: Mapping[str, Schema] = schema.get("properties", {})
    for key in sorted(properties, key=lambda key: key not in chosen):
        option = follow(properties[key], root or {})
        yield from _prose(option.get("description", ""))
        if key in chosen:
            yield f"{key} = {toml(chosen[key])}"
        else:
            note = "" if {"default", "x-default"} & set(option) else "  # no default"
            yield f"#{key} = {_example(option, root or {})}{note}"
    yield ""


def _prose(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def _example(schema: Schema, root: Schema) -> str:
    """The default; where there is none, something that shows the form."""
    if "default" in schema:
        return toml(schema["default"], schema)
    if schema.get("examples"):
        return toml(schema["examples"][0], schema)
    if schema.get("x-secret"):
        return '{ env = "NAME" }'
    if "enum" in schema:
        return toml(schema["enum"][0])
    for keyword in ("oneOf", "anyOf"):
        if keyword in schema:
            return _example(follow(schema[keyword][0], root), root)
    kinds = schema.get("type", "string")
    kind = kinds if isinstance(kinds, str) else kinds[0]
    number = schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
    return {"array": "[]", "object": "{}", "boolean": "true", "integer": str(number), "number": str(number)}.get(
        kind, '""'
    )
