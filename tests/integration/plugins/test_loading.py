from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dropmill.api import AgentEvent
from dropmill.config.settings import PluginPin
from dropmill.foundation.errors import Problem
from dropmill.plugins import Limits, PluginState, Registry, Status, load, probation
from support.sites import CONVERTER, Site

HASTY = Limits(plugin=5.0, together=2.0, width=2)

GOOD = CONVERTER
OFFERS = "@hookimpl\ndef register_converters():\n    return [{}]\n"
SPEC = "ConverterSpec(id={!r}, factory='a:A', accepts=Accepts(globs=('*',)))"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    made = Site(tmp_path / "site")
    monkeypatch.syspath_prepend(str(made.path))
    return made


Load = Callable[..., Registry]


@pytest.fixture
def loading() -> Load:
    def run(*names: str | PluginPin, limits: Limits = HASTY) -> Registry:
        return load([PluginPin(name=name) if isinstance(name, str) else name for name in names], limits=limits)

    return run


def only(state: PluginState) -> Problem:
    [problem] = state.problems
    return problem


def test_what_is_enabled_is_loaded_and_nothing_else_is_imported(site: Site, loading: Load) -> None:
    enabled = site.add("acme", version="4.2")
    disabled = site.add("idle", "raise AssertionError('imported')")
    registry = loading("acme")
    found = registry.converters["acme"]
    assert (found.plugin, found.distribution, found.version) == ("acme", "dropmill-acme", "4.2")
    state = registry.states["acme"]
    assert (state.status, state.problems, state.converters) == (Status.LOADED, (), ("acme",))
    assert registry.states["idle"].status is Status.DISABLED
    assert registry.states["csv"].status is Status.DISABLED
    assert enabled in sys.modules
    assert disabled not in sys.modules
    assert "dropmill_plugins.converters.csv" not in registry.converters
    assert {"acme", "idle", "csv"} <= registry.installed
    assert registry.faults == {}
    assert registry.refusals == {}


