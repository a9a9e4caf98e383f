"""A declared mapping, compiled once for all files: where in a document each field, measurement and step is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dropmill_plugins.converters.common.fields import FieldRule
from dropmill_plugins.converters.common.vocabulary import STEP_FIELDS
from dropmill_plugins.converters.json.pointers import Pointer

__all__ = ["Measure", "Place", "Plan", "Steps", "is_mapped"]

Options = Mapping[str, Any]


def is_mapped(options: Options) -> bool:
    """Whether the options say what any value means."""
    return (
        any(options.get(key) for key in ("fields", "measurements", "steps", "misc"))
        or options.get("records") is not None
    )


@dataclass(frozen=True, slots=True)
class Place:
    """Where one field is."""

    rule: FieldRule
    pointer: Pointer | None
    fixed: str | None
    outer: bool
    optional: bool
    scale: float

    @classmethod
    def of(cls, target: str, entry: str | Options) -> Place:
        table: Options = {"pointer": entry} if isinstance(entry, str) else entry
        return cls(
            rule=FieldRule.of(target, table),
            pointer=Pointer(table["pointer"]) if "pointer" in table else None,
            fixed=table.get("value"),
            outer=table.get("from", "record") == "document",
            optional=table.get("optional", False),
            scale=table.get("scale", 1),
        )


@dataclass(frozen=True, slots=True)
class Measure:
    """One declared measurement, or one for each member of an array or object."""

    each: Pointer | None
    optional: bool
    pointers: Mapping[str, Pointer]
    fixed: Options
    outcome: FieldRule

    @classmethod
    def of(cls, entry: Options) -> Measure:
        pointers = {key.removesuffix("_pointer"): Pointer(entry[key]) for key in entry if key.endswith("_pointer")}
        return cls(
            each=Pointer(entry["each"]) if "each" in entry else None,
            optional=entry.get("optional", False),
            pointers={"value": Pointer(entry["pointer"]), **pointers},
            fixed=entry,
            outcome=FieldRule.of("outcome", entry),
        )


@dataclass(frozen=True, slots=True)
class Steps:
    """How steps are read."""

    each: Pointer
    children: Pointer | None
    fields: list[Place]
    measures: list[Measure]
    misc: list[tuple[str, Pointer]]

    @classmethod
    def of(cls, options: Options) -> Steps:
        return cls(
            each=Pointer(options["each"]),
            children=Pointer(options["children"]) if "children" in options else None,
            fields=[Place.of(name, options[name]) for name in STEP_FIELDS if name in options],
            measures=[Measure.of(entry) for entry in options.get("measurements", ())],
            misc=_misc(options),
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole mapping."""

    kind: str
    records: Pointer | None
    fields: list[Place]
    measures: list[Measure]
    misc: list[tuple[str, Pointer]]
    steps: Steps | None

    @classmethod
    def of(cls, options: Options) -> Plan:
        """From the converter's options."""
        steps = options.get("steps") or None
        return cls(
            kind=options.get("kind", "test"),
            records=None if options.get("records") is None else Pointer(options["records"]),
            fields=[Place.of(target, entry) for target, entry in options.get("fields", {}).items()],
            measures=[Measure.of(entry) for entry in options.get("measurements", ())],
            misc=_misc(options),
            steps=None if steps is None else Steps.of(steps),
        )


def _misc(options: Options) -> list[tuple[str, Pointer]]:
    return [
        (entry, Pointer(entry)) if isinstance(entry, str) else (entry["name"], Pointer(entry["pointer"]))
        for entry in options.get("misc", ())
    ]
