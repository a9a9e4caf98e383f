"""Plugins as the configuration sees them, without loading any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dropmill.api import Accepts, ConverterSpec, PolicySpec, TransportSpec
from dropmill.config.settings import PluginPin
from dropmill.foundation.errors import Problem


def options(
    *, required: Sequence[str] = (), rules: Mapping[str, Any] | None = None, **properties: Any
) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": properties}
    return schema | ({"required": list(required)} if required else {}) | dict(rules or {})


def text(description: str = "A text.", **more: Any) -> dict[str, Any]:
    return {"type": "string", "description": description, **more}


CSV = options(
    delimiter=text("Between two columns.", minLength=1, maxLength=1, default=","),
    header={"type": "boolean", "description": "Whether the first row names the columns.", "default": True},
    lookup=text("A table to look things up in.", **{"x-path": True}),
    columns={
        "type": "object",
        "description": "Columns by field.",
        "additionalProperties": text(),
        "properties": {"serial": text("The unit's serial number.")},
    },
    wait={"type": "number", "description": "How long to wait.", "x-unit": "seconds", "minimum": 0, "default": 0},
)
HTTP = options(
    required=["url"],
    rules={"dependentRequired": {"key": ["certificate"]}},
    url=text("Where reports go.", format="uri", pattern="^https?://"),
    token=text("The bearer token.", writeOnly=True, minLength=4, pattern="^[!-~]+$"),
    method={"enum": ["POST", "PUT"], "default": "POST", "description": "The request's method."},
    key=text("The key.", **{"x-path": True}),
    certificate=text("The certificate."),
    auth={
        "type": "object",
        "description": "How to authenticate.",
        "additionalProperties": False,
        "required": ["kind"],
        "properties": {
            "kind": {"enum": ["basic", "bearer"], "description": "The scheme."},
            "user": text("The user."),
            "password": text("The password.", writeOnly=True),
        },
        "allOf": [{"if": {"properties": {"kind": {"const": "basic"}}}, "then": {"required": ["user", "password"]}}],
    },
    headers={
        "type": "object",
        "description": "Further headers.",
        "default": {},
        "additionalProperties": {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/secret"}]},
    },
    limit={"type": "integer", "description": "Most bytes of a body.", "x-unit": "bytes", "minimum": 1},
)
HTTP["$defs"] = {"secret": {"type": "string", "writeOnly": True}}
DIRECTORY = options(required=["path"], path=text("The folder.", **{"x-path": True}))
PAUSE = options(
    resume_below={"type": "number", "description": "When to go on.", "minimum": 0, "exclusiveMaximum": 1},
)


@dataclass(frozen=True)
class Offer:
    spec: Any
    plugin: str


def converters(**schemas: Any) -> dict[str, Offer]:
    return {
        name: Offer(ConverterSpec(id=name, factory="a:A", accepts=Accepts(globs=("*",)), options_schema=schema), name)
        for name, schema in schemas.items()
    }


@dataclass
class FakeCatalog:
    """Plugins as the configuration sees them; `loaded` is what it was asked to load."""

    converters: dict[str, Offer] = field(default_factory=lambda: converters(csv=CSV, json=options()))
    transports: dict[str, Offer] = field(
        default_factory=lambda: {
            name: Offer(TransportSpec(id=name, factory="a:A", options_schema=schema), name)
            for name, schema in (("directory", DIRECTORY), ("http", HTTP))
        }
    )
    policies: dict[str, Offer] = field(
        default_factory=lambda: {
            name: Offer(PolicySpec(id=name, factory="a:A", options_schema=schema), name)
            for name, schema in (("reject", options()), ("pause", PAUSE))
        }
    )
    installed: frozenset[str] = frozenset({"csv", "json", "directory", "http", "reject", "pause", "xlsx"})
    refusals: dict[str, Problem] = field(default_factory=dict)
    faults: dict[str, Sequence[Problem]] = field(default_factory=dict)
    loaded: list[PluginPin] = field(default_factory=list)
