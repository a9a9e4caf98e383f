"""The hooks: synchronous, registration style, called once when the plugin is loaded (`on_event` apart)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pluggy

from dropmill.api._specs import ConverterSpec, PolicySpec, TransportSpec

__all__ = ["ENTRY_POINT_GROUP", "PROJECT", "AgentEvent", "HookSpecs", "hookimpl"]

PROJECT = "dropmill"

ENTRY_POINT_GROUP = "dropmill.plugins.v1"
"""The entry-point group; its suffix is the API's major version."""

_hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a function as the implementation of a hook."""


@dataclass(frozen=True, kw_only=True)
class AgentEvent:
    """Something that happened, told to every plugin that implements `on_event`."""

    name: str
    """`file.claimed`, `file.converted`, `file.failed`, `delivery.sent`, `delivery.dead`, `agent.state`, ..."""
    time: float
    """Seconds since the epoch."""
    subject: str = ""
    """The file's or delivery's id, or the name of the folder or destination."""
    data: Mapping[str, Any] = field(default_factory=dict)


class HookSpecs:
    """The hooks that a plugin may implement; take as few of the arguments as needed."""

    @_hookspec
    def register_converters(self) -> Iterable[ConverterSpec]:
        """The converters that this plugin offers."""
        raise AssertionError("a specification is never called")

    @_hookspec
    def register_transports(self) -> Iterable[TransportSpec]:
        """The transports that this plugin offers."""
        raise AssertionError("a specification is never called")

    @_hookspec
    def register_queue_policies(self) -> Iterable[PolicySpec]:
        """The queue-full policies that this plugin offers."""
        raise AssertionError("a specification is never called")

    @_hookspec
    def on_event(self, event: AgentEvent) -> None:
        """Told after the fact, in a thread of its own through a bounded buffer; failures are counted, never propagated."""
