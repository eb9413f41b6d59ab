"""An OpenSMTPD that receives, like the servers of receiving_peers.py.

Its paths are fixed and it changes to its own users, so it runs in a root folder (chroot) that
holds its files and the libraries that it needs.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.support.receiving_peers import DOMAIN, KNOWN, Peer, Place, body, serving
from tools import foreign_programs

# Accepted mail stays in the queue, because nothing listens at the address of its next server.
_CONFIG: Final = """\
{pki}
listen on 127.0.0.1 port {port} hostname opensmtpd.example {tls}
action "keep" relay host "smtp://127.0.0.1:9"
match from any for rcpt-to {{ {known} }} action "keep"
"""
_PKI: Final = 'pki peer cert "/etc/peer.crt"\npki peer key "/etc/peer.key"'
_USERS: Final = ("opensmtpd", "opensmtpq")
_FIRST_ID: Final = 64_001
_FOLDERS: Final = ("dev", "etc", "var/lib/opensmtpd/empty", "var/run", "var/spool/smtpd")


@contextmanager
def opensmtpd(at: Place) -> Iterator[Peer]:
    """Yield an OpenSMTPD that leaves what it accepts in its queue."""
    root = at.folder / "root"
    _fill(root, foreign_programs.fetch_packages(foreign_programs.OPENSMTPD))
    _configure(root, at)
    command = ["chroot", str(root), "/usr/sbin/smtpd", "-d", "-f", "/etc/smtpd.conf"]
    with serving(command, at):

        def body_of(name: str) -> bytes | None:
            for kept in (root / "var/spool/smtpd/queue").glob("*/*/message"):
                envelopes = [each for each in kept.parent.iterdir() if each != kept]
                if any(f"\nrcpt: {name}@{DOMAIN}\n" in each.read_text() for each in envelopes):
                    return body(kept.read_bytes())
            return None

        yield Peer(f"127.0.0.1:{at.port}", body_of)


def _fill(root: Path, unpacked: Path) -> None:
    program = unpacked / "usr/sbin/smtpd"
    for folder in _FOLDERS:
        (root / folder).mkdir(parents=True)
    shutil.copytree(unpacked / "usr/sbin", root / "usr/sbin")
    for library in _libraries(program, next(unpacked.glob("usr/lib/*-linux-*"), unpacked)):
        copy = root / library.relative_to("/")
        if library.is_relative_to(unpacked):
            copy = root / library.relative_to(unpacked)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, copy)
    (root / "var/spool/smtpd").chmod(0o711)
    for name in ("null", "urandom"):
        os.mknod(root / "dev" / name, 0o020666, Path(f"/dev/{name}").stat().st_rdev)


def _libraries(program: Path, own: Path) -> list[Path]:
    """Return the files of the libraries that a program needs; those in `own` come first."""
    environment = {**os.environ, "LD_LIBRARY_PATH": str(own)}
    said = subprocess.run(
        ["ldd", str(program)], env=environment, capture_output=True, text=True, check=True
    ).stdout
    return [Path(found) for found in re.findall(r"(/\S+) \(0x", said)]


def _configure(root: Path, at: Place) -> None:
    etc = root / "etc"
    for source, name in ((at.certificate, "peer.crt"), (at.key, "peer.key")):
        if source:
            shutil.copy(source, etc / name)
            (etc / name).chmod(0o600)
            os.chown(etc / name, 0, 0)
    users = [(name, _FIRST_ID + number) for number, name in enumerate(_USERS)]
    home = "/var/lib/opensmtpd/empty"
    (etc / "passwd").write_text(
        "root:x:0:0::/:/bin/false\n"
        + "".join(f"{name}:x:{number}:{number}::{home}:/bin/false\n" for name, number in users)
    )
    (etc / "group").write_text("".join(f"{name}:x:{number}:\n" for name, number in users))
    (etc / "hosts").write_text("127.0.0.1 localhost\n")
    known = ", ".join(f'"{name}@{DOMAIN}"' for name in KNOWN)
    tls = "tls pki peer" if at.certificate else ""
    pki = _PKI if at.certificate else ""
    (etc / "smtpd.conf").write_text(_CONFIG.format(pki=pki, port=at.port, tls=tls, known=known))
