from __future__ import annotations

import sys
import threading
import types
from typing import Any

import pytest

from dropmill.api import PolicySpec, TransportSpec
from dropmill.plugins import Loaded, PluginError, instantiate

BODY = """
import threading

class Transport:
    def __init__(self, options):
        self.options = options
        self.thread = threading.current_thread()
    async def open(self, context): ...
    async def probe(self): ...
    async def send(self, batch): ...
    async def close(self): ...

class Outer:
    class Policy:
        def __init__(self, options): ...
        def on_full(self, offer, view): ...

class AsyncPolicy(Outer.Policy):
    async def on_full(self, offer, view): ...

class Nothing:
    def __init__(self, options): ...

class Raising:
    def __init__(self, options):
        raise SystemExit("no licence")

class Hanging:
    def __init__(self, options):
        release.wait(5)
"""


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    made = types.ModuleType("made_for_instantiation")
    made.release = threading.Event()  # type: ignore[attr-defined]
    exec(BODY, vars(made))
    monkeypatch.setitem(sys.modules, made.__name__, made)
    return made


def loaded(kind: Any, factory: str) -> Any:
    return Loaded(spec=kind("acme", factory), plugin="acme-plugin", distribution="acme", version="1.0")


async def test_a_transport_is_made_off_the_event_loop_with_a_copy_of_its_options(module: types.ModuleType) -> None:
    options = {"path": "x"}
    made = await instantiate(loaded(TransportSpec, f"{module.__name__}:Transport"), options)
    assert made.options == options
    assert made.options is not options
    assert made.thread is not threading.main_thread()


async def test_a_policy_is_made(module: types.ModuleType) -> None:
    made = await instantiate(loaded(PolicySpec, f"{module.__name__}:Outer.Policy"), {})
    assert type(made).__name__ == "Policy"


@pytest.mark.parametrize(
    ("kind", "factory", "code", "said"),
    [
        (TransportSpec, "{module}:Missing", "DM-P041", "AttributeError"),
        (TransportSpec, "no_such_module_anywhere:X", "DM-P041", "ModuleNotFoundError"),
        (TransportSpec, "{module}:Raising", "DM-P041", "SystemExit: no licence"),
        (TransportSpec, "{module}:Nothing", "DM-P042", "lacks the coroutine methods open, probe, send, close"),
        (TransportSpec, "{module}:Outer.Policy", "DM-P042", "lacks the coroutine methods"),
        (PolicySpec, "{module}:Nothing", "DM-P042", "lacks the method on_full"),
        (PolicySpec, "{module}:AsyncPolicy", "DM-P042", "synchronous on_full"),
    ],
)
async def test_a_fault_names_the_plugin(
    module: types.ModuleType, kind: Any, factory: str, code: str, said: str
) -> None:
    with pytest.raises(PluginError, match=said) as caught:
        await instantiate(loaded(kind, factory.format(module=module.__name__)), {})
    assert caught.value.code == code
    assert caught.value.plugin == "acme-plugin"
    assert "'acme-plugin'" in str(caught.value)


async def test_a_constructor_that_hangs_is_left_behind(module: types.ModuleType) -> None:
    with pytest.raises(PluginError) as caught:
        await instantiate(loaded(TransportSpec, f"{module.__name__}:Hanging"), {}, limit=0.05)
    assert caught.value.code == "DM-P040"
    module.release.set()
