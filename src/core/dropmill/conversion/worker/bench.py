"""The converters that a worker has at hand: imported when first asked for, made once for each set of options."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dropmill.api import Converter
from dropmill.conversion.worker.frames import ProtocolError
from dropmill.reports.schema import Schemas

__all__ = ["Bench", "Tool"]


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A converter as the agent described it."""

    key: str
    converter: str
    """Spec id."""
    factory: str
    options: Mapping[str, Any]
    version: str
    distribution: str
    schemas: tuple[Mapping[str, Any], ...] = ()


class Bench:
    """Tools by key, and the instances made of them."""

    def __init__(self) -> None:
        self._tools: dict[str, Tool] = {}
        self._instances: dict[str, Converter] = {}
        self._plain = Schemas()
        self._schemas: dict[str, Schemas] = {}

    def add(self, header: Mapping[str, Any]) -> None:
        """Take the description in a SETUP frame's header."""
        try:
            tool = Tool(**{**header, "schemas": tuple(header.get("schemas", ()))})
        except TypeError as error:
            raise ProtocolError(f"a SETUP frame does not describe a converter: {error}") from None
        self._tools[tool.key] = tool

    def tool(self, key: str) -> Tool:
        try:
            return self._tools[key]
        except KeyError:
            raise ProtocolError(f"a call names the converter {key!r}, which no SETUP frame described") from None

    def instance(self, key: str) -> Converter:
        """The converter.

        Raises:
            BaseException: whatever importing or making it raises.
        """
        made = self._instances.get(key)
        if made is None:
            tool = self.tool(key)
            module, _, name = tool.factory.partition(":")
            factory = getattr(importlib.import_module(module), name)
            made = self._instances[key] = factory(dict(tool.options))
        return made

    def forget(self, key: str) -> None:
        """Drop an instance that failed: the next call gets a new one."""
        self._instances.pop(key, None)

    def schemas(self, key: str) -> Schemas:
        """What the tool's documents are held to."""
        tool = self.tool(key)
        if not tool.schemas:
            return self._plain
        if key not in self._schemas:
            self._schemas[key] = Schemas(tool.schemas)
        return self._schemas[key]
