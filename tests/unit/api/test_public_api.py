"""The plugin API, pinned: what it exports, every field and signature, and the rules by which it may grow.

`public_api.txt` is the API as text. A change here is a change for every plugin that is out there: fields and arguments are only
ever added, by keyword and with a default. When that is what happened, write the text anew:

    python tests/unit/api/test_public_api.py
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import pickle
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dropmill import api

PINNED = Path(__file__).with_name("public_api.txt")


def describe() -> str:
    return "\n".join(line for name in sorted(api.__all__) for line in _describe(name, getattr(api, name))) + "\n"


def _describe(name: str, thing: Any) -> Iterator[str]:
    if isinstance(thing, type) and dataclasses.is_dataclass(thing):
        yield f"dataclass {name}"
        for field in dataclasses.fields(thing):
            default = "" if _default(field) is None else f" = {_default(field)}"
            yield f"    {'*' if field.kw_only else ''}{field.name}: {field.type}{default}"
        yield from _methods(thing)
    elif isinstance(thing, type) and issubclass(thing, enum.Enum):
        yield f"enum {name}({thing.__mro__[1].__name__})"
        yield from (f"    {member.name} = {member.value!r}" for member in thing)
    elif isinstance(thing, type) and issubclass(thing, BaseException):
        own = _signature(thing) if "__init__" in vars(thing) else "(...)"
        yield f"exception {name}({', '.join(base.__name__ for base in thing.__bases__)}){own}"
    elif isinstance(thing, type) and getattr(thing, "_is_protocol", False):
        yield f"protocol {name}"
        yield from (f"    {attribute}: {kind}" for attribute, kind in inspect.get_annotations(thing).items())
        yield from _methods(thing)
    elif isinstance(thing, type):
        yield f"class {name}"
        yield from _methods(thing)
    elif isinstance(thing, types.UnionType):
        yield f"union {name} = {' | '.join(part.__name__ for part in thing.__args__)}"
    else:
        yield f"value {name}: {type(thing).__name__} = {thing!r}" if isinstance(thing, str | dict) else f"value {name}"


def _default(field: dataclasses.Field[Any]) -> str | None:
    if field.default_factory is not dataclasses.MISSING:
        return repr(field.default_factory())
    return None if field.default is dataclasses.MISSING else repr(field.default)


def _methods(thing: type) -> Iterator[str]:
    for name, member in vars(thing).items():
        if name == "__init__" and not dataclasses.is_dataclass(thing) and "*args" not in _signature(member):
            yield f"    __init__{_signature(member)}"
        elif name.startswith("_"):
            continue
        elif isinstance(member, property):
            yield f"    property {name}{_signature(member.fget)}"
        elif inspect.isfunction(member):
            word = "async def" if inspect.iscoroutinefunction(member) else "def"
            yield f"    {word} {name}{_signature(member)}"


def _signature(thing: Any) -> str:
    return str(inspect.signature(thing)).replace("'", "")


def test_nothing_has_changed() -> None:
    assert describe() == PINNED.read_text(), __doc__


def test_every_public_name_is_exported_and_nothing_else() -> None:
    assert list(api.__all__) == sorted(api.__all__, key=lambda name: (not name.isupper(), name.islower(), name))
    assert len(set(api.__all__)) == len(api.__all__)
    public = {name for name in vars(api) if not name.startswith("_")} - {"annotations"}
    assert public == set(api.__all__)


def records() -> list[type]:
    return [
        thing
        for name in api.__all__
        if isinstance(thing := getattr(api, name), type) and dataclasses.is_dataclass(thing)
    ]


@pytest.mark.parametrize("record", records(), ids=lambda record: record.__name__)
def test_records_are_frozen(record: type) -> None:
    assert record.__dataclass_params__.frozen  # type: ignore[attr-defined]


@pytest.mark.parametrize("record", records(), ids=lambda record: record.__name__)
def test_every_field_that_is_not_plain_is_explained(record: type) -> None:
    """Each record says what it is; its fields' units and meanings stand below them."""
    assert record.__doc__
    assert not record.__doc__.startswith(f"{record.__name__}(")
    source = inspect.getsource(record)
    assert source.count('"""') >= 2


def test_exceptions_form_one_tree() -> None:
    errors = [
        thing for name in api.__all__ if isinstance(thing := getattr(api, name), type) and issubclass(thing, Exception)
    ]
    assert set(errors) - {api.PluginSignal} == set(api.PluginSignal.__subclasses__())
    assert api.PluginSignal.__bases__ == (Exception,)


