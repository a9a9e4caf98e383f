"""Holds the code to the house's rules by reading it: which package may import which, who may start tasks, what may not block.

The arrows are those of `docs/architecture.md`. Each rule is also tried on a snippet that breaks it, so that it can fail.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "src" / "core"
PLUGINS = ROOT / "src" / "plugins"
CONTRIBUTED = ROOT / "plugins_contrib"

STORE = {"queue", "reports", "config", "plugins", "api", "supervision", "foundation"}

ARROWS: dict[str, set[str]] = {
    "foundation": set(),
    "api": {"foundation"},
    "supervision": {"foundation"},
    "config": {"api", "foundation"},
    "reports": {"api", "foundation"},
    "plugins": {"config", "api", "foundation"},
    "queue": {"reports", "config", "api", "supervision", "foundation"},
    "intake": {"queue", "reports", "config", "api", "supervision", "foundation"},
    "conversion": {"queue", "reports", "config", "api", "supervision", "foundation"},
    "delivery": {"queue", "reports", "config", "api", "supervision", "foundation"},
    "control": {"intake", "conversion", "delivery", "plugins", *STORE},
    "agent": {"control", "intake", "conversion", "delivery", *STORE},
    "cli": {"agent", "control", "intake", "conversion", "delivery", "testing", *STORE},
    "testing": {"conversion", "queue", "reports", "config", "api", "supervision", "foundation"},
}
"""What each package may import, besides itself."""

TASK_MAKERS = {"create_task", "ensure_future", "gather", "TaskGroup", "run_coroutine_threadsafe"}

BLOCKING = set(
    """
    open input time.sleep
    os.system os.popen os.fsync os.fdatasync os.sync os.open os.stat os.lstat os.listdir os.scandir os.walk os.rename
    os.replace os.link os.unlink os.remove os.mkdir os.makedirs os.rmdir os.path.exists os.path.getsize os.path.isfile
    os.path.isdir os.path.realpath
    shutil.copy shutil.copy2 shutil.copyfile shutil.copyfileobj shutil.copytree shutil.move shutil.rmtree shutil.disk_usage
    tempfile.mkdtemp tempfile.mkstemp tempfile.TemporaryDirectory tempfile.NamedTemporaryFile
    subprocess.run subprocess.call subprocess.check_call subprocess.check_output subprocess.Popen
    sqlite3.connect fcntl.flock importlib.import_module
    socket.create_connection socket.getaddrinfo socket.gethostbyname
    write_durably fsync_directory syncfs rename_no_replace
    """.split()  # noqa: SIM905
)
"""Calls that wait for a disk, a process, a name server or a clock."""

BLOCKING_METHODS = set(
    """
    read_bytes read_text write_bytes write_text exists is_file is_dir is_symlink iterdir glob rglob mkdir unlink rmdir rename
    symlink_to hardlink_to touch executemany executescript fetchall fetchone
    """.split()  # noqa: SIM905
)
"""Of paths and database connections."""

LONGEST = 500

ONE_CALLER = ("cli", "testing")
"""Packages whose event loop serves nobody else, so that it may wait."""


def sources(root: Path) -> Iterator[tuple[str, Path]]:
    """Every module below a source root, by its dotted name."""
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(tree: ast.AST, module: str, *, is_package: bool) -> Iterator[tuple[str, int]]:
    """Absolute names of what is imported, anywhere in a module: at the top, in functions, for type checking."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                here = module.split(".")
                here = here[: len(here) - node.level + (1 if is_package else 0)]
                base = ".".join([*here, base] if base else here)
            yield from ((f"{base}.{alias.name}", node.lineno) for alias in node.names)


