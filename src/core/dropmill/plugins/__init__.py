"""Plugins: find what is installed, load what is enabled, make what is used. The only package that knows pluggy.

discover() -> Discovery                            what is installed; imports nothing
load(pins) -> Registry                             what is enabled; blocks, so call it in a thread
await instantiate(loaded, options)                 a transport or a policy
EventBroadcaster(registry.listeners, ...)          tells plugins what happened
"""

from __future__ import annotations

from dropmill.plugins.discovery import Discovered, Discovery, discover
from dropmill.plugins.errors import PluginError
from dropmill.plugins.events import EventBroadcaster, EventCounts
from dropmill.plugins.instantiation import instantiate
from dropmill.plugins.loading import load
from dropmill.plugins.probation import Limits
from dropmill.plugins.registry import Listener, Loaded, PluginState, Registry, Status

__all__ = [
    "Discovered",
    "Discovery",
    "EventBroadcaster",
    "EventCounts",
    "Limits",
    "Listener",
    "Loaded",
    "PluginError",
    "PluginState",
    "Registry",
    "Status",
    "discover",
    "instantiate",
    "load",
]
