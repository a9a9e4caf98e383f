"""Holds the pages to the code: links, diagrams, commands, options, hooks, failpoints, names of tests and settings."""

from __future__ import annotations

import ast
import functools
import inspect
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest

import dropmill.api
from dropmill.api import Converter, HookSpecs, QueuePolicy, Transport
from dropmill.cli.root import COMMANDS, cli
from dropmill.config import schema
from dropmill.queue.records import DeliveryState, FileState, ParkReason
from dropmill.supervision.spec import State

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
PAGES = [
    path
    for path in sorted(
        [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "plugins_contrib").glob("*/README.md")]
    )
    if ".venv" not in path.parts
]
SHOWN = [str(path.relative_to(ROOT)) for path in PAGES]


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def code_in(text: str) -> Iterator[str]:
    """What stands in code: inline, in blocks of a shell, or indented."""
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        if language in ("", "console", "sh", "bash"):
            yield from block.splitlines()
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    yield from (line for line in text.splitlines() if line.startswith("    "))
    yield from re.findall(r"`([^`\n]+)`", text)


def anchor(heading: str) -> str:
    """As GitHub makes them."""
    plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    text = re.sub(r"^```.*?^```", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    return {anchor(heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


# --- links ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=SHOWN)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"`[^`\n]+`", "", re.sub(r"^```.*?^```", "", text_of(page), flags=re.MULTILINE | re.DOTALL))
    broken = []
    for link in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        place, _, fragment = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        if not target.exists() or (fragment and target.suffix == ".md" and fragment not in anchors(target)):
            broken.append(link)
    assert broken == []


def linked(index: Path) -> set[str]:
    return set(re.findall(r"\]\(([\w./-]+\.md)\)", text_of(index)))


def test_the_index_lists_every_page() -> None:
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages - linked(ROOT / "docs" / "README.md") == set()


def test_the_index_lists_every_decision() -> None:
    folder = ROOT / "docs" / "decisions"
    pages = {path.name for path in folder.glob("*.md")} - {"README.md"}
    assert pages - linked(folder / "README.md") == set()


def test_pages_that_the_code_names_exist() -> None:
    named = {
        (str(path.relative_to(ROOT)), page)
        for path in SOURCES
        for page in re.findall(r"\bdocs/[\w/-]+\.md\b", text_of(path))
        if not (ROOT / page).exists()
    }
    assert named == set()


# --- diagrams ------------------------------------------------------------------------------------------------------------


def test_diagrams_and_reference_are_current() -> None:
    checked = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "build.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_diagram_is_shown() -> None:
    shown = {name for page in PAGES for name in re.findall(r"diagrams/([\w-]+)\.svg", text_of(page))}
    assert shown == {path.stem for path in (ROOT / "docs" / "diagrams").glob("*.dot")}


def edges(name: str) -> set[tuple[str, str]]:
    """The arrows of a diagram between plain names."""
    text = re.sub(r"//.*|\[[^\]]*\]", "", text_of(ROOT / "docs" / "diagrams" / f"{name}.dot"))
    return set(re.findall(r"\b(\w+) -> (\w+)", text))


def closure(arrows: Mapping[str, set[str]]) -> dict[str, set[str]]:
    def beyond(name: str) -> set[str]:
        return {far for near in arrows.get(name, ()) for far in (near, *beyond(near))}

    return {name: beyond(name) for name in arrows}


def test_the_packages_diagram_is_what_imports_are_held_to() -> None:
    tree = ast.parse(text_of(ROOT / "tests" / "unit" / "test_architecture.py"))
    values: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "STORE":
            values["STORE"] = ast.literal_eval(node.value)
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "ARROWS":
            assert node.value is not None
            values["ARROWS"] = eval(compile(ast.Expression(node.value), "ARROWS", "eval"), {"STORE": values["STORE"]})
    drawn: dict[str, set[str]] = {name: set() for name in values["ARROWS"]}
    for one, other in edges("packages"):
        if one not in ("bundled", "contrib"):
            drawn[one].add(other)
    assert closure(drawn) == closure(values["ARROWS"])


def children() -> set[str]:
    """The names of supervised children, as the code gives them; NAME for what is in braces."""
    return {
        re.sub(r"\{[^}]*\}", "NAME", name)
        for path in SOURCES
        if "supervision" not in path.parts
        for name in re.findall(r'ChildSpec\(\s*name=f?"([^"]+)"', text_of(path))
    }


def test_children_are_drawn_and_explained() -> None:
    found = children()
    assert {"control", "conversion", "folder NAME"} <= found
    drawing = text_of(ROOT / "docs" / "diagrams" / "processes.dot")
    page = text_of(ROOT / "docs" / "architecture.md")
    assert {name for name in found if f'label="{name}\\n' not in drawing} == set()
    assert {name for name in found if f"| `{name}` |" not in page} == set()


@pytest.mark.parametrize(
    ("diagram", "states"),
    [("file-states", {"waiting", *FileState}), ("delivery-states", set(DeliveryState))],
)
def test_states_are_drawn_and_explained(diagram: str, states: set[str]) -> None:
    assert {name for edge in edges(diagram) for name in edge} == {str(state) for state in states}
    page = text_of(ROOT / "docs" / "operating.md")
    assert {state for state in states if f"`{state}`" not in page} == set()


def test_reasons_and_the_agents_states_are_explained() -> None:
    page = text_of(ROOT / "docs" / "operating.md")
    assert {reason for reason in ParkReason if f"| `{reason}` |" not in page} == set()
    assert {state for state in State if f"| `{state}` |" not in page} - {"stopped"} == set()


# --- commands ------------------------------------------------------------------------------------------------------------


def complaint(command: str) -> str | None:
    """What is wrong with a command line: an unknown command, subcommand or option; None: nothing."""
    words = re.split(r"\s+", re.split(r"\s[|>&]|\s{2,}|;|\s#", command.strip())[0])[1:]
    found: click.Command = cli
    while words and isinstance(found, click.Group):
        name = words.pop(0)
        if name.startswith("-"):
            known = {option for parameter in found.params for option in parameter.opts} | {"--help", "-h"}
            return None if name in known else f"{name} is no option of dropmill"
        if not re.fullmatch(r"[a-z][a-z-]*,?", name):
            return None  # a placeholder, or the end of the command
        context = click.Context(found)
        below = found.get_command(context, name.rstrip(","))
        if below is None:
            return f"there is no command {name!r}"
        found = below
    known = {option for parameter in found.params for option in parameter.opts} | {"--help", "-h"}
    for word in words:
        option = word.partition("=")[0].rstrip(",.")
        if re.fullmatch(r"--[a-z][a-z-]*", option) and option not in known:
            return f"{found.name} has no option {option}"
    return None


def commands(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        line = line.strip().removeprefix("$ ")
        for command in re.split(r"&& ", line):
            command = re.sub(r"^(?:\w+=\S+ |[\w./]*bin/)+", "", command.strip())
            if re.match(r"dropmill [a-z-]", command):
                yield command


@pytest.mark.parametrize("page", PAGES, ids=SHOWN)
def test_commands_and_options_that_a_page_names_exist(page: Path) -> None:
    wrong = [(command, why) for command in commands(code_in(text_of(page))) if (why := complaint(command))]
    assert wrong == []


def texts(path: Path) -> Iterator[str]:
    """The texts of a module; what is put in at run time stands as X."""
    inner: set[int] = set()
    for node in ast.walk(ast.parse(text_of(path))):
        if isinstance(node, ast.JoinedStr):
            inner |= {id(part) for part in node.values}
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            yield node.value


def test_commands_that_messages_name_exist() -> None:
    wrong = {
        (str(path.relative_to(ROOT)), command, why)
        for path in SOURCES
        for text in texts(path)
        for command in re.findall(r"`(dropmill [a-z][^`\n]*)`|: (dropmill [a-z][^`\n]*)$", text)
        for command in filter(None, command)
        if (why := complaint(command))
    }
    assert wrong == set()


def test_unknown_commands_and_options_are_found() -> None:
    assert complaint("dropmill retry ID --converter csv") is None
    assert complaint("dropmill status, explain, ...") is None
    assert complaint("dropmill mill") == "there is no command 'mill'"
    assert complaint("dropmill plugins chck NAME") == "there is no command 'chck'"
    assert complaint("dropmill retry --evrything") == "retry has no option --evrything"
    assert complaint("dropmill --colour") == "--colour is no option of dropmill"


@functools.cache
def explained() -> str:
    return "\n".join(text_of(page) for page in PAGES if page.name != "CHANGELOG.md")


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in ("config", "plugins")])
def test_every_command_is_explained(command: str) -> None:
    assert f"dropmill {command}" in explained()


@pytest.mark.parametrize("group", ["config", "plugins"])
def test_every_command_of_a_group_is_explained(group: str) -> None:
    found = cli.get_command(click.Context(cli), group)
    assert isinstance(found, click.Group)
    assert {name for name in found.commands if f"{group} {name}" not in explained()} == set()


# --- settings ------------------------------------------------------------------------------------------------------------


SECTIONS = {
    "agent": schema.agent,
    "conversion": schema.conversion,
    "control": schema.control,
    "destination": schema.destination,
    "folder": schema.folder,
    "log": schema.log,
    "plugins": schema.plugins,
    "queue": schema.queue,
    "shutdown": schema.shutdown,
}
SETTING = re.compile(rf"^(?:({'|'.join(SECTIONS)})\.|\[\[?({'|'.join(SECTIONS)})\]\]? )([a-z_]+)$")
"""`queue.max_items`, or `[shutdown] force`."""


def failpoints() -> set[str]:
    return {name for path in SOURCES for name in re.findall(r'\.hit\("([\w.]+)"', text_of(path))}


def unknown_settings(text: str) -> list[str]:
    """Settings that a text names and that do not exist; names of files, events and failpoints have the same form."""
    others = failpoints() | {"queue.db", "queue.damaged", "agent.state", "agent.ready", "agent.sock"}
    wrong = []
    for name in re.findall(r"`([^`\n]+)`", text):
        found = SETTING.match(name.partition(" = ")[0])
        if (
            found
            and name not in others
            and not name.endswith((".md", ".py"))
            and found[3] not in SECTIONS[found[1] or found[2]]()["properties"]
        ):
            wrong.append(name)
    return wrong


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))])
def test_settings_that_a_page_names_exist(page: str) -> None:
    """Decisions are left out: they speak of modules, whose names look alike."""
    assert unknown_settings(text_of(ROOT / page)) == []