def package(name: str) -> str:
    """The part of `dropmill` that a dotted name belongs to; empty for `dropmill` itself."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else ""


def wrong_arrows(text: str, module: str, *, is_package: bool = False) -> list[str]:
    own = package(module)
    wrong = []
    for name, line in imports(ast.parse(text), module, is_package=is_package):
        top = name.split(".")[0]
        other = package(name)
        if top == "dropmill_plugins":
            wrong.append(f"line {line}: the core imports a plugin ({name})")
        elif top == "dropmill" and other in ARROWS and other != own and own and other not in ARROWS[own]:
            wrong.append(f"line {line}: {own} imports {other} ({name})")
        elif top == "pluggy" and own != "plugins" and module != "dropmill.api._hooks":
            wrong.append(f"line {line}: {own} knows pluggy")
    return wrong


def wrong_plugin_imports(text: str, module: str, *, is_package: bool = False) -> list[str]:
    return [
        f"line {line}: {name}"
        for name, line in imports(ast.parse(text), module, is_package=is_package)
        if name.split(".")[0] == "dropmill" and not (f"{name}.").startswith(("dropmill.api.", "dropmill.testing."))
    ]


def task_makers(text: str, module: str = "") -> list[str]:
    if package(module) in ("supervision", "testing"):
        return []
    return [
        f"line {node.lineno}: {name}"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and (name := dotted(node.func).split(".")[-1]) in TASK_MAKERS
    ]


def dotted(node: ast.AST) -> str:
    """`os.path.exists` for the node of it; what is not a plain name counts as `?`."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


