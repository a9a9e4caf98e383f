"""Checks the records that plugins register, and copies what the agent keeps, so that nothing of a plugin's runs later.

A record that passes is of exactly the type that the hook promises and holds plain values of sensible sizes.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from dropmill.api import Accepts, ConverterSpec, Magic, PolicySpec, TransportCaps, TransportSpec
from dropmill.plugins.option_schemas import flaws_of

__all__ = ["checked"]

SpecT = TypeVar("SpecT", ConverterSpec, TransportSpec, PolicySpec)

_ID = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_FACTORY = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_MOST_SCHEMA = 1_000_000


def checked(record: object, kind: type[SpecT]) -> tuple[SpecT | None, list[str]]:
    """The record with everything in it plain, or None and what is wrong with it. Runs code of the plugin: guard it."""
    if type(record) is not kind:
        return None, [f"{type(record).__name__} is not a {kind.__name__}"]
    assert isinstance(record, ConverterSpec | TransportSpec | PolicySpec)
    flaws = list(_common(record))
    if isinstance(record, ConverterSpec):
        flaws += _converter(record)
    elif isinstance(record, TransportSpec):
        flaws += _caps(record.caps)
    schema, found = _plain(record.options_schema)
    flaws += found or flaws_of(schema)
    if flaws:
        return None, flaws
    return dataclasses.replace(record, options_schema=schema), []


def _common(spec: Any) -> Iterator[str]:
    if not (isinstance(spec.id, str) and _ID.fullmatch(spec.id)):
        yield f"id is {spec.id!r}; lower-case letters, digits, - and _ are allowed, a letter first, 64 at most"
    if not (isinstance(spec.factory, str) and _FACTORY.fullmatch(spec.factory)):
        yield f'factory is {spec.factory!r}; write "package.module:Class"'
    if not isinstance(spec.summary, str) or "\n" in spec.summary:
        yield "summary is not one line of text"


def _number(value: object, least: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= least


def _integer(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _boolean(value: object) -> bool:
    return isinstance(value, bool)


def _converter(spec: Any) -> Iterator[str]:
    if not _number(spec.timeout, 0.001):
        yield f"timeout is {spec.timeout!r}; seconds above 0 are expected"
    if not _boolean(spec.atomic):
        yield f"atomic is {spec.atomic!r}; True or False is expected"
    accepts: Any = spec.accepts
    if type(accepts) is not Accepts:
        yield f"accepts is {accepts!r}; an Accepts is expected"
        return
    globs = accepts.globs
    if not isinstance(globs, tuple) or not globs or not all(isinstance(glob, str) and glob for glob in globs):
        yield f'accepts.globs is {globs!r}; a tuple of patterns is expected, such as ("*.xml",)'
    elif any("/" in glob for glob in globs):
        yield f"accepts.globs is {globs!r}; patterns stand for a file's name, without folders"
    if not isinstance(accepts.magic, tuple) or not all(_magic(magic) for magic in accepts.magic):
        yield "accepts.magic is not a tuple of Magic(bytes, offset)"
    if not _integer(accepts.min_bytes, 0):
        yield f"accepts.min_bytes is {accepts.min_bytes!r}; 0 or more is expected"
    elif accepts.max_bytes is not None and not _integer(accepts.max_bytes, accepts.min_bytes):
        yield f"accepts.max_bytes is {accepts.max_bytes!r}; None or at least min_bytes is expected"


def _magic(magic: Any) -> bool:
    return type(magic) is Magic and isinstance(magic.bytes, bytes) and magic.bytes != b"" and _integer(magic.offset, 0)


def _caps(caps: Any) -> Iterator[str]:
    if type(caps) is not TransportCaps:
        yield f"caps is {caps!r}; a TransportCaps is expected"
        return
    if not _integer(caps.max_batch, 1):
        yield f"caps.max_batch is {caps.max_batch!r}; 1 or more is expected"
    for name, limit in (("max_bytes", caps.max_bytes), ("max_in_flight", caps.max_in_flight)):
        if limit is not None and not _integer(limit, 1):
            yield f"caps.{name} is {limit!r}; None, or 1 or more is expected"
    if caps.idempotency not in ("key", "natural", "none"):
        yield f"caps.idempotency is {caps.idempotency!r}; key, natural or none is expected"
    if not _boolean(caps.ordered):
        yield f"caps.ordered is {caps.ordered!r}; True or False is expected"


def _plain(schema: object) -> tuple[dict[str, Any], list[str]]:
    """A copy in plain JSON."""
    if not isinstance(schema, Mapping):
        return {}, [f"options_schema is {type(schema).__name__}; a JSON Schema of an object is expected"]
    try:
        text = json.dumps(schema, allow_nan=False, default=_mapping)
    except (ValueError, TypeError, RecursionError) as error:
        return {}, [f"options_schema is not JSON: {error}"]
    if len(text) > _MOST_SCHEMA:
        return {}, [f"options_schema is larger than {_MOST_SCHEMA} characters"]
    copy: dict[str, Any] = json.loads(text)
    return copy, []


def _mapping(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
