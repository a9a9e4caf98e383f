"""Makes a transport or policy from its spec: imports the factory, calls it with the options, checks what came out.

Converters are never made here: their factories are imported in worker processes alone.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
from collections.abc import Mapping
from typing import Any, overload

from dropmill.api import PolicySpec, QueuePolicy, Transport, TransportSpec
from dropmill.foundation.guard import Hung, Raised, describe, place, run_guarded
from dropmill.plugins.errors import PluginError
from dropmill.plugins.registry import Loaded

__all__ = ["instantiate"]

_COROUTINES = ("open", "probe", "send", "close")


@overload
async def instantiate(
    loaded: Loaded[TransportSpec], options: Mapping[str, Any], *, limit: float = ...
) -> Transport: ...


@overload
async def instantiate(loaded: Loaded[PolicySpec], options: Mapping[str, Any], *, limit: float = ...) -> QueuePolicy: ...


async def instantiate(
    loaded: Loaded[TransportSpec] | Loaded[PolicySpec], options: Mapping[str, Any], *, limit: float = 10.0
) -> Transport | QueuePolicy:
    """A `Transport` or `QueuePolicy`, made in a thread within `limit` seconds.

    Args:
        loaded: What to make.
        options: Complete, validated and with secrets resolved; the plugin gets a copy.
        limit: Seconds.

    Raises:
        PluginError: the plugin's fault; it names the plugin.
    """
    made: Transport | QueuePolicy = await asyncio.to_thread(_make, loaded, options, limit)
    return made


def _make(loaded: Loaded[TransportSpec] | Loaded[PolicySpec], options: Mapping[str, Any], limit: float) -> Any:
    spec = loaded.spec
    outcome = run_guarded(lambda: _call(spec.factory, options), limit=limit, name=f"make {spec.id}")
    where = f"{loaded.distribution} {loaded.version}, {spec.factory}"
    if isinstance(outcome, Hung):
        raise PluginError(
            loaded.plugin,
            f"{spec.id!r} of plugin {loaded.plugin!r} was not made within {limit:g} s",
            code="DM-P040",
            where=where,
            todo="report it to the plugin's author; network and files belong into open()",
        )
    if isinstance(outcome, Raised):
        raise PluginError(
            loaded.plugin,
            f"{spec.id!r} of plugin {loaded.plugin!r} cannot be made: {describe(outcome.error)}",
            code="DM-P041",
            where=place(outcome.error) or where,
            todo=f"reinstall {loaded.distribution} or report it to the plugin's author",
        ) from outcome.error
    made = outcome.value
    if lacking := _lacking(made, spec):
        raise PluginError(
            loaded.plugin,
            f"{spec.id!r} of plugin {loaded.plugin!r} lacks {lacking}",
            code="DM-P042",
            where=where,
            todo="report it to the plugin's author",
        )
    return made


def _call(factory: str, options: Mapping[str, Any]) -> Any:
    module, _, attribute = factory.partition(":")
    found: Any = importlib.import_module(module)
    for name in attribute.split("."):
        found = getattr(found, name)
    return found(dict(options))


def _lacking(made: object, spec: TransportSpec | PolicySpec) -> str:
    if isinstance(spec, PolicySpec):
        decide = getattr(made, "on_full", None)
        if not callable(decide):
            return "the method on_full"
        return "a synchronous on_full" if inspect.iscoroutinefunction(decide) else ""
    methods = [name for name in _COROUTINES if not inspect.iscoroutinefunction(getattr(made, name, None))]
    return f"the coroutine method{'s' if len(methods) > 1 else ''} {', '.join(methods)}" if methods else ""
