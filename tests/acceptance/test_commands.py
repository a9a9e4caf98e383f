"""The command line as a person and a script use it: every command, with a running agent and without one, and how each ends."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dropmill.foundation.clock import SystemClock
from dropmill.foundation.lock import FileLock
from support.agent import Agent, drop, running

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(240), pytest.mark.xdist_group("acceptance")]

GOOD = '<testsuite name="s"><testcase classname="c" name="t"/></testsuite>'
CUT = '<testsuite name="s"><testcase'
SECRET = "correct-horse-battery"
VAULT = """
[[destination]]
name = "vault"
transport = "http"
options = { url = "https://vault.invalid/{key}", auth = { type = "bearer", token = { env = "VAULT_TOKEN" } } }
"""


def put(agent: Agent, **files: str) -> None:
    """Files beside the configuration; `good_xml` is good.xml."""
    for name, text in files.items():
        (agent.home / name.replace("_", ".")).write_text(text)


def rows(done: Any) -> list[list[str]]:
    return [line.split("\t") for line in done.stdout.splitlines()]


def problem(done: Any) -> dict[str, Any]:
    """The error of a command with `--json`."""
    found = json.loads(done.stderr.splitlines()[-1])
    assert {"code", "what", "where", "todo"} <= found.keys()
    return found


def file_ids(agent: Agent) -> dict[str, str]:
    return {file["name"]: file["id"] for file in agent.json("files")["items"]}


def state_of(agent: Agent, file_id: str) -> str:
    return agent.get(f"/v1/files/{file_id}")["state"]


def test_without_an_agent(make_agent):
    agent = make_agent()
    put(agent, good_xml=GOOD, more_xml=GOOD, cut_xml=CUT)

    status = agent.json("status")
    assert (status["state"], status["agent"], status["files"]) == ("offline", None, {})
    listed = agent.run("files", "--json", check=1)
    assert (listed.stdout, problem(listed)["code"]) == ("", "DM-Q003")
    for needs_an_agent in (("pause", "folder", "inbox"), ("submit", "good.xml", "--wait")):
        assert problem(agent.run(*needs_an_agent, "--json", check=5))["code"] == "DM-A102"

    submitted = agent.run("submit", "good.xml", "missing.xml", "more.xml", check=3)
    assert [(Path(row[0]).name, bool(row[1]), row[2]) for row in rows(submitted)] == [
        ("good.xml", True, "queued"),
        ("missing.xml", False, "refused"),
        ("more.xml", True, "queued"),
    ]
    assert "No such file" in rows(submitted)[1][3]
    assert (agent.home / "good.xml").read_text() == GOOD, "it is copied, not moved"
    good = rows(submitted)[0][1]

    assert agent.json("status")["files"]["claimed"] == 2
    assert {row[3] for row in rows(agent.run("files", "--state", "claimed"))} == {"good.xml", "more.xml"}
    assert agent.json("deliveries") == {"items": [], "next": None}
    for argument in (good, "good.xml"):
        assert [file["id"] for file in agent.json("explain", argument)["files"]] == [good]
    assert agent.json("explain", "/no/such/file", check=1)["state"] == "unknown"
    assert problem(agent.run("retry", good, "--json", check=1))["code"] == "DM-H007"
    assert agent.json("retry", "--all")["files"]["changed"] == 0

    with running(agent):
        agent.wait_for(agent.idle, "what was submitted before the start to be delivered")
        assert agent.json("status")["files"]["finished"] == 2
        assert agent.stop() == 0
    assert len(agent.json("deliveries", "--state", "sent")["items"]) == 2


def test_configuration_plugins_and_trials(make_agent):
    agent = make_agent(more=VAULT, environment={"VAULT_TOKEN": SECRET})
    put(agent, good_xml=GOOD, cut_xml=CUT, odd_zzz="hm", other_csv="a,b\n1,2\n")

    assert agent.json("config", "check")["valid"] is True
    shown = agent.run("config", "show", "--json")
    auth = json.loads(shown.stdout)["settings"]["destination"][1]["options"]["auth"]
    assert auth["type"] == "bearer"
    assert SECRET not in shown.stdout
    told = agent.run("config", "show")
    assert SECRET not in told.stdout
    assert ["folder[0].settle", "0.3", "dropmill.toml:15"] in rows(told)
    schema = agent.json("config", "schema")
    assert schema["$schema"].endswith("2020-12/schema")
    assert "folder" in schema["properties"]

    listed = agent.json("plugins", "list")
    assert {one["name"] for one in listed["items"] if one["enabled"]} >= {"csv", "junit", "directory", "reject"}
    assert listed["missing"] == []
    assert [one["id"] for one in agent.json("plugins", "show", "junit")["converters"]] == ["junit"]
    assert "delimiter =" in agent.run("plugins", "show", "csv", "--sample").stdout
    assert {one["state"] for one in agent.json("plugins", "check")["items"]} == {"loaded"}
    assert problem(agent.run("plugins", "check", "nope", "--json", check=1))["code"] == "DM-P001"

    (report,) = agent.run("try", "good.xml").stdout.splitlines()
    assert json.loads(report)["counts"] == {"total": 1, "passed": 1}
    refused = agent.run("try", "cut.xml", check=3)
    assert refused.stdout == ""
    assert json.loads(refused.stderr).items() >= {"outcome": "Refused", "converter": "junit", "line": 1}.items()
    unknown = agent.run("try", "odd.zzz", check=3)
    assert json.loads(unknown.stderr)["outcome"] == "NoConverter"
    assert json.loads(unknown.stderr)["considered"].keys() == {"junit", "wsjf", "json", "csv"}
    assert json.loads(agent.run("try", "missing.xml", check=3).stderr)["outcome"] == "Unreadable"
    assert problem(agent.run("try", "good.xml", "--converter", "nope", "--json", check=1))["code"] == "DM-A109"
    assert not (agent.home / "state").exists(), "none of these touches the queue"

    agent.config.write_text(agent.config.read_text().replace("settle = 0.3", 'settle = "soon"'))
    wrong = problem(agent.run("config", "check", "--json", check=4))
    assert [one["key"] for one in wrong["problems"]] == ["folder[0].settle"]
    assert agent.json("status")["state"] == "offline", "reading works while the file is being edited"


def test_with_an_agent(make_agent, nginx):
    agent = make_agent(url=nginx.url)
    inbox = agent.home / "inbox"
    put(agent, good_xml=GOOD, cut_xml=CUT, odd_zzz=GOOD, later_xml=GOOD)
    with running(agent):
        nginx.answer(400)
        done = agent.run("submit", "odd.zzz", "good.xml", "missing.xml", "cut.xml", "--wait", "--json", check=3)
        items = {Path(one["path"]).name: one for one in json.loads(done.stdout)["items"]}
        assert {name: (one["state"], bool(one["problem"])) for name, one in items.items()} == {
            "odd.zzz": ("failed", False),
            "good.xml": ("finished", False),
            "missing.xml": ("refused", True),
            "cut.xml": ("failed", False),
        }
        odd, good = items["odd.zzz"]["fileId"], items["good.xml"]["fileId"]

        # --- what there is
        status = agent.json("status")
        assert (status["state"], status["agent"]["pid"]) == ("running", agent.pid)
        assert {row[3] for row in rows(agent.run("files", "--state", "failed"))} == {"odd.zzz", "cut.xml"}
        (dead,) = agent.json("deliveries", "--state", "failed")["items"]
        assert (dead["destination"], dead["fileId"]) == ("archive", good)
        told = agent.run("explain", good).stdout
        assert "to archive: dead" in told
        assert "to reports: sent" in told

        # --- what was not taken
        drop(GOOD.encode(), inbox, "dropped.xml")
        (inbox / "half.xml.part").write_text(CUT)
        with (inbox / "written.xml").open("w") as stream:
            stream.write(CUT)
            stream.flush()
            agent.wait_for(lambda: "dropped.xml" in file_ids(agent), "the dropped file to be claimed")
            for name, state, word in (("half.xml.part", "excluded", "*.part"), ("written.xml", "waiting", "writing")):
                shape = agent.json("explain", f"inbox/{name}")
                assert (shape["state"], shape["files"]) == (state, [])
                assert word in shape["reason"]
            stream.write("/></testsuite>")
        agent.wait_for(lambda: "written.xml" in file_ids(agent), "the file to be claimed once it is whole")
        dropped = file_ids(agent)["dropped.xml"]
        for argument in (str(inbox / "dropped.xml"), "inbox/dropped.xml", dropped, "dropped.xml"):
            assert [file["id"] for file in agent.json("explain", argument)["files"]] == [dropped]

        # --- what failed goes again
        agent.wait_for(agent.idle, "the agent to be idle")
        nginx.answer(None)
        assert agent.run("retry", str(dead["id"])).stdout == "1 deliveries tried again\n"
        agent.wait_for(lambda: agent.get(f"/v1/deliveries/{dead['id']}")["state"] == "sent", "the delivery to be sent")
        assert agent.json("retry", "--destination", "archive", "--dry-run")["deliveries"]["matched"] == 2
        assert agent.json("retry", odd, "--converter", "junit")["files"]["changed"] == 1
        agent.wait_for(lambda: state_of(agent, odd) == "finished", "the file to be converted by the named converter")
        assert problem(agent.run("retry", odd, "--json", check=1))["code"] == "DM-H007"
        assert agent.json("drop", "--destination", "archive", "--reason", "not needed")["deliveries"]["changed"] == 2

        # --- pause and resume
        agent.run("pause", "folder", "inbox")
        agent.run("pause", "destination", "archive")
        agent.run("pause", "plugin", "junit")
        assert agent.json("status")["flags"].keys() == {"folder:inbox", "destination:archive", "plugin:junit"}
        assert problem(agent.run("pause", "folder", "nope", "--json", check=1))["code"] == "DM-H003"
        drop(GOOD.encode(), inbox, "held.xml")
        later = agent.json("submit", "later.xml")["items"][0]["fileId"]
        gave_up = agent.run("submit", "later.xml", "--wait", "--timeout", "0.5", "--json", check=3)
        assert json.loads(gave_up.stdout)["items"][0]["state"] == "parked"
        shape = agent.json("explain", "inbox/held.xml")
        assert (shape["state"], shape["files"]) == ("waiting", [])
        assert "paused" in json.dumps(shape)
        agent.run("resume", "plugin", "junit")
        agent.wait_for(lambda: state_of(agent, later) == "converted", "the paused plugin's file to be converted")
        (waiting,) = agent.json("deliveries", "--file", later, "--state", "pending")["items"]
        assert waiting["destination"] == "archive"
        assert (inbox / "held.xml").exists()
        agent.run("resume", "destination", "archive")
        agent.run("resume", "folder", "inbox")
        agent.wait_for(lambda: "held.xml" in file_ids(agent), "the paused folder's file to be claimed")
        agent.wait_for(agent.idle, "the agent to be idle")
        assert agent.json("status")["flags"] == {}
        assert agent.json("deliveries", "--state", "failed")["items"] == []
        assert agent.stop() == 0


@contextlib.contextmanager
def left_behind(agent: Agent) -> Iterator[None]:
    """A held lock, and the socket of a process that is gone."""
    state = agent.home / "state"
    state.mkdir(exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(state / "agent.sock"))
        listening.listen()
    with FileLock(state / "owner.lock", instance="someone", clock=SystemClock()):
        yield


def test_a_held_lock_with_a_dead_socket(make_agent):
    agent = make_agent()
    put(agent, good_xml=GOOD)
    commands = (("status",), ("explain", "good.xml"), ("submit", "good.xml"), ("resume", "folder", "inbox"))
    with left_behind(agent), ThreadPoolExecutor() as threads:
        started = threads.submit(agent.run, "run", check=5)  # waits for the lock, in case that a command holds it
        ended = list(threads.map(lambda command: agent.run(*command, "--json", check=5), commands))
        assert "someone" in started.result().stderr
    for done in ended:
        assert done.stdout == ""
        assert problem(done)["code"] == "DM-A102"
        assert "someone" in problem(done)["what"]
    assert agent.json("status")["state"] == "offline", "a dead socket alone is no agent"


def test_a_full_queue(make_agent):
    agent = make_agent()
    agent.config.write_text(agent.config.read_text().replace("max_items = 100000", "max_items = 2"))
    put(agent, good_xml=GOOD)
    with running(agent):
        agent.run("pause", "destination", "reports")
        taken = 0
        while (done := agent.run("submit", "good.xml", "--json", check=None)).returncode == 0:
            taken += 1
            agent.wait_for(lambda: not agent.get("/v1/status")["files"]["claimed"], "the file to be converted")
            assert taken <= 4, "it never became full"
        assert done.returncode == 6
        assert problem(done)["code"] == "DM-Q001"
        assert agent.stop() == 0
    assert problem(agent.run("submit", "good.xml", "--json", check=6))["code"] == "DM-Q001", "nor without an agent"
    with running(agent):
        agent.run("resume", "destination", "reports")
        agent.wait_for(agent.idle, "the queue to drain")
        agent.run("submit", "good.xml", "--wait")
        assert len(list((agent.home / "reports").iterdir())) == taken + 1
        assert agent.stop() == 0
