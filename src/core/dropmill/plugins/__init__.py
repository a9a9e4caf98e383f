"""Plugins: find what is installed, load what is enabled, make what is used. The only package that knows pluggy.

discover() -> Discovery                            what is installed; imports nothing
load(pins) -> Registry                             what is enabled; blocks, so call it in a thread
await instantiate(loaded, options)                 a transport or a policy
EventBroadcaster(registry.listeners, ...)          tells plugins what happened
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_HOMES = {
    "Discovered": "discovery",
    "Discovery": "discovery",
    "EventBroadcaster": "events",
    "EventCounts": "events",
    "Limits": "probation",
    "Listener": "registry",
    "Loaded": "registry",
    "PluginError": "errors",
    "PluginState": "registry",
    "Registry": "registry",
    "Status": "registry",
    "discover": "discovery",
    "instantiate": "instantiation",
    "load": "loading",
}


def __getattr__(name: str) -> Any:
    """Imported when first used, so that the throw-away process, which needs little of this, starts fast."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return found
