"""Broken configurations: each is refused with its code, its place in the file, the value and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

ENABLE = 'enable = ["csv", "json", "directory", "http", "reject", "pause"]\n'
PLUGINS = "[plugins]\n" + ENABLE
FOLDER = '[[folder]]\nname = "inbox"\npath = "inbox"\nconverters = ["csv"]\ndestinations = ["reports"]\n'
DESTINATION = '[[destination]]\nname = "reports"\ntransport = "directory"\noptions = { path = "reports" }\n'
HTTP = '[[destination]]\nname = "reports"\ntransport = "http"\n'
SECRET = "hunter2-secret"

# name: (text, code, key, value, what to do or what is wrong, in words)
BROKEN: dict[str, tuple[str, str, str, str, str]] = {
    "unknown key": (
        PLUGINS + FOLDER + "setle = 3\n" + DESTINATION,
        "DM-C010",
        "folder[0].setle",
        "3",
        "did you mean settle?",
    ),
    "unknown key like nothing": (
        PLUGINS + FOLDER + "colour = 3\n" + DESTINATION,
        "DM-C010",
        "folder[0].colour",
        "3",
        "known here are name, path",
    ),
    "unknown section": (
        "[que]\nmax_items = 5\n" + PLUGINS + FOLDER + DESTINATION,
        "DM-C010",
        "que",
        "{...} (1 key)",
        "queue",
    ),
    "unknown key in a section": (
        PLUGINS + "[queue]\nmax-items = 5\n" + FOLDER + DESTINATION,
        "DM-C010",
        "queue.max-items",
        "5",
        "max_items",
    ),
    "unknown option": (
        PLUGINS + FOLDER.replace('["csv"]', '[{ id = "csv", options = { delimeter = ";" } }]') + DESTINATION,
        "DM-C010",
        "folder[0].converters[0].options.delimeter",
        "***",
        "did you mean delimiter?",
    ),
    "unknown option for all": (
        PLUGINS + FOLDER + DESTINATION + "[converter.csv]\nheaders = false\n",
        "DM-C010",
        "converter.csv.headers",
        "false",
        "header",
    ),
    "option where there is none": (
        PLUGINS + FOLDER + DESTINATION + "[converter.json]\nlax = true\n",
        "DM-C010",
        "converter.json.lax",
        "true",
        "nothing to set",
    ),
    "option of the queue's policy": (
        PLUGINS + FOLDER + DESTINATION + '[queue]\nwhen_full = "pause"\n[queue.policy]\nresume = 0.5\n',
        "DM-C010",
        "queue.policy.resume",
        "0.5",
        "did you mean resume_below?",
    ),
    "option of the policy by default": (
        PLUGINS + FOLDER + DESTINATION + "[queue.policy]\nresume_below = 0.5\n",
        "DM-C010",
        "queue.policy.resume_below",
        "0.5",
        "nothing to set here",
    ),
    "wrong type": (
        PLUGINS + "[queue]\nmax_items = true\n" + FOLDER + DESTINATION,
        "DM-C011",
        "queue.max_items",
        "true",
        "whole number",
    ),
    "number in quotes": (
        PLUGINS + FOLDER + DESTINATION + 'retries = "5"\n',
        "DM-C011",
        "destination[0].retries",
        '"5"',
        "whole number",
    ),
    "text instead of a list": (
        PLUGINS + FOLDER.replace('["reports"]', '"reports"') + DESTINATION,
        "DM-C011",
        "folder[0].destinations",
        '"reports"',
        "a list",
    ),
    "table instead of a list of tables": (
        PLUGINS + FOLDER.replace("[[folder]]", "[folder]") + DESTINATION,
        "DM-C011",
        "folder",
        "{...} (4 keys)",
        "list",
    ),
    "neither name nor table": (
        PLUGINS + FOLDER.replace('["csv"]', "[7]") + DESTINATION,
        "DM-C011",
        "folder[0].converters[0]",
        "7",
        "a text in quotes or a table",
    ),
    "fraction where none can be": (
        PLUGINS + FOLDER + DESTINATION + "concurrency = 2.5\n",
        "DM-C011",
        "destination[0].concurrency",
        "2.5",
        "a whole number",
    ),
    "a date": (
        PLUGINS + FOLDER + "settle = 2026-11-24\n" + DESTINATION,
        "DM-C011",
        "folder[0].settle",
        "2026-11-24",
        "a duration",
    ),
    "too many retries": (
        PLUGINS + FOLDER + DESTINATION + "retries = 101\n",
        "DM-C012",
        "destination[0].retries",
        "101",
        "from 0 to 100",
    ),
    "negative retries": (
        PLUGINS + FOLDER + DESTINATION + "retries = -1\n",
        "DM-C012",
        "destination[0].retries",
        "-1",
        "from 0 to 100",
    ),
    "no concurrency": (
        PLUGINS + FOLDER + DESTINATION + "concurrency = 0\n",
        "DM-C012",
        "destination[0].concurrency",
        "0",
        "from 1 to 100",
    ),
    "too much concurrency": (
        PLUGINS + FOLDER + DESTINATION + "concurrency = 101\n",
        "DM-C012",
        "destination[0].concurrency",
        "101",
        "from 1 to 100",
    ),
    "no time at all": (
        PLUGINS + FOLDER + DESTINATION + "timeout = 0\n",
        "DM-C012",
        "destination[0].timeout",
        "0",
        "more than 0 s",
    ),
    "no time, in words": (
        PLUGINS + FOLDER + DESTINATION + 'timeout = "0 min"\n',
        "DM-C012",
        "destination[0].timeout",
        '"0 min"',
        "more than 0 s",
    ),
    "never settled": (
        PLUGINS + FOLDER + "settle = 0.0\n" + DESTINATION,
        "DM-C012",
        "folder[0].settle",
        "0.0",
        "more than 0 s",
    ),
    "negative time": (
        PLUGINS + FOLDER + "settle = -1\n" + DESTINATION,
        "DM-C012",
        "folder[0].settle",
        "-1",
        "more than 0 s",
    ),
    "not a number": (PLUGINS + FOLDER + "settle = nan\n" + DESTINATION, "DM-C012", "folder[0].settle", "nan", "finite"),
    "infinite": (
        PLUGINS + FOLDER + DESTINATION + "timeout = inf\n",
        "DM-C012",
        "destination[0].timeout",
        "inf",
        "at most 1 d",
    ),
    "more than there is": (
        PLUGINS + f"[queue]\nmax_items = {10**30}\n" + FOLDER + DESTINATION,
        "DM-C012",
        "queue.max_items",
        str(10**30),
        "from 1 to 1 000 000 000",
    ),
    "too small": (
        PLUGINS + '[queue]\nmax_bytes = "1 kB"\n' + FOLDER + DESTINATION,
        "DM-C012",
        "queue.max_bytes",
        '"1 kB"',
        "1 MB",
    ),
    "option out of range": (
        PLUGINS + FOLDER + DESTINATION + '[queue]\nwhen_full = "pause"\npolicy = { resume_below = 1 }\n',
        "DM-C012",
        "queue.policy.resume_below",
        "1",
        "less than 1",
    ),
    "no such choice": (
        PLUGINS + FOLDER + 'duplicates = "skipp"\n' + DESTINATION,
        "DM-C013",
        "folder[0].duplicates",
        '"skipp"',
        'did you mean "skip"?',
    ),
    "choice of another kind": (
        PLUGINS + FOLDER.replace('["csv"]', '[{ id = "csv", min_level = "sure" }]') + DESTINATION,
        "DM-C013",
        "folder[0].converters[0].min_level",
        '"sure"',
        '"weak", "possible", "likely" or "certain"',
    ),
    "missing path": (
        PLUGINS + FOLDER.replace('path = "inbox"\n', "") + DESTINATION,
        "DM-C014",
        "folder[0].path",
        "",
        "add path",
    ),
    "missing plugins": (FOLDER + DESTINATION, "DM-C014", "plugins", "", "add plugins"),
    "missing list of plugins": ("[plugins]\n" + FOLDER + DESTINATION, "DM-C014", "plugins.enable", "", "add enable"),
    "missing id": (
        PLUGINS + FOLDER.replace('["csv"]', "[{ options = {} }]") + DESTINATION,
        "DM-C014",
        "folder[0].converters[0].id",
        "",
        "add id",
    ),
    "missing option": (
        PLUGINS + FOLDER + HTTP,
        "DM-C014",
        "destination[0].options.url",
        "",
        "add url: Where reports go.",
    ),
    "missing option within an option": (
        PLUGINS + FOLDER + HTTP + 'options = { url = "https://h/", auth = { user = "me" } }\n',
        "DM-C014",
        "destination[0].options.auth.kind",
        "",
        "add kind",
    ),
    "option that another needs": (
        PLUGINS + FOLDER + HTTP + 'options = { url = "https://h/", key = "k.pem" }\n',
        "DM-C014",
        "destination[0].options.certificate",
        "",
        "or take key out",
    ),
    "no duration": (
        PLUGINS + FOLDER + 'settle = "two"\n' + DESTINATION,
        "DM-C015",
        "folder[0].settle",
        '"two"',
        "ms, s, min, h, d",
    ),
    "no size": (
        PLUGINS + '[queue]\nmax_bytes = "10 gigs"\n' + FOLDER + DESTINATION,
        "DM-C015",
        "queue.max_bytes",
        '"10 gigs"',
        "KiB",
    ),
    "name with a slash": (
        PLUGINS + FOLDER.replace('"inbox"\npath', '"in/box"\npath') + DESTINATION,
        "DM-C015",
        "folder[0].name",
        '"in/box"',
        "letters, digits",
    ),
    "path for a shell": (
        PLUGINS + FOLDER.replace('path = "inbox"', 'path = "~/inbox"') + DESTINATION,
        "DM-C015",
        "folder[0].path",
        '"~/inbox"',
        "without ~",
    ),
    "path with a line end": (
        PLUGINS + FOLDER.replace('path = "inbox"', 'path = "in\\nbox"') + DESTINATION,
        "DM-C015",
        "folder[0].path",
        '"in\\nbox"',
        "control",
    ),
    "option that is a path for a shell": (
        PLUGINS + FOLDER + DESTINATION.replace('"reports" }', '"~/reports" }'),
        "DM-C015",
        "destination[0].options.path",
        '"~/reports"',
        "write the path in full",
    ),
    "name of a tag": (
        PLUGINS + FOLDER + 'tags = { "no way" = "x" }\n' + DESTINATION,
        "DM-C015",
        'folder[0].tags."no way"',
        '"x"',
        "no possible name",
    ),
    "empty name": (
        PLUGINS + FOLDER.replace('name = "inbox"', 'name = ""') + DESTINATION,
        "DM-C016",
        "folder[0].name",
        '""',
        "must not be empty",
    ),
    "empty path": (
        PLUGINS + FOLDER.replace('path = "inbox"', 'path = ""') + DESTINATION,
        "DM-C016",
        "folder[0].path",
        '""',
        "must not be empty",
    ),
    "folder without converters": (
        PLUGINS + FOLDER.replace('["csv"]', "[]") + DESTINATION,
        "DM-C016",
        "folder[0].converters",
        "[]",
        "must not be empty",
    ),
    "folder without destinations": (
        PLUGINS + FOLDER.replace('["reports"]', "[]") + DESTINATION,
        "DM-C016",
        "folder[0].destinations",
        "[]",
        "must not be empty",
    ),
    "option that is too long": (
        PLUGINS + FOLDER + DESTINATION + '[converter.csv]\ndelimiter = "||"\n',
        "DM-C016",
        "converter.csv.delimiter",
        '"||"',
        "at most 1",
    ),
    "URL without a scheme": (
        PLUGINS + FOLDER + HTTP + 'options = { url = "example.org/upload" }\n',
        "DM-C018",
        "destination[0].options.url",
        '"example.org/upload"',
        "does not begin with a scheme",
    ),
    "URL of another kind": (
        PLUGINS + FOLDER + HTTP + 'options = { url = "ftp://example.org/" }\n',
        "DM-C018",
        "destination[0].options.url",
        '"ftp://example.org/"',
        "http:// or https://",
    ),
    "URL with a space": (
        PLUGINS + FOLDER + HTTP + 'options = { url = "https://example.org/a b" }\n',
        "DM-C018",
        "destination[0].options.url",
        '"https://example.org/a b"',
        "a space",
    ),
    "URL without a host": (
        PLUGINS + FOLDER + HTTP + 'options = { url = "https:///upload" }\n',
        "DM-C018",
        "destination[0].options.url",
        '"https:///upload"',
        "no host",
    ),
    "URL with an impossible port": (
        PLUGINS + FOLDER + HTTP + 'options = { url = "https://h:99999/" }\n',
        "DM-C018",
        "destination[0].options.url",
        '"https://h:99999/"',
        "ort",
    ),
    "plugin enabled twice": (
        '[plugins]\nenable = ["csv", "directory", "reject", { name = "csv" }]\n' + FOLDER + DESTINATION,
        "DM-C020",
        "plugins.enable[3]",
        '"csv"',
        "twice",
    ),
    "two folders of one name": (
        PLUGINS + FOLDER + FOLDER.replace('path = "inbox"', 'path = "other"') + DESTINATION,
        "DM-C020",
        "folder[1].name",
        '"inbox"',
        "folder[0]",
    ),
    "two destinations of one name": (
        PLUGINS + FOLDER + DESTINATION + DESTINATION,
        "DM-C020",
        "destination[1].name",
        '"reports"',
        "a name of its own",
    ),
    "converter listed twice": (
        PLUGINS + FOLDER.replace('["csv"]', '["csv", { id = "csv" }]') + DESTINATION,
        "DM-C020",
        "folder[0].converters[1]",
        '"csv"',
        "take one of the two out",
    ),
    "destination listed twice": (
        PLUGINS + FOLDER.replace('["reports"]', '["reports", "reports"]') + DESTINATION,
        "DM-C020",
        "folder[0].destinations[1]",
        '"reports"',
        "take one of the two out",
    ),
    "unknown converter": (
        PLUGINS + FOLDER.replace('["csv"]', '["cvs"]') + DESTINATION,
        "DM-C021",
        "folder[0].converters[0]",
        '"cvs"',
        "did you mean csv?",
    ),
    "converter that is not enabled": (
        PLUGINS + FOLDER.replace('["csv"]', '[{ id = "xlsx" }]') + DESTINATION,
        "DM-C021",
        "folder[0].converters[0].id",
        '"xlsx"',
        "installed but not enabled: add it to plugins.enable",
    ),
    "converter that is a transport": (
        PLUGINS + FOLDER.replace('["csv"]', '["http"]') + DESTINATION,
        "DM-C021",
        "folder[0].converters[0]",
        '"http"',
        "is a transport, not a converter",
    ),
    "unknown transport": (
        PLUGINS + FOLDER + DESTINATION.replace('"directory"', '"carrier-pigeon"').replace("options", "#"),
        "DM-C021",
        "destination[0].transport",
        '"carrier-pigeon"',
        "directory, http",
    ),
    "unknown policy": (
        PLUGINS + FOLDER + DESTINATION + '[queue]\nwhen_full = "panic"\n',
        "DM-C021",
        "queue.when_full",
        '"panic"',
        "pause",
    ),
    "options of an unknown converter": (
        PLUGINS + FOLDER + DESTINATION + "[converter.cvs]\nheader = true\n",
        "DM-C021",
        "converter.cvs",
        '"cvs"',
        "did you mean csv?",
    ),
    "unknown destination": (
        PLUGINS + FOLDER.replace('["reports"]', '["report"]') + DESTINATION,
        "DM-C022",
        "folder[0].destinations[0]",
        '"report"',
        "did you mean reports?",
    ),
    "unknown destination like nothing": (
        PLUGINS + FOLDER.replace('["reports"]', '["warehouse"]') + DESTINATION,
        "DM-C022",
        "folder[0].destinations[0]",
        '"warehouse"',
        "add a [[destination]] of this name, or use reports",
    ),
    "the same folder twice": (
        PLUGINS
        + FOLDER
        + FOLDER.replace('name = "inbox"', 'name = "b"').replace('path = "inbox"', 'path = "./x/../inbox/"')
        + DESTINATION,
        "DM-C025",
        "folder[1].path",
        '"./x/../inbox/"',
        "is the same folder as",
    ),
    "a folder inside another": (
        PLUGINS
        + FOLDER
        + FOLDER.replace('name = "inbox"', 'name = "b"').replace('path = "inbox"', 'path = "inbox/b"')
        + DESTINATION,
        "DM-C025",
        "folder[1].path",
        '"inbox/b"',
        'lies inside folder "inbox" (folder[0].path = "inbox")',
    ),
    "a folder around another": (
        PLUGINS
        + FOLDER.replace('path = "inbox"', 'path = "in/box"')
        + FOLDER.replace('name = "inbox"', 'name = "b"').replace('"inbox"', '"in"')
        + DESTINATION,
        "DM-C025",
        "folder[1].path",
        '"in"',
        "contains",
    ),
    "a destination inside a folder": (
        PLUGINS + FOLDER + DESTINATION.replace('"reports" }', '"inbox/reports" }'),
        "DM-C026",
        "destination[0].options.path",
        '"inbox/reports"',
        "choose a place outside",
    ),
    "a destination that is the folder": (
        PLUGINS + FOLDER + DESTINATION.replace('"reports" }', '"inbox" }'),
        "DM-C026",
        "destination[0].options.path",
        '"inbox"',
        "choose a place outside",
    ),
    "a destination inside a folder, by options for all": (
        PLUGINS + FOLDER + DESTINATION.replace("options", "#") + '[transport.directory]\npath = "inbox/x"\n',
        "DM-C026",
        "transport.directory.path",
        '"inbox/x"',
        "choose a place outside",
    ),
    "a destination made of placeholders": (
        PLUGINS + FOLDER + DESTINATION.replace('"reports" }', '"inbox/r-{serial}/{date}" }'),
        "DM-C026",
        "destination[0].options.path",
        '"inbox/r-{serial}/{date}"',
        "choose a place outside",
    ),
    "a converter's path inside a folder": (
        PLUGINS + FOLDER + DESTINATION + '[converter.csv]\nlookup = "inbox/lookup.csv"\n',
        "DM-C026",
        "converter.csv.lookup",
        '"inbox/lookup.csv"',
        "choose a place outside",
    ),
    "the socket inside a folder": (
        PLUGINS + FOLDER + DESTINATION + '[control]\nsocket = "inbox/agent.sock"\n',
        "DM-C026",
        "control.socket",
        '"inbox/agent.sock"',
        "choose a place outside",
    ),
    "state inside a folder": (
        PLUGINS + '[agent]\nstate = "inbox/state"\n' + FOLDER + DESTINATION,
        "DM-C027",
        "agent.state",
        '"inbox/state"',
        "choose a place outside",
    ),
    "a folder inside the state": (
        PLUGINS + FOLDER.replace('path = "inbox"', 'path = "state/inbox"') + DESTINATION,
        "DM-C027",
        "folder[0].path",
        '"state/inbox"',
        "the agent alone may write there",
    ),
    "done outside": (
        PLUGINS + FOLDER + 'done = "../done"\n' + DESTINATION,
        "DM-C028",
        "folder[0].done",
        '"../done"',
        'write done = "done"',
    ),
    "failed outside": (
        PLUGINS + FOLDER + 'failed = "/var/failed"\n' + DESTINATION,
        "DM-C028",
        "folder[0].failed",
        '"/var/failed"',
        "inside the watched folder",
    ),
    "done is the folder": (
        PLUGINS + FOLDER + 'done = "."\n' + DESTINATION,
        "DM-C028",
        "folder[0].done",
        '"."',
        "must not be that folder itself",
    ),
    "done where claimed files lie": (
        PLUGINS + FOLDER + 'done = ".dropmill/done"\n' + DESTINATION,
        "DM-C028",
        "folder[0].done",
        '".dropmill/done"',
        "choose another name",
    ),
    "done and failed in one": (
        PLUGINS + FOLDER + 'failed = "done"\n' + DESTINATION,
        "DM-C029",
        "folder[0].failed",
        '"done"',
        "a name of its own",
    ),
    "done inside failed": (
        PLUGINS + FOLDER + 'done = "failed/done"\n' + DESTINATION,
        "DM-C029",
        "folder[0].done",
        '"failed/done"',
        "a name of its own",
    ),
    "low water above high": (
        PLUGINS + "[queue]\nlow_water = 0.95\n" + FOLDER + DESTINATION,
        "DM-C030",
        "queue.low_water",
        "0.95",
        "leave room between them",
    ),
    "high water below low": (
        PLUGINS + "[queue]\nhigh_water = 0.5\n" + FOLDER + DESTINATION,
        "DM-C030",
        "queue.high_water",
        "0.5",
        "leave room between them",
    ),
    "force before graceful": (
        PLUGINS + '[shutdown]\ngraceful = "5 min"\n' + FOLDER + DESTINATION,
        "DM-C031",
        "shutdown.graceful",
        '"5 min"',
        "lower graceful",
    ),
    "secret in clear": (
        PLUGINS + FOLDER + HTTP + f'options = {{ url = "https://h/", token = "{SECRET}" }}\n',
        "DM-C032",
        "destination[0].options.token",
        "***",
        '{ env = "NAME" } or { file = "path" }',
    ),
    "secret in clear within an option": (
        PLUGINS
        + FOLDER
        + HTTP
        + f'options = {{ url = "https://h/", auth = {{ kind = "basic", user = "u", password = "{SECRET}" }} }}\n',
        "DM-C032",
        "destination[0].options.auth.password",
        "***",
        "refer to it",
    ),
    "secret in clear for all": (
        PLUGINS + FOLDER + DESTINATION + f'[transport.http]\ntoken = "{SECRET}"\n',
        "DM-C032",
        "transport.http.token",
        "***",
        "refer to it",
    ),
    "password in the URL": (
        PLUGINS + FOLDER + HTTP + f'options = {{ url = "https://me:{SECRET}@example.org/" }}\n',
        "DM-C032",
        "destination[0].options.url",
        "***",
        "take it out of the URL",
    ),
    "secret that is nowhere": (
        PLUGINS + FOLDER + HTTP + 'options = { url = "https://h/", token = { env = "NO_SUCH_VARIABLE" } }\n',
        "DM-C033",
        "destination[0].options.token",
        '{ env = "NO_SUCH_VARIABLE" }',
        "set it for the agent",
    ),
    "secret in a file that is nowhere": (
        PLUGINS + FOLDER + HTTP + 'options = { url = "https://h/", token = { file = "no/such/file" } }\n',
        "DM-C033",
        "destination[0].options.token",
        '{ file = "no/such/file" }',
        "readable by the agent's user",
    ),
    "secret that does not fit": (
        PLUGINS + FOLDER + HTTP + 'options = { url = "https://h/", token = { env = "SHORT" } }\n',
        "DM-C034",
        "destination[0].options.token",
        '{ env = "SHORT" }',
        "a line end too many",
    ),
    "secret in two places": (
        PLUGINS + FOLDER + HTTP + 'options = { url = "https://h/", token = { env = "SHORT", file = "x" } }\n',
        "DM-C016",
        "destination[0].options.token",
        "{...} (2 keys)",
        "exactly one place",
    ),
    "secret in an unknown place": (
        PLUGINS + FOLDER + HTTP + 'options = { url = "https://h/", token = { enw = "SHORT" } }\n',
        "DM-C010",
        "destination[0].options.token.enw",
        "***",
        "did you mean env?",
    ),
    "cap below the first wait": (
        PLUGINS + FOLDER + DESTINATION + 'backoff = "10 min"\n',
        "DM-C036",
        "destination[0].backoff",
        '"10 min"',
        "raise backoff_cap",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_is_refused_with_its_reason(name: str, kit: Any) -> None:
    content, code, key, value, said = BROKEN[name]
    kit.environment = {"SHORT": "abc"}
    problem = kit.problem(content)
    assert (problem.code, problem.key) == (code, key), str(problem)
    assert problem.value == value
    assert said in f"{problem.what} - {problem.todo}"
    assert SECRET not in str(problem.as_dict())
    assert (
        problem.where == f"{kit.file}:{problem.line}:{problem.column}"
        if problem.line
        else problem.where == str(kit.file)
    )


def test_there_are_many() -> None:
    assert len(BROKEN) >= 90
    assert len({code for _, code, *_ in BROKEN.values()}) >= 20


def test_each_is_otherwise_sound(kit: Any, base: str) -> None:
    kit.read(base)
    kit.read(PLUGINS + FOLDER + DESTINATION)


def test_all_problems_of_a_file_come_at_once_in_its_order(kit: Any) -> None:
    content = (
        '[plugins]\nenable = ["csv", "directory", "nonsense"]\non_eror = "fail"\n'
        "[queue]\nmax_items = -1\nlow_water = 0.99\n"
        '[[folder]]\nname = "a b"\npath = "inbox"\nconverters = ["cvs"]\ndestinations = ["reprots", "web"]\nsettle = "soon"\n'
        '[[folder]]\nname = "second"\npath = "inbox/second"\nconverters = [{ id = "csv", options = { delimiter = "", x = 1 } }]\n'
        'destinations = ["reports"]\n'
        '[[destination]]\nname = "reports"\ntransport = "directory"\noptions = { path = "inbox/out" }\nretries = 1000\n'
        f'[[destination]]\nname = "web"\ntransport = "http"\noptions = {{ token = "{SECRET}", methd = "PUT" }}\n'
    )
    problems = kit.problems(content)
    assert [(problem.code, problem.key, problem.line) for problem in problems] == [
        ("DM-C010", "plugins.on_eror", 3),
        ("DM-C012", "queue.max_items", 5),
        ("DM-C030", "queue.low_water", 6),
        ("DM-C015", "folder[0].name", 8),
        ("DM-C021", "folder[0].converters[0]", 10),
        ("DM-C022", "folder[0].destinations[0]", 11),
        ("DM-C015", "folder[0].settle", 12),
        ("DM-C025", "folder[1].path", 15),
        ("DM-C016", "folder[1].converters[0].options.delimiter", 16),
        ("DM-C010", "folder[1].converters[0].options.x", 16),
        ("DM-C026", "destination[0].options.path", 21),
        ("DM-C012", "destination[0].retries", 22),
        ("DM-C014", "destination[1].options.url", 26),
        ("DM-C032", "destination[1].options.token", 26),
        ("DM-C010", "destination[1].options.methd", 26),
    ]
    assert SECRET not in "\n".join(map(str, problems))


def test_columns_point_at_the_value_or_at_the_unknown_key(kit: Any) -> None:
    wrong, unknown = kit.problems(PLUGINS + FOLDER + DESTINATION + "retries =   500\n  typo = 1\n")
    assert (wrong.line, wrong.column) == (12, 13)
    assert (unknown.line, unknown.column) == (13, 3)


def test_a_misspelt_required_option_is_told_once(kit: Any) -> None:
    problem = kit.problem(PLUGINS + FOLDER + HTTP + 'options = { ulr = "https://h/" }\n')
    assert (problem.key, problem.suggestion) == ("destination[0].options.ulr", "url")


def test_options_for_all_are_told_of_once_however_often_they_are_used(kit: Any) -> None:
    many = "".join(HTTP.replace("reports", f"reports{number}") for number in range(5))
    folder = FOLDER.replace('["reports"]', "[" + ", ".join(f'"reports{number}"' for number in range(5)) + "]")
    problem = kit.problem(PLUGINS + folder + many + '[transport.http]\nurl = "https://me:pw@h/"\n')
    assert problem.key == "transport.http.url"


def test_more_problems_than_anyone_reads_are_counted(kit: Any) -> None:
    lines = "".join(f"wrong{number} = 1\n" for number in range(1000))
    problems = kit.problems(PLUGINS + FOLDER + lines + DESTINATION)
    assert len(problems) == 201
    assert problems[-1].code == "DM-C004"
    assert "800 further" in problems[-1].what


def test_the_error_lists_every_problem(kit: Any, tmp_path: Path) -> None:
    from dropmill.config import ConfigError

    with pytest.raises(ConfigError) as caught:
        kit.read(PLUGINS + FOLDER + "setle = 1\n" + DESTINATION + "retries = 500\n")
    error = caught.value
    assert "2 problems" in str(error)
    assert (
        f"{tmp_path}/dropmill.toml:8:1: DM-C010: folder[0].setle = 1: is not known here - did you mean settle?"
        in str(error)
    )
    assert [problem["key"] for problem in error.as_dict()["problems"]] == ["folder[0].setle", "destination[0].retries"]


def test_values_of_unknown_keys_that_sound_secret_are_not_shown(kit: Any) -> None:
    problem = kit.problem(PLUGINS + FOLDER + DESTINATION + f'api_key = "{SECRET}"\n')
    assert (problem.code, problem.value) == ("DM-C010", "***")
