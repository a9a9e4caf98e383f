"""What a worker may not do any more, tried in processes of their own, without the rest of a worker."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dropmill.conversion.worker import confine, landlock, seccomp

PROGRAM = """
import ctypes, json, os, resource, socket, sys
from pathlib import Path
from dropmill.conversion.worker.confine import confine
inside = Path(sys.argv[1])
facts = confine(inside, memory=200_000_000, file_size=1_000_000)
def tried(call):
    try:
        call()
    except (OSError, MemoryError) as error:
        return type(error).__name__
    return "done"
outside = inside.parent / "outside"
print(json.dumps({
    "facts": facts,
    "write inside": tried(lambda: (inside / "a").write_text("x")),
    "folder inside": tried(lambda: (inside / "b").mkdir()),
    "rename inside": tried(lambda: (inside / "a").rename(inside / "b" / "a")),
    "write null": tried(lambda: Path("/dev/null").write_text("x")),
    "read outside": tried(lambda: (outside / "file").read_text()),
    "write outside": tried(lambda: (outside / "file").write_text("x")),
    "truncate outside": tried(lambda: os.truncate(outside / "file", 0)),
    "make outside": tried(lambda: (outside / "new").write_text("x")),
    "unlink outside": tried(lambda: (outside / "file").unlink()),
    "rename outside": tried(lambda: (outside / "file").rename(outside / "other")),
    "link into": tried(lambda: os.link(outside / "file", inside / "linked")),
    "folder outside": tried(lambda: (outside / "d").mkdir()),
    "tcp": tried(lambda: socket.socket(socket.AF_INET)),
    "udp": tried(lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)),
    "netlink": tried(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
    "unix": tried(lambda: socket.socket(socket.AF_UNIX)),
    "pair": tried(socket.socketpair),
    "setsid": tried(os.setsid),
    "setpgid": tried(lambda: os.setpgid(0, 0)),
    "kill parent": tried(lambda: os.kill(os.getppid(), 0)),
    "kill self": tried(lambda: os.kill(os.getpid(), 0)),
    "large file": tried(lambda: (inside / "large").write_bytes(b"x" * 2_000_000)),
    "memory": tried(lambda: bytearray(300_000_000)),
    "core": resource.getrlimit(resource.RLIMIT_CORE),
    "files": resource.getrlimit(resource.RLIMIT_NOFILE),
    "raise": tried(lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0))),
    "no_new_privs": ctypes.CDLL(None).prctl(39, 0, 0, 0, 0),
    "subreaper": "PR_GET_CHILD_SUBREAPER",
}))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("confined")
    (root / "inside").mkdir()
    (root / "outside").mkdir()
    (root / "outside" / "file").write_text("content")
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(root / "inside")],
        capture_output=True,
        text=True,
        check=True,
        start_new_session=False,
    )
    answers: dict[str, Any] = json.loads(run.stdout)
    assert (root / "outside" / "file").read_text() == "content"
    return answers


def test_what_is_in_force_is_said(found: dict[str, Any]) -> None:
    assert found["facts"] == {
        "landlock": landlock.version(__import__("ctypes").CDLL(None, use_errno=True)),
        "seccomp": True,
    }


@pytest.mark.parametrize(
    "what", ["write inside", "folder inside", "rename inside", "write null", "read outside", "unix", "pair"]
)
def test_what_it_needs_it_may(found: dict[str, Any], what: str) -> None:
    assert found[what] == "done"


@pytest.mark.parametrize(
    "what",
    [
        "write outside", "truncate outside", "make outside", "unlink outside", "rename outside", "folder outside",
        "tcp", "udp", "netlink", "setsid", "setpgid",
    ],
)  # fmt: skip
def test_what_it_may_not(found: dict[str, Any], what: str) -> None:
    assert found[what] == "PermissionError"


def test_a_file_outside_is_not_linked_in(found: dict[str, Any]) -> None:
    assert found["link into"] in ("PermissionError", "OSError")


def test_signals_stay_inside_where_the_kernel_can_hold_them(found: dict[str, Any]) -> None:
    assert found["kill self"] == "done"
    if found["facts"]["landlock"] >= 6:
        assert found["kill parent"] == "PermissionError"


def test_limits(found: dict[str, Any]) -> None:
    assert found["large file"] == "OSError"
    assert found["memory"] == "MemoryError"
    assert found["core"] == [0, 0]
    assert found["files"] == [512, 512]
    assert found["no_new_privs"] == 1


# --- kernels that lack something ------------------------------------------------------------------------------------------


class Kernel:
    """A libc whose system calls answer what a test says."""

    def __init__(self, *answers: int) -> None:
        self._answers = list(answers)
        self.calls: list[tuple[Any, ...]] = []

    def syscall(self, *arguments: Any) -> int:
        self.calls.append(arguments)
        return self._answers.pop(0)

    prctl = syscall


def test_a_kernel_without_landlock(tmp_path: Path) -> None:
    assert landlock.version(Kernel(-1)) == 0  # type: ignore[arg-type]
    assert landlock.restrict(Kernel(-1), tmp_path) == 0  # type: ignore[arg-type]


@pytest.mark.parametrize(("abi", "size"), [(1, 8), (3, 8), (4, 16), (6, 24), (7, 24)])
def test_a_kernel_is_asked_for_what_it_knows(tmp_path: Path, abi: int, size: int) -> None:
    import os

    ruleset = os.open("/dev/null", os.O_RDONLY)
    kernel = Kernel(abi, ruleset, 0, 0, 0)
    assert landlock.restrict(kernel, tmp_path) == abi  # type: ignore[arg-type]
    assert kernel.calls[1][2] == size
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(ruleset)


def test_a_kernel_that_refuses_landlock(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="landlock"):
        landlock.restrict(Kernel(3, -1), tmp_path)  # type: ignore[arg-type]


def test_seccomp_on_a_machine_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "s390x")
    assert seccomp.restrict(Kernel()) is False  # type: ignore[arg-type]


def test_a_kernel_that_refuses_seccomp(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match="seccomp"):
        seccomp.restrict(Kernel(-1))  # type: ignore[arg-type]


def test_refusals_are_said_and_do_not_stop_the_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise OSError(1, "not here")

    monkeypatch.setattr(landlock, "restrict", refuse)
    monkeypatch.setattr(seccomp, "restrict", refuse)
    monkeypatch.setattr(confine.resource, "setrlimit", lambda kind, limits: None)
    monkeypatch.setattr(confine.ctypes, "CDLL", lambda *_, **__: Kernel(0, 0, 0))
    facts = confine.confine(tmp_path, memory=10**9, file_size=10**9)
    assert facts == {"landlock": 0, "seccomp": False, "refused": "[Errno 1] not here; [Errno 1] not here"}


def test_a_worker_whose_agent_is_gone_already_exits_at_once() -> None:
    code = (
        "from dropmill.conversion.worker.confine import die_with_parent; die_with_parent(1_000_000_000); print('alive')"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == ""
