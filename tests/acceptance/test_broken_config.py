"""Broken configurations through the installed command: every error at once, with its place, value and advice; exit code 4."""

from __future__ import annotations

import json

import pytest

from support.agent import Agent

pytestmark = [pytest.mark.acceptance]

GOOD = """
[agent]
state = "state"
[plugins]
enable = ["junit", "csv", "directory", "http", "reject", "pause"]
[queue]
max_items = 1000
[[folder]]
name = "inbox"
path = "inbox"
converters = ["junit"]
destinations = ["reports"]
[[destination]]
name = "reports"
transport = "directory"
options = { path = "reports" }
"""

WEB = """
[[destination]]
name = "web"
transport = "http"
"""

# (what is done to the good file, [(key path, what the message must contain)])
BROKEN = {
    "unknown section": (lambda t: t + "[quue]\nmax_items = 1\n", [("quue", "queue")]),
    "unknown key": (lambda t: t.replace("max_items", "max_itmes"), [("queue.max_itmes", "max_items")]),
    "unknown key in a folder": (
        lambda t: t.replace('path = "inbox"', 'path = "inbox"\nsetle = 1'),
        [("folder[0].setle", "settle")],
    ),
    "wrong type": (lambda t: t.replace("= 1000", '= "many"'), [("queue.max_items", "many")]),
    "out of range": (lambda t: t.replace("= 1000", "= 0"), [("queue.max_items", "0")]),
    "water marks crossed": (
        lambda t: t.replace("= 1000", "= 1000\nhigh_water = 0.5\nlow_water = 0.8"),
        [("queue", "0.8")],
    ),
    "missing plugin": (lambda t: t.replace('"junit", "csv"', '"junit", "cvs"'), [("plugins.enable[1]", "csv")]),
    "plugin not enabled": (lambda t: t.replace('["junit", "csv",', '["csv",'), [("folder[0].converters[0]", "junit")]),
    "unknown converter": (
        lambda t: t.replace('converters = ["junit"]', 'converters = ["junti"]'),
        [("folder[0].converters[0]", "junit")],
    ),
    "unknown destination": (
        lambda t: t.replace('destinations = ["reports"]', 'destinations = ["report"]'),
        [("folder[0].destinations[0]", "reports")],
    ),
    "unknown transport": (
        lambda t: t.replace('transport = "directory"', 'transport = "directroy"'),
        [("destination[0].transport", "directory")],
    ),
    "unknown policy": (lambda t: t.replace("= 1000", '= 1000\nwhen_full = "drop"'), [("queue.when_full", "drop")]),
    "duplicate folder": (
        lambda t: t + '[[folder]]\nname = "inbox"\npath = "other"\nconverters = ["csv"]\ndestinations = ["reports"]\n',
        [("folder[1].name", "inbox")],
    ),
    "duplicate destination": (
        lambda t: t + '[[destination]]\nname = "reports"\ntransport = "directory"\noptions = { path = "x" }\n',
        [("destination[1].name", "reports")],
    ),
    "overlapping roots": (
        lambda t: (
            t + '[[folder]]\nname = "inner"\npath = "inbox/sub"\nconverters = ["csv"]\ndestinations = ["reports"]\n'
        ),
        [("folder[1].path", "inbox")],
    ),
    "same root": (
        lambda t: (
            t + '[[folder]]\nname = "again"\npath = "./inbox"\nconverters = ["csv"]\ndestinations = ["reports"]\n'
        ),
        [("folder[1].path", "inbox")],
    ),
    "destination inside a folder": (
        lambda t: t.replace('path = "reports"', 'path = "inbox/reports"'),
        [("destination[0].options.path", "inbox")],
    ),
    "state inside a folder": (
        lambda t: t.replace('state = "state"', 'state = "inbox/state"'),
        [("agent.state", "inbox")],
    ),
    "retries too many": (
        lambda t: t.replace('transport = "directory"', 'transport = "directory"\nretries = 101'),
        [("destination[0].retries", "101")],
    ),
    "retries negative": (
        lambda t: t.replace('transport = "directory"', 'transport = "directory"\nretries = -1'),
        [("destination[0].retries", "-1")],
    ),
    "concurrency zero": (
        lambda t: t.replace('transport = "directory"', 'transport = "directory"\nconcurrency = 0'),
        [("destination[0].concurrency", "0")],
    ),
    "concurrency too high": (
        lambda t: t.replace('transport = "directory"', 'transport = "directory"\nconcurrency = 101'),
        [("destination[0].concurrency", "101")],
    ),
    "time limit of zero": (
        lambda t: t.replace('transport = "directory"', 'transport = "directory"\ntimeout = 0'),
        [("destination[0].timeout", "0")],
    ),
    "settle of zero": (
        lambda t: t.replace('path = "inbox"', 'path = "inbox"\nsettle = 0'),
        [("folder[0].settle", "0")],
    ),
    "shutdown backwards": (lambda t: t + "[shutdown]\ngraceful = 100\nforce = 50\n", [("shutdown", "100")]),
    "invalid URL": (
        lambda t: t + WEB + 'options = { url = "htp:/nowhere" }\n',
        [("destination[1].options.url", "htp")],
    ),
    "URL missing": (lambda t: t + WEB, [("destination[1].options", "url")]),
    "secret in clear": (
        lambda t: t + WEB + 'options = { url = "http://h/{key}", auth = { type = "bearer", token = "s3cr3t" } }\n',
        [("destination[1].options.auth", "env")],
    ),
    "secret's variable is not set": (
        lambda t: (
            t
            + WEB
            + 'options = { url = "http://h/{key}", auth = { type = "bearer", token = { env = "DROPMILL_NO_SUCH" } } }\n'
        ),
        [("destination[1].options.auth.token", "DROPMILL_NO_SUCH")],
    ),
    "no converters": (lambda t: t.replace('converters = ["junit"]', "converters = []"), [("folder[0].converters", "")]),
    "no destinations": (
        lambda t: t.replace('destinations = ["reports"]', "destinations = []"),
        [("folder[0].destinations", "")],
    ),
    "empty name": (lambda t: t.replace('name = "inbox"', 'name = ""'), [("folder[0].name", "")]),
    "option of a transport": (
        lambda t: t.replace('{ path = "reports" }', '{ path = "reports", colour = "red" }'),
        [("destination[0].options.colour", "not known")],
    ),
    "not TOML": (lambda t: t.replace("[queue]", "[queue"), [("", "line")]),
    "several at once": (
        lambda t: (
            t.replace("= 1000", "= -5")
            .replace('["junit"]', '["nobody"]')
            .replace('transport = "directory"', 'transport = "directory"\nretries = 500')
        ),
        [("queue.max_items", "-5"), ("folder[0].converters[0]", "nobody"), ("destination[0].retries", "500")],
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_every_error_at_once(tmp_path, name):
    break_it, expected = BROKEN[name]
    text = break_it(GOOD)
    assert text != GOOD
    agent = Agent(tmp_path, text)
    ran = agent.run("run", check=4)
    for path, part in expected:
        assert path in ran.stderr, ran.stderr
        assert part in ran.stderr, ran.stderr
    assert "DM-C" in ran.stderr
    assert "s3cr3t" not in ran.stderr + ran.stdout
    assert not (tmp_path / "state").exists(), "the agent began to start"


def test_as_json(tmp_path):
    agent = Agent(tmp_path, GOOD.replace("max_items", "max_itmes"))
    (problem,) = json.loads(agent.run("config", "check", "--json", check=4).stderr)["problems"]
    assert (problem["key"], problem["value"], problem["suggestion"]) == ("queue.max_itmes", "1000", "max_items")
    assert (problem["line"], problem["column"]) == (7, 1)


def test_missing_root_is_offline_and_no_error(tmp_path):
    agent = Agent(tmp_path, GOOD)
    assert not (tmp_path / "inbox").exists()
    agent.run("config", "check")
    agent.start()
    try:
        (folder,) = agent.get("/v1/folders")["items"]
        assert folder["state"] == "offline", folder
        (tmp_path / "inbox").mkdir()
        agent.wait_for(lambda: agent.get("/v1/folders")["items"][0]["state"] == "online", "the folder to come back", 90)
    finally:
        agent.stop()