FAULTS = {
    "exit": ("raise SystemExit(3)", "DM-P010", "SystemExit: 3"),
    "interrupt": ("raise KeyboardInterrupt", "DM-P010", "KeyboardInterrupt"),
    "error": ("1 / 0", "DM-P010", "ZeroDivisionError"),
    "import": ("import no_such_module_anywhere", "DM-P010", "no_such_module_anywhere"),
    "syntax": ("def", "DM-P010", "SyntaxError"),
    "gone": ("import os\nprint('last words')\nos._exit(0)", "DM-P011", "exit code 0"),
    "crash": ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)", "DM-P011", "SIGSEGV"),
    "signal": ("import os\nos.kill(os.getpid(), 40)", "DM-P011", "signal 40"),
    "hang": ("import time\ntime.sleep(60)", "DM-P012", "within 5 s"),
    "late": (
        "@hookimpl\ndef register_converters():\n    yield 1\n    raise RuntimeError('late')",
        "DM-P010",
        "RuntimeError: late",
    ),
    "coroutine": ("@hookimpl\nasync def register_converters():\n    return []", "DM-P021", "coroutine function"),
    "wrapper": ("@hookimpl(wrapper=True)\ndef register_converters():\n    return (yield)", "DM-P022", "wrapper"),
    "record": (
        OFFERS.format("ConverterSpec(id='X', factory='a:A', accepts=Accepts(globs=('*',)))"),
        "DM-P030",
        "lower-case",
    ),
    "hook-exit": ("import os\n@hookimpl\ndef register_converters():\n    os._exit(7)", "DM-P011", "exit code 7"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_costs_nobody_else_anything(fault: str, site: Site, loading: Load) -> None:
    body, code, said = FAULTS[fault]
    site.add("first")
    site.add("bad", body)
    site.add("last")
    registry = loading("first", "bad", "last")
    assert set(registry.converters) == {"first", "last"}
    state = registry.states["bad"]
    assert state.status is Status.QUARANTINED
    problem = only(state)
    assert problem.code == code
    assert said in problem.what
    assert "'bad'" in problem.what
    assert problem.todo
    assert list(registry.faults) == ["bad"]
    assert registry.states["first"].status is registry.states["last"].status is Status.LOADED


def test_the_last_words_of_a_process_that_died_are_told(site: Site, loading: Load) -> None:
    site.add("bad", FAULTS["gone"][0].replace("last words')", "last words', flush=True)"))
    assert "last words" in only(loading("bad").states["bad"]).what


def test_all_faults_at_once_are_told_apart(site: Site, loading: Load) -> None:
    for name, (body, _, _) in FAULTS.items():
        site.add(name, body)
    site.add("good")
    start = time.monotonic()
    registry = loading(*FAULTS, "good")
    assert time.monotonic() - start < 60
    assert {name: only(registry.states[name]).code for name in FAULTS} == {
        name: code for name, (_, code, _) in FAULTS.items()
    }
    assert set(registry.converters) == {"good"}


def test_a_plugin_that_is_degraded_keeps_what_is_sound(site: Site, loading: Load) -> None:
    unknown = GOOD.format(id="a") + "@hookimpl\ndef register_sources():\n    return []\n"
    site.add("newer", unknown)
    site.add("partly", OFFERS.format(f"{SPEC.format('b')}, 'no spec', ConverterSpec(id='C', factory='', accepts=None)"))
    registry = loading("newer", "partly")
    assert set(registry.converters) == {"a", "b"}
    assert registry.states["newer"].status is registry.states["partly"].status is Status.DEGRADED
    assert only(registry.states["newer"]).code == "DM-P023"
    assert [problem.code for problem in registry.states["partly"].problems] == ["DM-P030", "DM-P030"]
    assert set(registry.faults) == {"newer", "partly"}


def test_long_lists_of_flaws_are_cut(site: Site, loading: Load) -> None:
    options = "{'type': 'object', 'additionalProperties': False, 'properties': {f'o{n}': {'type': 'string'} for n in range(9)}}"
    site.add("bad", OFFERS.format(f"{SPEC.format('b')[:-1]}, options_schema={options})"))
    assert "and 4 more" in only(loading("bad").states["bad"]).what


def test_of_two_that_offer_one_id_the_first_enabled_keeps_it(site: Site, loading: Load) -> None:
    site.add("one", OFFERS.format(SPEC.format("same")))
    site.add("two", OFFERS.format(f"{SPEC.format('same')}, {SPEC.format('other')}"))
    site.add("three", OFFERS.format(SPEC.format("same")))
    registry = loading("two", "one", "three")
    assert registry.converters["same"].plugin == "two"
    assert registry.converters["other"].plugin == "two"
    for name in ("one", "three"):
        problem = only(registry.states[name])
        assert problem.code == "DM-P031"
        assert "'two'" in problem.what
        assert name in problem.what
        assert registry.states[name].status is Status.QUARANTINED
    assert registry.states["two"].status is Status.LOADED


def test_one_id_may_serve_two_kinds(site: Site, loading: Load) -> None:
    body = (
        GOOD.format(id="same") + "@hookimpl\ndef register_queue_policies():\n    return [PolicySpec('same', 'a:A')]\n"
    )
    body += "@hookimpl\ndef register_transports():\n    return [TransportSpec('same', 'a:A')]\n"
    site.add("acme", body)
    registry = loading("acme")
    assert registry.converters["same"].spec is not registry.policies["same"].spec
    state = registry.states["acme"]
    assert (state.converters, state.transports, state.policies) == (("same",),) * 3


def test_a_listener_alone_is_a_plugin_too(site: Site, loading: Load, tmp_path: Path) -> None:
    site.add(
        "ear",
        f"import pathlib\nnote = pathlib.Path({str(tmp_path / 'heard')!r})\n"
        "@hookimpl\ndef on_event(event):\n    note.write_text(event.name)\n",
    )
    registry = loading("ear")
    assert registry.states["ear"].status is Status.LOADED
    assert registry.states["ear"].listens
    [listener] = registry.listeners
    listener.call(AgentEvent(name="file.claimed", time=0))
    assert (tmp_path / "heard").read_text() == "file.claimed"


@pytest.mark.parametrize(
    ("pin", "code", "said"),
    [
        (PluginPin(name="acm"), "DM-P001", "did you mean 'acme'?"),
        (PluginPin(name="nothing-like-it"), "DM-P001", "plugins list"),
        (PluginPin(name="twice"), "DM-P002", "pin the one you mean"),
        (PluginPin(name="future"), "DM-P003", "that fits"),
        (PluginPin(name="acme", version="9.9"), "DM-P004", "change the pin"),
        (PluginPin(name="acme", distribution="someone-elses"), "DM-P004", "change the pin"),
        (PluginPin(name="twice", distribution="twice-one", version="2.0"), "DM-P004", "change the pin"),
    ],
)
def test_what_can_never_be_loaded_is_refused_without_being_imported(
    pin: PluginPin, code: str, said: str, site: Site, loading: Load
) -> None:
    modules = [
        site.add("acme"),
        site.add("twice", distribution="twice-one"),
        site.add("twice", distribution="twice-two"),
        site.add("future", group="dropmill.plugins.v9"),
    ]
    registry = loading(pin)
    problem = registry.refusals[pin.name]
    assert problem.code == code
    assert said in problem.todo
    assert registry.states[pin.name].status is Status.QUARANTINED
    assert registry.states[pin.name].problems == (problem,)
    assert registry.faults == {}
    assert not set(modules) & set(sys.modules)


def test_both_claimants_are_named_even_while_disabled(site: Site, loading: Load) -> None:
    site.add("twice", distribution="twice-one")
    site.add("twice", distribution="twice-two")
    site.add("future", group="dropmill.plugins.v9")
    states = loading().states
    assert "twice-one 1.0 and twice-two 1.0" in only(states["twice"]).what
    assert only(states["future"]).code == "DM-P003"
    assert states["twice"].status is states["future"].status is Status.DISABLED
    assert states["future"].as_dict()["distributions"][0]["api"] == "v9"


def test_a_pin_that_fits_loads_and_settles_a_dispute(site: Site, loading: Load) -> None:
    site.add("twice", distribution="twice-one")
    wanted = site.add("twice", distribution="Twice_Two", version="2.0")
    registry = loading(PluginPin(name="twice", distribution="twice-two", version="2.0"))
    assert registry.converters["twice"].distribution == "Twice_Two"
    assert wanted in sys.modules


def test_a_name_that_is_enabled_twice_is_loaded_once(site: Site, loading: Load) -> None:
    site.add("acme")
    assert set(loading("acme", PluginPin(name="acme", version="1.0")).converters) == {"acme"}
    registry = loading(PluginPin(name="acme", version="9"), "acme")
    assert set(registry.refusals) == {"acme"}
    assert registry.converters == {}


def test_what_a_plugin_prints_stays_out_of_standard_output(
    site: Site, loading: Load, capfd: pytest.CaptureFixture[str]
) -> None:
    site.add("chatty", "print('hello from import')\n" + GOOD.format(id="chatty"))
    assert set(loading("chatty").converters) == {"chatty"}
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "hello from import" in captured.err


def test_a_plugin_that_behaves_only_in_its_trial_is_still_contained(site: Site, loading: Load) -> None:
    trick = f"import os, time\nif os.getpid() == {os.getpid()}:\n    {{}}\n"
    site.add("exits", trick.format("raise SystemExit") + GOOD.format(id="exits"))
    site.add("hangs", trick.format("time.sleep(6)") + GOOD.format(id="hangs"))
    site.add(
        "wraps",
        trick.format("hookimpl = hookimpl(wrapper=True)") + "@hookimpl\ndef register_transports():\n    yield\n",
    )
    site.add("good")
    registry = loading("exits", "hangs", "wraps", "good", limits=Limits(plugin=3.0))
    assert set(registry.converters) == {"good"}
    codes = {name: only(registry.states[name]).code for name in ("exits", "hangs", "wraps")}
    assert codes == {"exits": "DM-P010", "hangs": "DM-P012", "wraps": "DM-P022"}


def test_processes_that_a_plugin_started_do_not_outlive_its_trial(site: Site, loading: Load, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    body = (
        "import os, subprocess, sys\n"
        f"if os.getpid() != {os.getpid()}:\n"
        "    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"    open({str(note)!r}, 'w').write(str(child.pid))\n"
    )
    site.add("breeder", body + GOOD.format(id="breeder"))
    assert set(loading("breeder").converters) == {"breeder"}
    child = int(note.read_text())
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        if "State:\tZ" in Path(f"/proc/{child}/status").read_text():
            return
        threading.Event().wait(0.01)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the plugin's child is still alive")


def test_garbage_on_the_answering_descriptor_is_no_answer(site: Site, loading: Load) -> None:
    body = (
        "import os\n"
        f"if os.getpid() != {os.getpid()}:\n"
        "    for number in range(3, 40):\n"
        "        try:\n"
        '            os.write(number, b\'garbage\\n[]\\n{"plugin": "nobody"}\\n\')\n'
        '            os.write(number, b\'{"plugin": "bad", "problem": 7}\\n{"end": true}\\n\')\n'
        "        except OSError:\n"
        "            pass\n"
        "    os._exit(1)\n"
    )
    site.add("bad", body)
    site.add("good")
    registry = loading("bad", "good")
    assert set(registry.converters) == {"good"}
    assert only(registry.states["bad"]).code == "DM-P011"


def test_a_flood_on_standard_error_does_not_stop_the_trial(site: Site, loading: Load) -> None:
    body = f"import os, sys\nif os.getpid() != {os.getpid()}:\n    sys.stderr.write('x' * 3_000_000)\n    sys.stderr.flush()\n"
    site.add("loud", body + GOOD.format(id="loud"))
    assert set(loading("loud").converters) == {"loud"}


def test_where_no_process_can_be_started_nothing_is_imported(
    site: Site, loading: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module = site.add("acme")
    monkeypatch.setattr(probation.sys, "executable", str(tmp_path / "missing"))
    problem = only(loading("acme").states["acme"])
    assert problem.code == "DM-P013"
    assert module not in sys.modules


def test_loading_nothing_starts_nothing(loading: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(probation.sys, "executable", str(tmp_path / "missing"))
    registry = loading()
    assert (registry.converters, registry.transports, registry.policies) == ({}, {}, {})


def test_no_descriptor_is_left_open(site: Site, loading: Load) -> None:
    site.add("good")
    site.add("bad", "import os\nos._exit(1)")
    loading("good", "bad")
    before = sorted(os.listdir("/proc/self/fd"))
    loading("good", "bad")
    assert sorted(os.listdir("/proc/self/fd")) == before
