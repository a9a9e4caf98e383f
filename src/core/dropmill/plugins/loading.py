"""Loads the enabled plugins and answers a registry; no plugin can keep another, or the agent, from starting.

Every plugin is first tried out in a throw-away process, then imported in a guarded thread. That takes time: call it in a thread,
never on the event loop. Nothing that is not enabled is imported.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from dropmill.api import ConverterSpec, PolicySpec, TransportSpec
from dropmill.foundation.errors import Problem
from dropmill.foundation.guard import Raised, Returned, describe, place, run_guarded
from dropmill.foundation.similar import closest
from dropmill.plugins.discovery import Discovered, Discovery, ambiguous, discover, normal, other_api
from dropmill.plugins.hooks import HookError, import_hooks
from dropmill.plugins.probation import Limits, import_failed, try_out
from dropmill.plugins.records import checked
from dropmill.plugins.registry import Listener, Loaded, PluginState, Registry, Spec, Status

__all__ = ["Pin", "load"]


class Pin(Protocol):
    """An enabled plugin; `dropmill.config.settings.PluginPin` has this shape."""

    @property
    def name(self) -> str: ...

    @property
    def distribution(self) -> str | None: ...

    @property
    def version(self) -> str | None: ...


_LIMITS = Limits()
_MOST_FLAWS = 5


def load(pins: Sequence[Pin], *, limits: Limits = _LIMITS, discovery: Discovery | None = None) -> Registry:
    """Load what `pins` enable, in that order: where two offer the same id, the first keeps it.

    Args:
        pins: The enabled entry points.
        limits: Seconds, and how many processes at a time.
        discovery: What is installed, where the caller knows already.
    """
    found = discovery or discover()
    chosen, refusals = _choose(pins, found)
    verdicts = try_out(list(chosen.values()), limits)
    adopted = {name: _adopt(entry, verdicts[name], limits) for name, entry in chosen.items()}
    registry = _Builder()
    for name, adoption in adopted.items():
        registry.add(name, chosen[name], adoption)
    return registry.build(found, refusals)


def _choose(pins: Iterable[Pin], found: Discovery) -> tuple[dict[str, Discovered], dict[str, Problem]]:
    """The entry point of each pin, and the names for which there is none."""
    chosen: dict[str, Discovered] = {}
    refusals: dict[str, Problem] = {}
    for pin in pins:
        answer = _pick(pin, found)
        if isinstance(answer, Problem):
            refusals.setdefault(pin.name, answer)
        elif pin.name not in refusals:
            chosen.setdefault(pin.name, answer)
    return chosen, refusals


def _pick(pin: Pin, found: Discovery) -> Discovered | Problem:
    claims = found.claims.get(pin.name, ())
    if not claims:
        if foreign := found.foreign.get(pin.name):
            return other_api(foreign[0])
        guess = closest(pin.name, found.claims)
        return Problem(
            code="DM-P001",
            what=f"no installed distribution has a plugin named {pin.name!r}",
            where=pin.name,
            todo=(f"did you mean {guess!r}? " if guess else "")
            + "`dropmill plugins list` shows what is installed; install the distribution that has it",
        )
    if pin.distribution is not None:
        wanted = [claim for claim in claims if normal(claim.distribution) == normal(pin.distribution)]
        if not wanted:
            return _unpinned(pin, claims, f"distribution {pin.distribution}")
        claims = wanted
    if len(claims) > 1:
        return ambiguous(pin.name, claims)
    if pin.version is not None and claims[0].version != pin.version:
        return _unpinned(pin, claims, f"version {pin.version}")
    return claims[0]


def _unpinned(pin: Pin, claims: Sequence[Discovered], wanted: str) -> Problem:
    installed = " and ".join(f"{claim.distribution} {claim.version}" for claim in claims)
    return Problem(
        code="DM-P004",
        what=f"plugin {pin.name!r} is pinned to {wanted}, installed is {installed}",
        where=pin.name,
        todo="install what is pinned, or change the pin in plugins.enable",
    )


@dataclass(frozen=True, kw_only=True)
class _Adoption:
    """What one plugin brought."""

    specs: Sequence[Spec] = ()
    listener: Listener | None = None
    problems: Sequence[Problem] = ()
    usable: bool = False
    seconds: float = 0.0


_KINDS: Mapping[str, Any] = {
    "register_converters": ConverterSpec,
    "register_transports": TransportSpec,
    "register_queue_policies": PolicySpec,
}


def _adopt(entry: Discovered, verdict: Problem | None, limits: Limits) -> _Adoption:
    if verdict is not None:
        return _Adoption(problems=[verdict])
    with contextlib.redirect_stdout(sys.stderr):  # what a plugin prints must not end up in a command's JSON
        outcome = run_guarded(lambda: _take_in(entry), limit=limits.plugin, name=f"load plugin {entry.name}")
    if isinstance(outcome, Returned):
        adoption = outcome.value
        return _Adoption(
            specs=adoption.specs,
            listener=adoption.listener,
            problems=adoption.problems,
            usable=bool(adoption.specs or adoption.listener) or not adoption.problems,
            seconds=outcome.seconds,
        )
    if isinstance(outcome, Raised):
        if isinstance(outcome.error, HookError):
            return _Adoption(problems=[outcome.error.problem])
        return _Adoption(problems=[import_failed(entry, describe(outcome.error), place(outcome.error))])
    return _Adoption(
        problems=[
            Problem(
                code="DM-P012",
                what=f"plugin {entry.name!r} did not finish loading within {outcome.limit:g} s",
                where=str(entry),
                todo="report it to the plugin's author; importing a plugin must not wait for anything",
            )
        ]
    )


def _take_in(entry: Discovered) -> _Adoption:
    """Import, call the registration hooks, check what they answered. Runs the plugin's code, in a guarded thread."""
    hooks = import_hooks(entry)
    specs: list[Spec] = []
    problems = list(hooks.problems)
    for hook, kind in _KINDS.items():
        for record in hooks.records(hook):
            spec, flaws = checked(record, kind)
            if spec is None:
                problems.append(_bad_record(entry, hook, record, flaws))
            else:
                specs.append(spec)
    return _Adoption(specs=specs, listener=hooks.listener, problems=problems)


