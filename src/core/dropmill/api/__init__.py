"""The plugin author's only import.

A plugin is a module (or object) behind an entry point of the group `dropmill.plugins.v1` that implements one or more hooks:

    from dropmill.api import Accepts, ConverterSpec, hookimpl

    @hookimpl
    def register_converters():
        return [ConverterSpec("acme", "acme_dropmill:AcmeConverter", Accepts(("*.acme",)))]

`docs/plugins.md` walks through a whole one.
"""

from __future__ import annotations

from dropmill.api._blocking import BlockingItem, BlockingTransport
from dropmill.api._delivery import (
    Delivered,
    Duplicate,
    Outcome,
    Outgoing,
    Rejected,
    Retry,
    Transport,
    TransportContext,
)
from dropmill.api._errors import AuthRejected, BadInput, NotMine, PluginSignal, RetryLater, Unavailable
from dropmill.api._hooks import ENTRY_POINT_GROUP, AgentEvent, HookSpecs, hookimpl
from dropmill.api._policy import Decision, Evict, Offer, Pause, QueuePolicy, QueueView, Reject
from dropmill.api._records import (
    Attachment,
    ConvertContext,
    Converter,
    Head,
    Level,
    Match,
    Part,
    Report,
    Source,
)
from dropmill.api._specs import (
    NO_OPTIONS,
    Accepts,
    ConverterSpec,
    Magic,
    PolicySpec,
    TransportCaps,
    TransportSpec,
)

__all__ = [
    "ENTRY_POINT_GROUP",
    "NO_OPTIONS",
    "Accepts",
    "AgentEvent",
    "Attachment",
    "AuthRejected",
    "BadInput",
    "BlockingItem",
    "BlockingTransport",
    "ConvertContext",
    "Converter",
    "ConverterSpec",
    "Decision",
    "Delivered",
    "Duplicate",
    "Evict",
    "Head",
    "HookSpecs",
    "Level",
    "Magic",
    "Match",
    "NotMine",
    "Offer",
    "Outcome",
    "Outgoing",
    "Part",
    "Pause",
    "PluginSignal",
    "PolicySpec",
    "QueuePolicy",
    "QueueView",
    "Reject",
    "Rejected",
    "Report",
    "Retry",
    "RetryLater",
    "Source",
    "Transport",
    "TransportCaps",
    "TransportContext",
    "TransportSpec",
    "Unavailable",
    "hookimpl",
]
