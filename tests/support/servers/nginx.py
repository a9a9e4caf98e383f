"""A real nginx on a private port with its own folder: takes PUTs as files (DAV), answers what it is told, hangs when asked to."""

from __future__ import annotations

import getpass
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from support.servers.certificates import Certificate

PROGRAM = "/usr/sbin/nginx"

_CONFIG = """
{user}
daemon off;
master_process on;
worker_processes 1;
pid {home}/nginx.pid;
error_log {home}/error.log notice;
events {{ worker_connections 512; }}
http {{
    log_format tests '$request_method $uri $status $http_idempotency_key $connection';
    access_log {access};
    client_body_temp_path {home}/tmp/body;
    proxy_temp_path {home}/tmp/proxy;
    fastcgi_temp_path {home}/tmp/fastcgi;
    uwsgi_temp_path {home}/tmp/uwsgi;
    scgi_temp_path {home}/tmp/scgi;
    client_max_body_size {max_body};
    client_body_buffer_size 64k;
    keepalive_requests 1000000;
    default_type application/octet-stream;
    server {{
        listen 127.0.0.1:{port}{ssl};
        {tls}
        root {root};
        include {home}/answer.conf;
        location / {{
            dav_methods PUT DELETE;
            create_full_put_path on;
            dav_access user:rw group:r all:r;
        }}
        {extra}
    }}
}}
"""


class Nginx:
    """`with Nginx(folder) as nginx: PUT {nginx.url}/name`; the files are below `nginx.root`."""

    def __init__(
        self,
        home: Path,
        *,
        certificate: Certificate | None = None,
        clients: Path | None = None,
        max_body: str = "64m",
        extra: str = "",
        log: bool = True,
    ) -> None:
        """
        Args:
            clients: PEM of the authority whose clients alone are let in.
            extra: More of the server block, e.g. locations.
            log: Keep an access log, for `requests`.
        """
        self.home = home
        self.root = home / "root"
        self._certificate = certificate
        self._clients = clients
        self._max_body = max_body
        self._extra = extra
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"{'https' if self._certificate else 'http'}://127.0.0.1:{self.port}"

    @property
    def pids(self) -> list[int]:
        """The master's and its workers'."""
        assert self._process is not None
        master = self._process.pid
        children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        return [master, *map(int, children)]

    def files(self) -> dict[str, bytes]:
        """What was uploaded, by path relative to the root."""
        return {str(path.relative_to(self.root)): path.read_bytes() for path in self.root.rglob("*") if path.is_file()}

    def requests(self) -> list[tuple[str, str, int, str, int]]:
        """The access log: method, path, status, idempotency key, connection."""
        lines = (self.home / "access.log").read_text().splitlines()
        rows = (line.rsplit(" ", 3) for line in lines)
        return [(*row[0].split(" ", 1), int(row[1]), row[2], int(row[3])) for row in rows]

    def start(self) -> None:
        for folder in (self.root, self.home / "tmp"):
            folder.mkdir(parents=True, exist_ok=True)
        (self.home / "answer.conf").write_text("")
        for _ in range(5):
            self.port = self.port or _free_port()
            (self.home / "nginx.conf").write_text(self._config())
            with (self.home / "output.log").open("ab") as output:
                self._process = subprocess.Popen(
                    [
                        PROGRAM,
                        "-p",
                        str(self.home),
                        "-e",
                        str(self.home / "error.log"),
                        "-c",
                        str(self.home / "nginx.conf"),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            if self._listening():
                return
            self.port = 0
        raise AssertionError((self.home / "error.log").read_text() + (self.home / "output.log").read_text())

    def stop(self) -> None:
        """End it at once; connections break."""
        if self._process is not None:
            self.go_on()
            for pid in self.pids:
                _signal(pid, signal.SIGKILL)
            self._process.wait(10)
            self._process = None

    def hang(self) -> None:
        """Connections are still accepted (by the kernel), and nothing is answered."""
        for pid in self.pids:
            os.kill(pid, signal.SIGSTOP)

    def go_on(self) -> None:
        for pid in self.pids:
            _signal(pid, signal.SIGCONT)

    def answer(self, status: int | None) -> None:
        """Answer every request with this status from now on; None: serve them again."""
        assert self._process is not None
        (self.home / "answer.conf").write_text("" if status is None else f"return {status};\n")
        before = set(self.pids)
        self._process.send_signal(signal.SIGHUP)
        self._wait(lambda: not before - {self._process.pid} & set(self.pids), "the old workers to end")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _config(self) -> str:
        tls = ""
        if self._certificate is not None:
            tls = f"ssl_certificate {self._certificate.certificate}; ssl_certificate_key {self._certificate.key};"
            if self._clients is not None:
                tls += f" ssl_client_certificate {self._clients}; ssl_verify_client on;"
        return _CONFIG.format(
            user=f"user {getpass.getuser()};" if os.geteuid() == 0 else "",
            home=self.home,
            access=f"{self.home}/access.log tests" if self._log else "off",
            max_body=self._max_body,
            port=self.port,
            ssl=" ssl" if self._certificate else "",
            tls=tls,
            root=self.root,
            extra=self._extra,
        )

    def _listening(self) -> bool:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                return False
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return True
            except OSError:
                time.sleep(0.01)
        return False

    def _wait(self, condition, what: str) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline, f"waited for {what}"
            time.sleep(0.01)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
