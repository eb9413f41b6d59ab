"""Foreign mail servers that receive: Exim, Haraka, aiosmtpd, each with or without TLS.

Each accepts the mailboxes KNOWN of DOMAIN, refuses all others with 550 at RCPT, and stores the
accepted mail. Exim changes to its own user, so it needs root; its files are outside the test's
folder, which other users may not enter. receiving_postfix.py and receiving_opensmtpd.py have two
more.
"""

from __future__ import annotations

import os
import shutil
import smtplib
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from aiosmtpd.controller import Controller
from msgspec import Struct

from local.parts import ports
from tests.support.certificates import self_signed
from tests.support.smtp_peers import wait_until
from tools import foreign_programs, run_tests

DOMAIN: Final = "d.example"
KNOWN: Final = ("first", "second", "third", "large")
NOBODY: Final = 65_534
_STOP_S: Final = 30


class Peer(Struct, frozen=True):
    """A running server; `body_of` returns the body stored for a mailbox, with LF line ends."""

    address: str
    body_of: Callable[[str], bytes | None]

    def takes_tls(self) -> bool:
        """Return True if Python's own SMTP client can begin TLS with the server."""
        host, _, port = self.address.rpartition(":")
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            with smtplib.SMTP(host, int(port)) as client:
                return client.starttls(context=context)[0] == 220
        except (OSError, smtplib.SMTPException):
            return False


class Place(Struct, frozen=True):
    """Where a server runs: its port, folder, certificate and key ("" without TLS)."""

    port: int
    folder: Path
    certificate: str = ""
    key: str = ""


@contextmanager
def place(*, with_tls: bool) -> Iterator[Place]:
    """Yield a folder that every user may enter, and a free port."""
    with tempfile.TemporaryDirectory(prefix="sluice-peer-") as made:
        folder = Path(made)
        folder.chmod(0o755)
        port = ports.free_ports(1)[0]
        if not with_tls:
            yield Place(port, folder)
            return
        certificate, key = self_signed(folder)
        key.chmod(0o644)
        yield Place(port, folder, str(certificate), str(key))


def body(content: bytes) -> bytes:
    """Return the body of a message, with LF only."""
    return content.replace(b"\r\n", b"\n").partition(b"\n\n")[2]


def found_in(files: list[Path]) -> bytes | None:
    return body(files[0].read_bytes()) if files else None


