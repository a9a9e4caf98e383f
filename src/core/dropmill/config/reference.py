"""The configuration reference, `docs/configuration.md`, written from the schemas of the core and of the bundled plugins."""

from __future__ import annotations

from collections.abc import Iterator

from dropmill.config.annotations import follow
from dropmill.config.catalog import KINDS, Catalog, offers
from dropmill.config.composition import compose, definition
from dropmill.config.positions import spell
from dropmill.config.prose import default, kind, sentence
from dropmill.config.vocabulary import Schema

__all__ = ["reference"]

_HEAD = """\
# Configuration

<!-- Generated from the schemas by docs/reference.py; do not edit. -->

One TOML file, by default `dropmill.toml` in the current folder; `--config FILE` or `DROPMILL_CONFIG` names another.
`dropmill init` writes a commented sample, `dropmill config check` lists everything that is wrong with a file,
`dropmill config show` prints every setting in effect and where it comes from, and
`dropmill config schema` prints the JSON Schema (2020-12) of the file with your plugins, for editors.

- **Paths** that are relative stand below the folder of the file; `done` and `failed` below their watched folder.
  `~` is not expanded.
- **Durations** are seconds, or texts: `"500 ms"`, `"5 min"`, `"1 h 30 min"`, `"2 d"`.
- **Sizes** are bytes, or texts: `"10 GB"` (powers of 1000), `"64 MiB"` (powers of 1024).
- **Secrets** never stand in the file: `{ env = "NAME" }` names an environment variable, `{ file = "path" }` a file that holds the
  secret alone.
- **Names** of folders and destinations have letters, digits, dots, dashes and underscores, 64 at most, a letter or digit first.
- **Options of plugins** come in layers: the defaults below, then `[converter.ID]`, `[transport.ID]` or `[policy.ID]`, then the
  entry of the folder (`converters = [{ id = "csv", options = { delimiter = ";" } }]`), of the destination (`options = { ... }`)
  or of the queue (`[queue.policy]`).
  A later layer replaces an option as a whole.
- A watched folder that does not exist is no error: it is offline until it does.

What is wrong is told all at once: with its code, line and column, the path of the key (`folder[2].settle`; lists count from 0),
the value and what to do.
The agent does not start then, and `run` and `config check` end with exit code 4.
"""

_SECTIONS = (
    ("agent", "[agent]"),
    ("plugins", "[plugins]"),
    ("queue", "[queue]"),
    ("folder", "[[folder]]"),
    ("destination", "[[destination]]"),
    ("conversion", "[conversion]"),
    ("shutdown", "[shutdown]"),
    ("control", "[control]"),
    ("log", "[log]"),
)


def reference(catalog: Catalog) -> str:
    """The page, in Markdown."""
    root = compose(catalog)
    lines = [_HEAD]
    for name, header in _SECTIONS:
        schema = root["properties"][name]
        lines += _section(f"`{header}`", schema.get("items", schema), root)
    for kind_ in KINDS:
        for id_, offered in offers(catalog, kind_).items():
            whole = root["$defs"][definition(kind_, id_)]
            about = sentence(offered.spec.summary or f"Options of the {kind_}")
            lines += _section(f"`[{kind_}.{id_}]`", {**whole, "description": about}, root)
    return "\n".join(lines).rstrip() + "\n"


def _section(title: str, schema: Schema, root: Schema) -> Iterator[str]:
    yield f"## {title}\n"
    if schema.get("description"):
        yield schema["description"] + "\n"
    rows = list(_rows(schema, root, ""))
    if not rows:
        yield "It has no options.\n"
        return
    yield "| setting | value | default | meaning |"
    yield "|---|---|---|---|"
    yield from rows
    yield ""


def _rows(schema: Schema, root: Schema, prefix: str) -> Iterator[str]:
    required = schema.get("required", ())
    for key, option in schema.get("properties", {}).items():
        found = follow(option, root)
        fallback = "**required**" if key in required else default(found, root)
        name = prefix + spell((key,))
        cells = (f"`{name}`", kind(found, root), fallback, found.get("description", ""))
        yield f"| {' | '.join(cell.replace('|', '&#124;').replace(chr(10), ' ') for cell in cells)} |"
        if not (found.get("x-secret") or found.get("writeOnly")):
            yield from _rows(found, root, f"{name}.")
            items = found.get("items")
            for part in (items, *items.get("oneOf", ())) if isinstance(items, dict) else ():
                yield from _rows(follow(part, root), root, f"{name}[].")