@pytest.mark.parametrize(
    ("error", "attributes", "text"),
    [
        (api.BadInput("XML", "no root"), {"code": "XML", "message": "no root", "line": None}, "no root"),
        (api.BadInput("XML", "no root", line=7), {"line": 7, "message": "no root"}, "no root (line 7)"),
        (
            api.RetryLater("licence server away"),
            {"reason": "licence server away", "after": 60.0},
            "licence server away",
        ),
        (api.RetryLater("away", after=5), {"after": 5}, "away"),
        (api.NotMine("just text"), {}, "just text"),
        (api.Unavailable("no route"), {"reason": "no route", "after": None}, "no route"),
        (api.Unavailable("busy", 30.0), {"after": 30.0}, "busy"),
        (api.AuthRejected("401"), {"reason": "401"}, "401"),
    ],
)
def test_what_an_author_raises(error: Exception, attributes: dict[str, object], text: str) -> None:
    assert {name: getattr(error, name) for name in attributes} == attributes
    assert str(error) == text


def test_levels_are_ordered() -> None:
    assert sorted(api.Level) == [api.Level.WEAK, api.Level.POSSIBLE, api.Level.LIKELY, api.Level.CERTAIN]
    assert max(api.Level.LIKELY, api.Level.CERTAIN) is api.Level.CERTAIN


def test_a_head_knows_whether_it_is_the_whole_file() -> None:
    assert api.Head("a", 3, b"abc").complete
    assert not api.Head("a", 100_000, b"abc").complete


def test_specs_can_be_compared_hashed_as_far_as_they_go_and_carried_between_processes() -> None:
    accepts = api.Accepts(("*.xml",), magic=(api.Magic(b"<?xml"),), max_bytes=10)
    spec = api.ConverterSpec("acme", "acme:Converter", accepts, summary="one line")
    assert spec == api.ConverterSpec("acme", "acme:Converter", accepts, summary="one line")
    assert hash(accepts) == hash(api.Accepts(("*.xml",), magic=(api.Magic(b"<?xml"),), max_bytes=10))
    for thing in (spec, api.TransportSpec("t", "t:T"), api.PolicySpec("p", "p:P")):
        assert pickle.loads(pickle.dumps(thing)) == thing
        with pytest.raises(dataclasses.FrozenInstanceError):
            thing.id = "other"  # type: ignore[misc]


def test_the_group_carries_the_major_version() -> None:
    assert re.fullmatch(r"dropmill\.plugins\.v\d+", api.ENTRY_POINT_GROUP)


def test_hooks_may_be_implemented_with_fewer_arguments() -> None:
    import pluggy

    from dropmill.api._hooks import PROJECT

    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(api.HookSpecs)
    seen: list[str] = []

    class Plugin:
        @api.hookimpl
        def on_event(self) -> None:
            seen.append("told")

        @api.hookimpl
        def register_converters(self) -> list[api.ConverterSpec]:
            return [api.ConverterSpec("c", "m:C", api.Accepts(("*",)))]

    manager.register(Plugin())
    manager.check_pending()
    manager.hook.on_event(event=api.AgentEvent(name="x", time=0.0))
    assert seen == ["told"]
    assert [spec.id for specs in manager.hook.register_converters() for spec in specs] == ["c"]


def test_a_specification_is_never_called() -> None:
    for name in ("register_converters", "register_transports", "register_queue_policies"):
        with pytest.raises(AssertionError, match="never called"):
            getattr(api.HookSpecs(), name)()
    assert api.HookSpecs().on_event(api.AgentEvent(name="x", time=0.0)) is None


def test_a_source_is_recognised_by_what_it_can_do() -> None:
    class MySource:
        name, size, sha256, modified, parts = "a", 0, "", 0.0, ()

        def open(self, part: str | None = None) -> Any: ...

        def local_path(self, part: str | None = None) -> str:
            return ""

    assert isinstance(MySource(), api.Source)
    assert not isinstance(object(), api.Source)


def test_importing_it_costs_little_and_imports_nothing_of_the_agent() -> None:
    """A plugin's tests, and every worker process, pay for this import."""
    code = "import sys, dropmill.api; print(*sorted(n for n in sys.modules if n.split('.')[0] == 'dropmill'))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    allowed = {"dropmill"} | {name for name in loaded if name.startswith("dropmill.api")}
    assert set(loaded) == allowed


if __name__ == "__main__":
    PINNED.write_text(describe())