def _is_open(port: int, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, f"the server ended with {process.returncode}"
    return not ports.is_free(port)


@contextmanager
def serving(command: list[str], at: Place, **environment: str) -> Iterator[None]:
    with (at.folder / "out.log").open("wb") as out:
        process = subprocess.Popen(
            command,
            cwd=at.folder,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(lambda: _is_open(at.port, process), "the server listens")
        yield
    finally:
        process.terminate()
        process.wait(_STOP_S)


# -- aiosmtpd


class _Keeping:
    def __init__(self) -> None:
        self.bodies: dict[str, bytes] = {}

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        if address.partition("@")[0] not in KNOWN:
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.bodies[envelope.rcpt_tos[0].partition("@")[0]] = body(envelope.content)
        return "250 2.0.0 ok"


@contextmanager
def aiosmtpd(at: Place) -> Iterator[Peer]:
    """Yield an aiosmtpd in a thread."""
    keeping, context = _Keeping(), None
    if at.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(at.certificate, at.key)
    controller = Controller(keeping, hostname="127.0.0.1", port=at.port, tls_context=context)
    controller.start()
    try:
        yield Peer(f"127.0.0.1:{at.port}", keeping.bodies.get)
    finally:
        controller.stop()


# -- Haraka

_HARAKA_PLUGIN: Final = """\
const fs = require('node:fs')
const known = %s
exports.hook_rcpt = (next, connection, [recipient]) =>
  known.includes(recipient.user) ? next(OK) : next(DENY, 'no such user')
exports.hook_queue = (next, connection) => {
  const { message_stream, rcpt_to } = connection.transaction
  message_stream.get_data((data) => {
    fs.writeFile(`kept/${rcpt_to[0].user}`, data, (error) => next(error ? DENYSOFT : OK))
  })
}
"""


@contextmanager
def haraka(at: Place) -> Iterator[Peer]:
    """Yield a Haraka with one plug-in of ours."""
    package = foreign_programs.fetch_modules(run_tests.HARAKA) / "Haraka"
    for name in ("config", "plugins", "kept"):
        (at.folder / name).mkdir()
    config = at.folder / "config"
    # Haraka does not start without the file's sections.
    shutil.copy(package / "config" / "connection.ini", config)
    (config / "smtp.ini").write_text(f"listen=127.0.0.1:{at.port}\nnodes=0\n")
    (config / "me").write_text("haraka.example\n")
    (config / "plugins").write_text("tls\nkeep\n" if at.certificate else "keep\n")
    if at.certificate:
        shutil.copy(at.certificate, config / "tls_cert.pem")
        shutil.copy(at.key, config / "tls_key.pem")
    (at.folder / "plugins" / "keep.js").write_text(_HARAKA_PLUGIN % list(KNOWN))
    command = [foreign_programs.find_node(), str(package / "bin" / "haraka"), "-c", str(at.folder)]
    with serving(command, at):
        yield Peer(
            f"127.0.0.1:{at.port}", lambda name: found_in(list((at.folder / "kept").glob(name)))
        )


# -- Exim

EXIM: Final = """\
primary_hostname = exim.example
exim_user = {user}
exim_group = {user}
spool_directory = {folder}/spool
log_file_path = {folder}/spool/%slog
pid_file_path = {folder}/spool/pid
host_lookup =
rfc1413_query_timeout = 0s
"""
_EXIM: Final = (
    EXIM
    + """\
queue_only = true
tls_advertise_hosts = {tls_hosts}
tls_certificate = {certificate}
tls_privatekey = {key}
acl_smtp_rcpt = rcpt
acl_smtp_data = accept
begin acl
rcpt:
  accept local_parts = {known}
  deny message = 5.1.1 no such user
"""
)


@contextmanager
def exim(at: Place) -> Iterator[Peer]:
    """Yield an Exim that leaves what it accepts in its queue."""
    unpacked = foreign_programs.fetch_packages(foreign_programs.EXIM)
    spool = at.folder / "spool"
    spool.mkdir()
    os.chown(spool, NOBODY, NOBODY)
    config = at.folder / "exim.conf"
    config.write_text(
        _EXIM.format(
            user=NOBODY,
            folder=at.folder,
            tls_hosts="*" if at.certificate else "",
            certificate=at.certificate,
            key=at.key,
            known=" : ".join(KNOWN),
        )
    )
    names = names_with("Debian-exim", at.folder)
    wrapper = next(unpacked.glob("usr/lib/*/libnss_wrapper.so"))
    command = [str(unpacked / "usr" / "sbin" / "exim4"), "-C", str(config), "-bdf"]
    with serving([*command, "-oX", f"127.0.0.1.{at.port}"], at, LD_PRELOAD=str(wrapper), **names):

        def body_of(name: str) -> bytes | None:
            for header in spool.glob("input/*-H"):
                if f"\n{name}@{DOMAIN}\n" in header.read_text("utf-8", "replace"):
                    data = header.with_name(header.name.replace("-H", "-D")).read_bytes()
                    return data.partition(b"\n")[2]  # the first line is the id
            return None

        yield Peer(f"127.0.0.1:{at.port}", body_of)


def names_with(user: str, folder: Path) -> dict[str, str]:
    """Return the environment in which the system has one additional user."""
    users, groups = folder / "passwd", folder / "group"
    known = Path("/etc/passwd").read_text()
    users.write_text(f"{known}{user}:x:{NOBODY}:{NOBODY}::/:/bin/false\n")
    groups.write_text(f"{Path('/etc/group').read_text()}{user}:x:{NOBODY}:\n")
    return {"NSS_WRAPPER_PASSWD": str(users), "NSS_WRAPPER_GROUP": str(groups)}