class _Blocking(ast.NodeVisitor):
    """Calls that would run on the event loop: in the body of an `async def`, not in functions defined there."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self._on_loop = False

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._within(node, on_loop=True)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._within(node, on_loop=False)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._within(node, on_loop=False)

    def visit_Await(self, node: ast.Await) -> None:
        """What is awaited does not block, its arguments may."""
        if isinstance(node.value, ast.Call):
            for part in (*node.value.args, *node.value.keywords):
                self.visit(part)
            if isinstance(node.value.func, ast.Attribute):
                self.visit(node.value.func.value)
        else:
            self.visit(node.value)

    def visit_Call(self, node: ast.Call) -> None:
        name = dotted(node.func)
        method = name.split(".")[-1] if "." in name else ""
        if self._on_loop and (name in BLOCKING or method in BLOCKING_METHODS):
            self.found.append(f"line {node.lineno}: {name}()")
        self.generic_visit(node)

    def _within(self, node: ast.AST, *, on_loop: bool) -> None:
        before, self._on_loop = self._on_loop, on_loop
        self.generic_visit(node)
        self._on_loop = before


def blocking_calls(text: str, module: str = "") -> list[str]:
    if package(module) in ONE_CALLER:
        return []
    visitor = _Blocking()
    visitor.visit(ast.parse(text))
    return visitor.found


def check(root: Path, rule: Callable[[str, str], list[str]]) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {complaint}"
        for module, path in sources(root)
        for complaint in rule(path.read_text(), module)
    ]
    assert not wrong, "\n" + "\n".join(wrong)


# --- the code ------------------------------------------------------------------------------------------------------------


def test_every_package_has_its_arrows() -> None:
    packages = {module.split(".")[1] for module, _ in sources(CORE) if "." in module}
    assert packages <= set(ARROWS), "a new package needs a line in ARROWS, and in docs/architecture.md"


def test_arrows_have_no_circle() -> None:
    from graphlib import TopologicalSorter

    TopologicalSorter(ARROWS).prepare()


@pytest.mark.parametrize("part", sorted(ARROWS))
def test_imports_follow_the_arrows(part: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {complaint}"
        for module, path in sources(CORE)
        if package(module) == part
        for complaint in wrong_arrows(path.read_text(), module, is_package=path.name == "__init__.py")
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_bundled_plugins_import_what_anybodys_may() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {complaint}"
        for module, path in sources(PLUGINS)
        for complaint in wrong_plugin_imports(path.read_text(), module, is_package=path.name == "__init__.py")
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_contributed_plugins_import_what_anybodys_may() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {complaint}"
        for source in sorted(CONTRIBUTED.glob("*/src"))
        for module, path in sources(source)
        for complaint in wrong_plugin_imports(path.read_text(), module, is_package=path.name == "__init__.py")
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_only_supervision_starts_tasks() -> None:
    check(CORE, task_makers)


def test_nothing_blocks_the_loop() -> None:
    check(CORE, blocking_calls)


def test_nothing_blocks_the_loop_in_a_transport() -> None:
    check(PLUGINS, blocking_calls)


@pytest.mark.parametrize("root", [CORE, PLUGINS], ids=["core", "plugins"])
def test_every_module_says_what_it_is_for_and_is_typed_for_later(root: Path) -> None:
    wrong = []
    for _, path in sources(root):
        tree = ast.parse(path.read_text())
        if tree.body and not ast.get_docstring(tree):
            wrong.append(f"{path.relative_to(ROOT)}: no docstring")
        annotations = any(
            isinstance(node, ast.ImportFrom) and node.module == "__future__" and node.names[0].name == "annotations"
            for node in tree.body
        )
        if not annotations and len(tree.body) > 1:
            wrong.append(f"{path.relative_to(ROOT)}: no `from __future__ import annotations`")
    assert not wrong, "\n" + "\n".join(wrong)


def test_no_module_is_too_long() -> None:
    long = [
        f"{path.relative_to(ROOT)}: {count} lines"
        for root in (CORE, PLUGINS)
        for _, path in sources(root)
        if (count := path.read_text().count("\n")) > LONGEST
    ]
    assert not long, "one concept a file, of about 40 to 400 lines:\n" + "\n".join(long)


# --- the rules themselves can fail ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "module", "complaint"),
    [
        ("import dropmill.queue.store", "dropmill.foundation.x", "line 1: foundation imports queue"),
        ("from dropmill.control import server", "dropmill.intake.scan", "line 1: intake imports control"),
        ("from dropmill import delivery", "dropmill.conversion.pool", "line 1: conversion imports delivery"),
        ("def f():\n    from dropmill.agent import x", "dropmill.control.server", "line 2: control imports agent"),
        ("from ..queue import store", "dropmill.supervision.family", "line 1: supervision imports queue"),
        ("from dropmill_plugins.converters import csv", "dropmill.agent.x", "line 1: the core imports a plugin"),
        ("import pluggy", "dropmill.config.load", "line 1: config knows pluggy"),
    ],
)
def test_a_wrong_arrow_is_found(text: str, module: str, complaint: str) -> None:
    [found] = wrong_arrows(text, module)
    assert found.startswith(complaint)


def test_a_right_arrow_is_none() -> None:
    assert wrong_arrows("from dropmill.foundation.clock import Clock\nimport os", "dropmill.queue.store") == []
    assert wrong_arrows("import pluggy", "dropmill.api._hooks") == []
    assert wrong_arrows("from . import x\nfrom .y import z", "dropmill.queue", is_package=True) == []


def test_a_private_import_of_a_plugin_is_found() -> None:
    assert wrong_plugin_imports("from dropmill.api import hookimpl\nimport dropmill.testing", "p") == []
    assert wrong_plugin_imports("from dropmill.apiary import x", "p") == ["line 1: dropmill.apiary.x"]
    assert wrong_plugin_imports("from dropmill.reports import schema", "p") == ["line 1: dropmill.reports.schema"]
    assert wrong_plugin_imports("import dropmill", "p") == ["line 1: dropmill"]


@pytest.mark.parametrize(
    "text",
    [
        "asyncio.create_task(f())",
        "loop.create_task(f())",
        "asyncio.ensure_future(f())",
        "await asyncio.gather(f(), g())",
        "async with asyncio.TaskGroup() as group: pass",
        "asyncio.get_running_loop().create_task(f())",
    ],
)
def test_a_bare_task_is_found(text: str) -> None:
    text = f"async def x():\n    {text}"
    assert len(task_makers(text, "dropmill.queue.x")) == 1
    assert task_makers(text, "dropmill.supervision.crew") == []


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("open('x')", ["line 2: open()"]),
        ("time.sleep(1)", ["line 2: time.sleep()"]),
        ("path.read_text()", ["line 2: path.read_text()"]),
        ("Path('x').exists()", ["line 2: ?.exists()"]),
        ("await asyncio.to_thread(os.stat, 'x')", []),
        ("await store.open()", []),
        ("await f(os.stat('x'))", ["line 2: os.stat()"]),
        ("await file.unlink()", []),
        ("await (path.exists() and f())", ["line 2: path.exists()"]),
        ("run(lambda: os.stat('x'))", []),
        ("def g(): os.stat('x')", []),
    ],
)
def test_a_blocking_call_is_found(body: str, found: list[str]) -> None:
    assert blocking_calls(f"async def x():\n    {body}") == found
    assert blocking_calls(f"def x():\n    {body}") == [] or "await" in body
