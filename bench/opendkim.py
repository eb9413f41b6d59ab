"""Runs OpenDKIM as a milter of Postfix for the benchmark `bench deliver`, and writes keys."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bench.smtp_sink import PeerError, free_port

RSA_BITS: Final = 2048
DOMAIN: Final = "bench.example.com"
_START_TIMEOUT_S: Final = 10.0
_CONFIG: Final = """\
Mode s
Canonicalization relaxed/relaxed
Domain {domain}
Selector sluice
KeyFile {key}
RequireSafeKeys false
Socket inet:{port}@127.0.0.1
InternalHosts 127.0.0.1
Syslog no
"""


def write_key(path: Path) -> Path:
    """Write a new RSA key as PEM, readable only by its owner, and return the path."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


def is_there() -> bool:
    """Return True if OpenDKIM is installed."""
    return shutil.which("opendkim") is not None


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """Run OpenDKIM with a new RSA-2048 key, and yield the milter's address for Postfix."""
    program = shutil.which("opendkim")
    if program is None:
        raise PeerError("opendkim is missing: apt-get install --no-install-recommends opendkim")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config = folder / "opendkim.conf"
    key = write_key(folder / "key.pem")
    config.write_text(_CONFIG.format(domain=DOMAIN, key=key, port=port))
    with (folder / "opendkim.log").open("wb") as log:
        process = subprocess.Popen([program, "-f", "-x", str(config)], stdout=log, stderr=log)
    try:
        _wait_listening(process, port)
        yield f"inet:127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _wait_listening(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < until and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        time.sleep(0.05)
    raise PeerError("opendkim does not listen")
