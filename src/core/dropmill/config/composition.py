"""One JSON Schema for the whole file: the core's settings, and the options of every enabled plugin where they may stand.

A plugin's schema is embedded whole under `$defs` as `KIND.ID`, its references made relative to that place and its secrets
replaced by references to secrets. Where options stand in layers, each layer alone need not be complete: it is held to the single
options, and what the layers make together is held to the whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dropmill.config import schema as core
from dropmill.config.catalog import KINDS, PLURALS, Catalog, Kind, offers
from dropmill.config.vocabulary import SECRET, Schema, accepting_text, array, table

__all__ = ["DIALECT", "compose", "definition", "layer"]

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_MAPS = ("properties", "patternProperties", "$defs", "dependentSchemas")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_SINGLES = (
    "additionalProperties",
    "unevaluatedProperties",
    "unevaluatedItems",
    "items",
    "contains",
    "not",
    "if",
    "then",
    "else",
    "propertyNames",
)


def compose(catalog: Catalog) -> Schema:
    """The schema of the file, for these plugins."""
    definitions: dict[str, Schema] = {"secret": SECRET}
    for kind in KINDS:
        for id_, offered in offers(catalog, kind).items():
            definitions[definition(kind, id_)] = embed(offered.spec.options_schema, f"#/$defs/{definition(kind, id_)}")
    return {
        "$schema": DIALECT,
        "$id": "urn:dropmill:config",
        "title": "dropmill.toml",
        **table(
            "The configuration of dropmill.",
            {
                "agent": core.agent(),
                "log": core.log(),
                "plugins": core.plugins(),
                "queue": _queue(catalog, definitions),
                "conversion": core.conversion(),
                "shutdown": core.shutdown(),
                "control": core.control(),
                "folder": array("The watched folders, each in a [[folder]] of its own.", _folder(catalog, definitions)),
                "destination": array(
                    "The destinations, each in a [[destination]] of its own.", _destination(catalog, definitions)
                ),
                "converter": _options(catalog, "converter", definitions),
                "transport": _options(catalog, "transport", definitions),
                "policy": _options(catalog, "policy", definitions),
            },
            required=("plugins", "folder", "destination"),
        ),
        "$defs": definitions,
    }


def definition(kind: Kind, id_: str) -> str:
    """The name under `$defs` of a plugin's options."""
    return f"{kind}.{id_}"


def layer(kind: Kind, id_: str, definitions: Mapping[str, Schema]) -> Schema:
    """Some of the options of a plugin: each as its schema says, none required, no rule between them."""
    name = definition(kind, id_)
    whole = definitions[name]
    properties = {option: {"$ref": f"#/$defs/{name}/properties/{option}"} for option in whole.get("properties", {})}
    schema = table(whole.get("description", f"Options of the {kind} {id_}."), properties)
    if "patternProperties" in whole:
        schema["patternProperties"] = whole["patternProperties"]
    return schema


def embed(schema: Mapping[str, Any], place: str) -> Schema:
    """A plugin's schema as it stands inside another: references moved, secrets referred to, quantities also as texts."""
    moved: Schema = {}
    for keyword, value in schema.items():
        if keyword == "$ref":
            moved[keyword] = place + value.removeprefix("#")
        elif keyword in _MAPS:
            moved[keyword] = {name: _embed(part, place) for name, part in value.items()}
        elif keyword in _LISTS:
            moved[keyword] = [_embed(part, place) for part in value]
        elif keyword in _SINGLES and isinstance(value, Mapping):
            moved[keyword] = embed(value, place)
        elif keyword != "$schema":
            moved[keyword] = value
    if moved.get("writeOnly") is True:
        return {
            **{keyword: moved[keyword] for keyword in ("title", "description") if keyword in moved},
            "$ref": "#/$defs/secret",
            "writeOnly": True,
        }
    return accepting_text(moved) if "x-unit" in moved else moved


def _embed(part: Any, place: str) -> Any:
    if part is False:
        return {"not": {}}  # the same, and the validator says where
    return embed(part, place) if isinstance(part, Mapping) else part


def _options(catalog: Catalog, kind: Kind, definitions: Mapping[str, Schema]) -> Schema:
    """`[KIND.ID]`."""
    schema = table(
        f"Options of {PLURALS[kind]}, each in a [{kind}.ID] of its own; they hold wherever the {kind} is used.",
        {id_: layer(kind, id_, definitions) for id_ in offers(catalog, kind)},
    )
    schema["additionalProperties"] = {
        "type": "object"
    }  # the plugin may be disabled or faulty now: `references` looks into it
    return schema


def _folder(catalog: Catalog, definitions: Mapping[str, Schema]) -> Schema:
    schema = core.folder()
    entry = schema["properties"]["converters"]["items"]["oneOf"][1]
    entry["allOf"] = [
        _where("id", id_, {"options": layer("converter", id_, definitions)}) for id_ in catalog.converters
    ]
    return schema


def _destination(catalog: Catalog, definitions: Mapping[str, Schema]) -> Schema:
    schema = core.destination()
    schema["allOf"] = [
        _where("transport", id_, {"options": layer("transport", id_, definitions)}) for id_ in catalog.transports
    ]
    return schema


def _queue(catalog: Catalog, definitions: Mapping[str, Schema]) -> Schema:
    schema = core.queue()
    default = schema["properties"]["when_full"]["default"]
    schema["allOf"] = [
        _where("when_full", id_, {"policy": layer("policy", id_, definitions)}, optional=id_ == default)
        for id_ in catalog.policies
    ]
    return schema


def _where(key: str, value: str, properties: dict[str, Schema], *, optional: bool = False) -> Schema:
    condition: Schema = {"properties": {key: {"const": value}}}
    if not optional:
        condition["required"] = [key]
    return {"if": condition, "then": {"properties": properties}}