def test_unknown_settings_are_found() -> None:
    assert unknown_settings('`queue.max_items`, `[shutdown] force`, `[plugins] on_error = "fail"`, `queue.db`') == []
    assert unknown_settings("`queue.max_itmes`, `[shutdown] fource`") == ["queue.max_itmes", "[shutdown] fource"]


def test_toml_blocks_are_toml() -> None:
    for page in PAGES:
        for block in re.findall(r"^```toml\n(.*?)^```", text_of(page), re.MULTILINE | re.DOTALL):
            tomllib.loads(block)


# --- the plugin guide ----------------------------------------------------------------------------------------------------


def signature(function: Any, *, drop_self: bool) -> str:
    """`async def send(self, batch: Sequence[Outgoing]) -> Sequence[Outcome]`, as it stands in the source."""
    tree = ast.parse(inspect.cleandoc("\n" + inspect.getsource(function))).body[0]
    assert isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef)
    if drop_self:
        tree.args.args = tree.args.args[1:]
    word = "async def" if isinstance(tree, ast.AsyncFunctionDef) else "def"
    assert tree.returns is not None
    return f"{word} {tree.name}({ast.unparse(tree.args)}) -> {ast.unparse(tree.returns)}: ..."


def methods(kind: type) -> list[str]:
    return [
        signature(member, drop_self=kind is HookSpecs)
        for name, member in vars(kind).items()
        if inspect.isfunction(member) and (name == "__init__" or not name.startswith("_"))
    ]


