from __future__ import annotations

import itertools
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest

from dropmill.api import ENTRY_POINT_GROUP, AgentEvent
from dropmill.plugins.discovery import Discovered
from dropmill.plugins.hooks import MOST_RECORDS, HookError, Hooks, import_hooks
from support.sites import HEAD

Make = Callable[..., Hooks]
_numbers = itertools.count()


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch) -> Make:
    """The hooks of a plugin whose module has this body."""

    def make(body: str, attribute: str = "") -> Hooks:
        module = types.ModuleType(f"hooked_{next(_numbers)}")
        exec(HEAD + body, vars(module))
        monkeypatch.setitem(sys.modules, module.__name__, module)
        value = module.__name__ + attribute
        return import_hooks(
            Discovered(name="acme", value=value, group=ENTRY_POINT_GROUP, distribution="dropmill-acme", version="1.0")
        )

    return make


def refused(make: Make, *arguments: str) -> Any:
    with pytest.raises(HookError) as caught:
        make(*arguments)
    return caught.value.problem


def test_records_of_all_implementations_come_in_order(hooks: Make) -> None:
    made = hooks("@hookimpl\ndef register_converters():\n    yield 1\n    yield 2\n")
    assert made.records("register_converters") == [1, 2]
    assert made.records("register_transports") == []
    assert made.problems == ()
    assert made.listener is None


def test_a_hook_may_be_implemented_twice_under_other_names(hooks: Make) -> None:
    body = "@hookimpl(specname='register_converters')\ndef {}():\n    return [{}]\n"
    made = hooks(body.format("one", 1) + body.format("two", 2))
    assert sorted(made.records("register_converters")) == [1, 2]


def test_nothing_as_an_answer_is_no_record(hooks: Make) -> None:
    assert hooks("@hookimpl\ndef register_converters():\n    return None\n").records("register_converters") == []


def test_an_instance_may_be_the_plugin(hooks: Make) -> None:
    body = (
        "class Plugin:\n    @hookimpl\n    def register_converters(self):\n        return [self]\nplugin = Plugin()\n"
    )
    [record] = hooks(body, ":plugin").records("register_converters")
    assert type(record).__name__ == "Plugin"


def test_a_class_as_the_plugin_is_refused(hooks: Make) -> None:
    problem = refused(
        hooks, "class Plugin:\n    @hookimpl\n    def register_converters(self):\n        return []\n", ":Plugin"
    )
    assert problem.code == "DM-P021"
    assert "class Plugin" in problem.what
    assert "instance" in problem.todo


@pytest.mark.parametrize("kind", ["wrapper", "hookwrapper"])
@pytest.mark.parametrize("hook", ["register_converters", "someone_elses_hook"])
def test_wrappers_are_refused(hooks: Make, kind: str, hook: str) -> None:
    problem = refused(hooks, f"@hookimpl({kind}=True)\ndef {hook}():\n    yield\n")
    assert problem.code == "DM-P022"
    assert hook in problem.what


def test_a_coroutine_function_is_refused(hooks: Make) -> None:
    problem = refused(hooks, "@hookimpl\nasync def register_converters():\n    return []\n")
    assert problem.code == "DM-P021"
    assert "use def" in problem.todo


def test_an_argument_that_the_hook_does_not_have_is_refused(hooks: Make) -> None:
    problem = refused(hooks, "@hookimpl\ndef register_converters(config):\n    return []\n")
    assert problem.code == "DM-P024"
    assert "config" in problem.what


def test_an_unknown_hook_degrades(hooks: Make) -> None:
    made = hooks(
        "@hookimpl\ndef register_converters():\n    return [1]\n@hookimpl\ndef register_sources():\n    return []\n"
    )
    [problem] = made.problems
    assert problem.code == "DM-P023"
    assert "register_sources" in problem.what
    assert made.records("register_converters") == [1]


def test_an_unknown_hook_may_be_optional(hooks: Make) -> None:
    known = "@hookimpl\ndef register_converters():\n    return []\n"
    assert hooks(known + "@hookimpl(optionalhook=True)\ndef register_sources():\n    pass\n").problems == ()


def test_a_forgotten_marker_is_pointed_out(hooks: Make) -> None:
    [problem] = hooks("def register_converters():\n    return []\n").problems
    assert problem.code == "DM-P025"
    assert "register_converters is not marked" in problem.what
    assert "hookimpl" in problem.todo


def test_a_module_without_hooks_is_degraded(hooks: Make) -> None:
    [problem] = hooks("").problems
    assert problem.code == "DM-P025"
    assert "no hook" in problem.what


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("7", "answered int, not a list"),
        ("coroutine()", "awaitable"),
        ("(each for each in iter(int, 1))", f"more than {MOST_RECORDS} records"),
    ],
)
def test_nonsense_as_an_answer_is_refused(hooks: Make, answer: str, said: str) -> None:
    coroutine = "import types\n@types.coroutine\ndef coroutine():\n    yield\n"
    made = hooks(coroutine + f"@hookimpl\ndef register_converters():\n    return {answer}\n")
    with pytest.raises(HookError, match=said) as caught:
        made.records("register_converters")
    assert caught.value.problem.code == "DM-P021"


def test_what_a_hook_raises_comes_out_as_it_is(hooks: Make) -> None:
    made = hooks("@hookimpl\ndef register_converters():\n    yield 1\n    raise ZeroDivisionError\n")
    with pytest.raises(ZeroDivisionError):
        made.records("register_converters")


def test_a_listener_takes_the_event_or_nothing(hooks: Make) -> None:
    heard: list[Any] = []
    for parameters, kept in (("event", "event.name"), ("", "'nothing'")):
        made = hooks(f"@hookimpl\ndef on_event({parameters}):\n    heard.append({kept})\n")
        listener = made.listener
        assert listener is not None
        assert listener.plugin == "acme"
        made.implementations["on_event"][0].function.__globals__["heard"] = heard  # type: ignore[attr-defined]
        listener.call(AgentEvent(name="file.claimed", time=1.0))
    assert heard == ["file.claimed", "nothing"]


def test_a_listener_that_answers_an_awaitable_fails(hooks: Make) -> None:
    body = "import types\n@types.coroutine\ndef coroutine():\n    yield\n@hookimpl\ndef on_event():\n    return coroutine()\n"
    listener = hooks(body).listener
    assert listener is not None
    with pytest.raises(HookError, match="awaitable"):
        listener.call(AgentEvent(name="file.claimed", time=1.0))
