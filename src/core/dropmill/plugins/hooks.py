"""Registers one plugin with pluggy and calls its hooks, implementation by implementation.

Every plugin has a plugin manager of its own: none can wrap another, order itself before another or stay half registered. Calling
a hook runs the plugin's code, so callers guard it.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from itertools import islice
from typing import Any

import pluggy
from pluggy import HookImpl

from dropmill.api import AgentEvent, HookSpecs
from dropmill.api._hooks import PROJECT
from dropmill.foundation.errors import Problem
from dropmill.plugins.discovery import Discovered
from dropmill.plugins.registry import Listener

__all__ = ["MOST_RECORDS", "REGISTRATIONS", "HookError", "Hooks", "import_hooks"]

REGISTRATIONS = ("register_converters", "register_transports", "register_queue_policies")

MOST_RECORDS = 1000
"""Records that one plugin may register through one hook: a generator without an end must not fill the memory."""


class HookError(Exception):
    """A plugin's hooks cannot be used; `problem` says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """The hooks of one plugin."""

    plugin: str
    implementations: dict[str, Sequence[HookImpl]]
    """By the name of the hook, known hooks alone."""
    problems: Sequence[Problem]
    """What makes the plugin degraded."""

    def records(self, hook: str) -> list[Any]:
        """Call a registration hook. Raises whatever the plugin raises, and `HookError` where its answer is no list of records."""
        records: list[Any] = []
        for implementation in self.implementations.get(hook, ()):
            answer: object = implementation.function()
            if answer is None:
                continue
            if inspect.isawaitable(answer):
                raise self._unusable(hook, "answered an awaitable; hooks are synchronous")
            if not isinstance(answer, Iterable):
                raise self._unusable(hook, f"answered {type(answer).__name__}, not a list of records")
            records += islice(answer, MOST_RECORDS + 1)
        if len(records) > MOST_RECORDS:
            raise self._unusable(hook, f"answered more than {MOST_RECORDS} records")
        return records

    @property
    def listener(self) -> Listener | None:
        """Its `on_event`, if it has one."""
        found = self.implementations.get("on_event", ())
        if not found:
            return None

        def call(event: AgentEvent) -> None:
            for implementation in found:
                answer = implementation.function(*({"event": event}[name] for name in implementation.argnames))
                if inspect.isawaitable(answer):
                    raise self._unusable("on_event", "answered an awaitable; hooks are synchronous")

        return Listener(plugin=self.plugin, call=call)

    def _unusable(self, hook: str, what: str) -> HookError:
        return HookError(_problem("DM-P021", self.plugin, f"{hook} {what}", f"correct {hook} in the plugin"))


def import_hooks(entry: Discovered) -> Hooks:
    """Import what an entry point names and register it. Runs the plugin's code and raises whatever that raises.

    Raises:
        HookError: the hooks break a rule.
    """
    plugin = EntryPoint(entry.name, entry.value, entry.group).load()
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(HookSpecs)
    if inspect.isclass(plugin):
        raise HookError(
            _problem(
                "DM-P021",
                entry.name,
                f"the entry point names the class {plugin.__name__}",
                "let it name a module, or an instance",
            )
        )
    try:
        manager.register(plugin, entry.name)
    except pluggy.PluginValidationError as error:
        lines = " ".join(str(error).split())
        raise HookError(
            _problem("DM-P024", entry.name, f"a hook does not fit its specification: {lines}", "correct its arguments")
        ) from error
    implementations: dict[str, Sequence[HookImpl]] = {}
    problems: list[Problem] = []
    for caller in manager.get_hookcallers(plugin) or ():
        found = caller.get_hookimpls()
        if any(each.wrapper or each.hookwrapper for each in found):
            raise HookError(
                _problem("DM-P022", entry.name, f"{caller.name} is a hook wrapper", "make it a plain implementation")
            )
        if any(inspect.iscoroutinefunction(each.function) for each in found):
            raise HookError(
                _problem(
                    "DM-P021", entry.name, f"{caller.name} is a coroutine function", "hooks are synchronous: use def"
                )
            )
        if caller.has_spec():
            implementations[caller.name] = tuple(found)
        elif not all(each.optionalhook for each in found):
            problems.append(
                _problem(
                    "DM-P023",
                    entry.name,
                    f"it implements the hook {caller.name}, which this dropmill does not have",
                    "update dropmill, or mark the hook optionalhook=True",
                )
            )
    if not implementations:
        problems.append(_nothing(entry.name, plugin))
    return Hooks(plugin=entry.name, implementations=implementations, problems=tuple(problems))


def _nothing(name: str, plugin: object) -> Problem:
    unmarked = [hook for hook in (*REGISTRATIONS, "on_event") if callable(inspect.getattr_static(plugin, hook, None))]
    if unmarked:
        return _problem(
            "DM-P025", name, f"{', '.join(unmarked)} is not marked as a hook", "decorate it with @dropmill.api.hookimpl"
        )
    return _problem("DM-P025", name, "it implements no hook of dropmill", "see the documentation on writing a plugin")


def _problem(code: str, plugin: str, what: str, todo: str) -> Problem:
    return Problem(code=code, what=f"plugin {plugin!r}: {what}", where=plugin, todo=todo)