@pytest.mark.parametrize("kind", [HookSpecs, Converter, Transport, QueuePolicy], ids=lambda kind: kind.__name__)
def test_signatures_are_documented_exactly(kind: type) -> None:
    page = text_of(ROOT / "docs" / "plugins.md")
    found = [one for one in methods(kind) if one.startswith(("def", "async def"))]
    assert found
    indent = "" if kind is HookSpecs else "    "
    missing = [one for one in found if f"\n{indent}{one}\n" not in page]
    assert missing == []


def test_no_hook_is_documented_that_does_not_exist() -> None:
    page = text_of(ROOT / "docs" / "plugins.md")
    told = set(re.findall(r"^def (\w+)\(.*\) -> .*: \.\.\.$", page, re.MULTILINE))
    assert told == {name for name in vars(HookSpecs) if not name.startswith("_")}


def test_names_of_the_api_that_the_guide_uses_exist() -> None:
    page = text_of(ROOT / "docs" / "plugins.md")
    inline = " ".join(re.findall(r"`([^`\n]+)`", page))
    called = set(re.findall(r"\b([A-Z][a-z]+[A-Za-z]*)\(", inline)) - {"OSError"}
    assert called
    assert called - set(dropmill.api.__all__) == set()


def test_records_that_the_guide_spells_out_have_these_fields() -> None:
    page = text_of(ROOT / "docs" / "plugins.md")
    for name in ("Report", "TransportCaps", "TransportSpec", "PolicySpec"):
        spelt = re.search(rf"`{name}\(([^`]+)\)`", page)
        assert spelt, name
        told = [part.partition("=")[0].strip() for part in re.split(r",(?![^()]*\))", spelt[1]) if part.strip() != "*"]
        assert told == list(getattr(dropmill.api, name).__dataclass_fields__), name


# --- the testing page ----------------------------------------------------------------------------------------------------


def test_failpoints_are_listed() -> None:
    page = text_of(ROOT / "docs" / "testing.md")
    told = set(re.findall(r"^\| `([a-z_.]+)` \|", page, re.MULTILINE))
    assert {name for name in told if "." in name and not name.startswith("dropmill.")} == failpoints()


def test_tests_that_are_named_exist() -> None:
    named = re.findall(r"`([\w/.-]+\.py)::(\w+)`", text_of(ROOT / "docs" / "testing.md"))
    assert len(named) > 40
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not (ROOT / path).exists() or not re.search(rf"def {name}\b", text_of(ROOT / path))
    ]
    assert missing == []
