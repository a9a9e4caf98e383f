"""A certificate authority for tests, made with openssl(1): server and client certificates that real TLS libraries accept."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificate:
    certificate: Path
    key: Path

    def server_context(self, *, clients: Path | None = None) -> ssl.SSLContext:
        """For a server; with `clients`, only clients with a certificate of that authority are let in."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        if clients is not None:
            context.load_verify_locations(clients)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


class Authority:
    """Signs certificates; `self.certificate` is what to trust."""

    def __init__(self, folder: Path, name: str = "test authority") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._made = 0
        self.certificate = folder / "authority.pem"
        self._key = folder / "authority.key"
        _openssl(
            *("req", "-x509", "-nodes", "-days", "30", "-subj", f"/CN={name}"),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
            *("-keyout", self._key, "-out", self.certificate),
        )

    def issue(self, name: str, *names: str, password: str | None = None) -> Certificate:
        """A certificate for a server or client: `names` are its alternative names (`DNS:localhost`, `IP:127.0.0.1`)."""
        self._made += 1
        made = Certificate(self._folder / f"{self._made}.pem", self._folder / f"{self._made}.key")
        _openssl(
            *("req", "-x509", "-days", "30", "-subj", f"/CN={name}", "-CA", self.certificate, "-CAkey", self._key),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *(("-passout", f"pass:{password}") if password else ("-nodes",)),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
            *(("-addext", f"subjectAltName={','.join(names)}") if names else ()),
            *("-keyout", made.key, "-out", made.certificate),
        )
        return made


def _openssl(*arguments: str | Path) -> None:
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
