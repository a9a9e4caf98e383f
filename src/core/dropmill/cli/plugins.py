"""`dropmill plugins`: which are installed, what each offers, and whether they load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from dropmill.cli.codes import Exit
from dropmill.cli.errors import CommandError
from dropmill.cli.logs import to_stderr
from dropmill.cli.output import Column
from dropmill.cli.session import Session, with_session

if TYPE_CHECKING:
    from dropmill.api import ConverterSpec, PolicySpec, TransportSpec
    from dropmill.config.settings import PluginPin
    from dropmill.plugins import PluginState, Registry

__all__ = ["plugins"]


@click.group(no_args_is_help=False)
def plugins() -> None:
    """List, show and check plugins."""


@plugins.command("list", short_help="List what is installed.")
@with_session
def list_(session: Session) -> None:
    """List what is installed, from package metadata alone: nothing of a plugin is imported.

    In a pipe each line holds name, enabled (yes or no), distribution, version, API and problem, separated by tabs. Without a
    configuration, none counts as enabled.
    """
    from dropmill.plugins import discover

    found = discover()
    enabled = {pin.name for pin in _pins(session, optional=True)}
    names = {*found.claims, *found.foreign}
    by_name = {name: [*found.claims.get(name, ()), *found.foreign.get(name, ())] for name in names}
    items: list[dict[str, Any]] = [
        {
            "name": name,
            "enabled": name in enabled,
            "distribution": entry.distribution,
            "version": entry.version,
            "api": entry.api,
            "problems": [problem.as_dict() for problem in found.problems if problem.where == name],
        }
        for name in sorted(by_name)
        for entry in by_name[name]
    ]
    if session.output.as_json:
        session.output.json({"items": items, "missing": sorted(enabled - by_name.keys())})
        return
    columns = ("name", "enabled", "distribution", "version", "api", "problem")
    session.output.rows(
        [Column(name, name) for name in columns],
        [{**item, "problem": "; ".join(problem["what"] for problem in item["problems"])} for item in items],
    )
    for name in sorted(enabled - by_name.keys()):
        click.echo(f"enabled and not installed: {name}", err=True)


@plugins.command(short_help="Show what a plugin offers.")
@click.argument("name")
@click.option("--sample", is_flag=True, help="Print its options as TOML, to copy into the configuration.")
@with_session
def show(session: Session, name: str, sample: bool) -> int:
    """Load the plugin NAME (as an agent would: in a throw-away process first) and show what it offers, with its options."""
    from dropmill.plugins import load

    to_stderr()
    registry = load([_pin(session, name)])
    state = _state(registry, name)
    if sample:
        from dropmill.config import sample_config

        session.output.line(sample_config(registry)[len(sample_config()) :].strip())
        return Exit.DONE
    shape = _shape(registry, state)
    if session.output.as_json:
        session.output.json(shape)
    else:
        for line in _lines(shape):
            session.output.line(line)
    return Exit.DONE if shape["state"] == "loaded" else Exit.FAILED


@plugins.command(short_help="Load plugins and tell what is wrong.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@with_session
def check(session: Session, names: Sequence[str]) -> int:
    """Load the plugins NAME (default: all that the configuration enables) as an agent would, and tell what is wrong.

    The exit code is 1 where anything is. In a pipe each line holds name, state and problems, separated by tabs.
    """
    from dropmill.plugins import load

    to_stderr()
    pins = [_pin(session, name) for name in names] or _pins(session)
    registry = load(pins)
    items = [_shape(registry, _state(registry, pin.name)) for pin in pins]
    if session.output.as_json:
        session.output.json({"items": items})
    else:
        session.output.rows(
            (Column("plugin", "name"), Column("state", "state"), Column("problems", "text")),
            [{**item, "text": "; ".join(_words(problem) for problem in item["problems"])} for item in items],
        )
    return Exit.DONE if all(item["state"] == "loaded" for item in items) else Exit.FAILED


def _pins(session: Session, *, optional: bool = False) -> Sequence[PluginPin]:
    from dropmill.config import ConfigError, read_pins

    if optional and not session.config.exists():
        return ()
    try:
        return read_pins(session.config)
    except ConfigError:
        if optional:
            return ()
        raise


def _pin(session: Session, name: str) -> PluginPin:
    """As the configuration pins it, if it does."""
    from dropmill.config.settings import PluginPin

    return next((pin for pin in _pins(session, optional=True) if pin.name == name), PluginPin(name=name))


def _state(registry: Registry, name: str) -> PluginState:
    if (problem := registry.refusals.get(name)) is not None:
        raise CommandError(problem.what, where=problem.where, todo=problem.todo, code=problem.code)
    return registry.states[name]


def _shape(registry: Registry, state: PluginState) -> dict[str, Any]:
    first = state.discovered[0]
    return {
        "name": state.name,
        "distribution": first.distribution,
        "version": first.version,
        "state": str(state.status),
        "problems": [problem.as_dict() for problem in state.problems],
        "converters": [_converter(registry.converters[one].spec) for one in state.converters],
        "transports": [_transport(registry.transports[one].spec) for one in state.transports],
        "policies": [_common(registry.policies[one].spec) for one in state.policies],
    }


def _common(spec: ConverterSpec | TransportSpec | PolicySpec) -> dict[str, Any]:
    return {"id": spec.id, "summary": spec.summary, "factory": spec.factory, "optionsSchema": spec.options_schema}


def _converter(spec: ConverterSpec) -> dict[str, Any]:
    accepts = spec.accepts
    return {
        **_common(spec),
        "accepts": {
            "globs": list(accepts.globs),
            "magic": [{"hex": magic.bytes.hex(), "offset": magic.offset} for magic in accepts.magic],
            "minBytes": accepts.min_bytes,
            "maxBytes": accepts.max_bytes,
        },
        "atomic": spec.atomic,
        "timeout": spec.timeout,
    }


def _transport(spec: TransportSpec) -> dict[str, Any]:
    caps = spec.caps
    return {
        **_common(spec),
        "caps": {
            "maxBatch": caps.max_batch,
            "maxBytes": caps.max_bytes,
            "idempotency": caps.idempotency,
            "ordered": caps.ordered,
            "maxInFlight": caps.max_in_flight,
        },
    }


def _lines(shape: Mapping[str, Any]) -> Iterator[str]:
    yield f"{shape['name']}: {shape['state']}, from {shape['distribution']} {shape['version']}"
    for problem in shape["problems"]:
        yield f"  {_words(problem)}"
    for kind in ("converters", "transports", "policies"):
        for spec in shape[kind]:
            yield f"{kind.removesuffix('s').replace('policie', 'policy')} {spec['id']}: {spec['summary']}"
            if "accepts" in spec:
                yield f"  accepts {', '.join(spec['accepts']['globs'])}"
            required = spec["optionsSchema"].get("required", ())
            for name, option in spec["optionsSchema"].get("properties", {}).items():
                yield f"  option {name}{' (required)' if name in required else ''}: {option.get('description', '')}" + (
                    f" Default: {option['default']!r}." if "default" in option else ""
                )


def _words(problem: Mapping[str, Any]) -> str:
    return f"{problem['code']}: {problem['what']}" + (f" - {problem['todo']}" if problem["todo"] else "")