def _bad_record(entry: Discovered, hook: str, record: object, flaws: Sequence[str]) -> Problem:
    if len(flaws) > _MOST_FLAWS:
        flaws = [*flaws[:_MOST_FLAWS], f"and {len(flaws) - _MOST_FLAWS} more"]
    name = getattr(record, "id", None)
    which = f" {name!r}" if isinstance(name, str) else ""
    return Problem(
        code="DM-P030",
        what=f"plugin {entry.name!r}: the record{which} of {hook} cannot be used: {'; '.join(flaws)}",
        where=str(entry),
        todo="report it to the plugin's author; `dropmill plugins check` shows the same",
    )


@dataclass
class _Builder:
    """Collects specs by id, in the order of `plugins.enable`."""

    converters: dict[str, Loaded[ConverterSpec]] = field(default_factory=dict)
    transports: dict[str, Loaded[TransportSpec]] = field(default_factory=dict)
    policies: dict[str, Loaded[PolicySpec]] = field(default_factory=dict)
    listeners: list[Listener] = field(default_factory=list)
    states: dict[str, PluginState] = field(default_factory=dict)

    def add(self, name: str, entry: Discovered, adoption: _Adoption) -> None:
        problems = list(adoption.problems)
        ids: dict[str, list[str]] = {"converter": [], "transport": [], "policy": []}
        for spec in adoption.specs:
            table: dict[str, Loaded[Any]]
            kind, table = self._table(spec)
            holder = table.get(spec.id)
            if holder is not None:
                problems.append(_taken(kind, spec.id, holder, entry))
                continue
            table[spec.id] = Loaded(spec=spec, plugin=name, distribution=entry.distribution, version=entry.version)
            ids[kind].append(spec.id)
        if adoption.listener is not None:
            self.listeners.append(adoption.listener)
        usable = adoption.usable and (any(ids.values()) or not adoption.specs or adoption.listener is not None)
        self.states[name] = PluginState(
            name=name,
            status=Status.QUARANTINED if not usable else Status.DEGRADED if problems else Status.LOADED,
            discovered=(entry,),
            problems=tuple(problems),
            converters=tuple(ids["converter"]),
            transports=tuple(ids["transport"]),
            policies=tuple(ids["policy"]),
            listens=adoption.listener is not None,
            seconds=adoption.seconds,
        )

    def _table(self, spec: Spec) -> tuple[str, dict[str, Loaded[Any]]]:
        if isinstance(spec, ConverterSpec):
            return "converter", self.converters
        if isinstance(spec, TransportSpec):
            return "transport", self.transports
        return "policy", self.policies

    def build(self, found: Discovery, refusals: Mapping[str, Problem]) -> Registry:
        states = dict(self.states)
        for name, problem in refusals.items():
            rivals = (*found.claims.get(name, ()), *found.foreign.get(name, ()))
            states[name] = PluginState(name=name, status=Status.QUARANTINED, discovered=rivals, problems=(problem,))
        for name, claims in found.claims.items():
            if name not in states:
                states[name] = PluginState(
                    name=name,
                    status=Status.DISABLED,
                    discovered=tuple(claims),
                    problems=(ambiguous(name, claims),) if len(claims) > 1 else (),
                )
        for name, entries in found.foreign.items():
            if name not in states:
                states[name] = PluginState(
                    name=name,
                    status=Status.DISABLED,
                    discovered=tuple(entries),
                    problems=tuple(other_api(entry) for entry in entries),
                )
        return Registry(
            converters=self.converters,
            transports=self.transports,
            policies=self.policies,
            states={name: states[name] for name in sorted(states)},
            listeners=tuple(self.listeners),
            refusals=refusals,
        )


def _taken(kind: str, name: str, holder: Loaded[Any], entry: Discovered) -> Problem:
    return Problem(
        code="DM-P031",
        what=f"the {kind} {name!r} of {entry} is not used: plugin {holder.plugin!r} ({holder.distribution} {holder.version}) "
        "has one of that name and is enabled before it",
        where=str(entry),
        todo="disable one of the two plugins, or change their order in plugins.enable",
    )
