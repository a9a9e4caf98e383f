"""Converters that hang, crash, exit and print: only their own file is affected, and the plugin is named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from support.agent import drop, running
from support.ledger import folder_files, received, sha256

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(180), pytest.mark.xdist_group("acceptance")]

KINDS = ("hang", "crash", "exit", "print")

CONVERTERS = """
import os, signal, sys, time
from dropmill.api import Report

class Base:
    def __init__(self, options): ...
    def convert(self, source, context):
        self.act()
        with source.open() as stream:
            stream.read()
        yield Report({"kind": "data", "outcome": "passed"})

class Hang(Base):
    def act(self):
        while True:
            time.sleep(3600)

class Crash(Base):
    def act(self):
        os.kill(os.getpid(), signal.SIGSEGV)

class Exit(Base):
    def act(self):
        sys.exit("leaving")

class Print(Base):
    def act(self):
        print("to standard output " * 1000, flush=True)
        print("to standard error " * 1000, file=sys.stderr, flush=True)
"""

PLUGIN = """
from dropmill.api import Accepts, ConverterSpec, hookimpl

@hookimpl
def register_converters():
    return [ConverterSpec("{kind}", "faulty_converters:{name}", Accepts(("*.{kind}",)), timeout=2.0)]
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """An installed distribution with four plugins of one faulty converter each."""
    folder = tmp_path / "site"
    info = folder / "dropmill_faulty-1.2.3.dist-info"
    info.mkdir(parents=True)
    (folder / "faulty_converters.py").write_text(CONVERTERS)
    for kind in KINDS:
        (folder / f"faulty_{kind}.py").write_text(PLUGIN.format(kind=kind, name=kind.title()))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dropmill-faulty\nVersion: 1.2.3\n")
    entries = "\n".join(f"faulty-{kind} = faulty_{kind}" for kind in KINDS)
    (info / "entry_points.txt").write_text(f"[dropmill.plugins.v1]\n{entries}\n")
    return folder


def test_faults_stay_with_their_file(make_agent, site):
    agent = make_agent(
        converters=("junit", *KINDS),
        extra_plugins=tuple(f"faulty-{kind}" for kind in KINDS),
        settle=0.1,
        environment={"PYTHONPATH": str(site), "PATH": os.environ["PATH"]},
    )
    inbox = agent.home / "inbox"
    bystanders = {
        f"ok-{number}.xml": f'<testsuite name="s"><testcase name="t{number}"/></testsuite>'.encode()
        for number in range(60)
    }
    with running(agent):
        for kind in KINDS:
            drop(kind.encode(), inbox, f"one.{kind}")
        for name, data in bystanders.items():
            drop(data, inbox, name)
        agent.wait_for(lambda: len(folder_files(agent.home / "reports")) == len(bystanders) + 1, "the bystanders", 60)
        agent.wait_for(lambda: agent.get("/v1/status")["files"]["parked"] == 3, "the faulty ones to be parked", 60)

        for kind, outcome in (("hang", "timeout"), ("crash", "crash"), ("exit", "error")):
            (told,) = agent.json("files", "--name", f"one.{kind}")["items"]
            assert (told["state"], told["reason"]) == ("parked", "poison"), told
            detail = agent.json("explain", told["id"])
            text = json.dumps(detail)
            assert f"faulty-{kind}" in text, f"the plugin is not named: {text}"
            assert outcome in text, text
            assert told["error"]["attempt"] == 2, told
        status = agent.get("/v1/status")
        assert status["state"] in ("running", "degraded")
        assert status["files"]["finished"] == len(bystanders) + 1
        assert agent.stop() == 0
    reports = received(folder_files(agent.home / "reports"))
    assert {sha256(data) for data in bystanders.values()} < set(reports)
    assert sha256(b"print") in reports
