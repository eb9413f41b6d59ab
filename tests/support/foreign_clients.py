"""Foreign clients that submit one message each, with the examples of docs/examples/smtp."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from cli.stack import paths
from tests.support.front_door import NAME, PASSWORD, SENDER, Door
from tests.support.patience import PATIENCE_S
from tools import foreign_programs
from tools.run_tests import NODE_PACKAGES

EXAMPLES: Final = paths.ROOT / "docs" / "examples" / "smtp"
# The only name in the certificate of the front door.
HOST: Final = "localhost"


class Delivery(Struct, frozen=True):
    """One message to submit: the front door, the file, its recipient, a folder for the client."""

    door: Door
    path: Path
    recipient: str
    folder: Path


class Answer(Struct, frozen=True):
    """The exit code of a client, and its output."""

    code: int
    text: str


Client = Callable[[Delivery], Answer]


def run(parcel: Delivery, *command: str | Path, given: bytes = b"") -> Answer:
    """Run a client with the front door's certificate and the password in its environment."""
    certificate = str(parcel.door.certificate)
    environ = {
        **os.environ,
        "SLUICE_PASSWORD": PASSWORD,
        "SWAKS_OPT_auth_password": PASSWORD,
        "SSL_CERT_FILE": certificate,  # OpenSSL: Python, swaks
        "CURL_CA_BUNDLE": certificate,
        "NODE_EXTRA_CA_CERTS": certificate,
        "NODE_PATH": str(foreign_programs.fetch_modules(NODE_PACKAGES)),
    }
    done = subprocess.run(
        command, input=given, capture_output=True, env=environ, timeout=PATIENCE_S, check=False
    )
    return Answer(done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace"))


def port_of(door: Door, tls: str) -> str:
    """Return the port for `tls` (implicit) or `starttls`."""
    return str(door.tls_port if tls == "tls" else door.port)


def smtplib_example(tls: str) -> Client:
    """Return a client that runs Python's smtplib."""
    script = EXAMPLES / "submit_smtplib.py"

    def client(parcel: Delivery) -> Answer:
        where = (HOST, port_of(parcel.door, tls), tls)
        return run(parcel, sys.executable, script, *where, NAME, parcel.recipient, parcel.path)

    return client


def nodemailer_example(tls: str) -> Client:
    """Return a client that runs Node's nodemailer with a pool."""

    def client(parcel: Delivery) -> Answer:
        return nodemailer(parcel, tls, [(parcel.recipient, parcel.path)])

    return client


def nodemailer(parcel: Delivery, tls: str, mails: Sequence[tuple[str, Path]]) -> Answer:
    """Submit several messages over one pool."""
    script = EXAMPLES / "submit_nodemailer.js"
    where = (HOST, port_of(parcel.door, tls), tls)
    pairs = [word for mail in mails for word in mail]
    return run(parcel, foreign_programs.find_node(), script, *where, NAME, SENDER, *pairs)


def curl_example(tls: str, mechanism: str) -> Client:
    """Return a client that runs curl, which also sends AUTH= with MAIL (--mail-auth)."""

    def client(parcel: Delivery) -> Answer:
        netrc = parcel.folder / "netrc"
        netrc.write_text(f"machine {HOST} login {NAME} password {PASSWORD}\n")
        scheme = "smtps" if tls == "tls" else "smtp"
        url = f"{scheme}://{HOST}:{port_of(parcel.door, tls)}"
        words = (url, netrc, SENDER, parcel.recipient, parcel.path)
        options = ("--login-options", f"AUTH={mechanism}", "--mail-auth", SENDER)
        return run(parcel, "sh", EXAMPLES / "submit_curl.sh", *words, *options)

    return client


def swaks_example(tls: str, mechanism: str) -> Client:
    """Return a client that runs swaks, which adds a line end at the end of a message."""
    option = "--tls-on-connect" if tls == "tls" else "--tls"

    def client(parcel: Delivery) -> Answer:
        path = parcel.folder / "without-last-line-end.eml"
        path.write_bytes(parcel.path.read_bytes().removesuffix(b"\r\n"))
        server = f"{HOST}:{port_of(parcel.door, tls)}"
        words = (server, NAME, SENDER, parcel.recipient, path)
        script = EXAMPLES / "submit_swaks.sh"
        return run(parcel, "sh", script, *words, option, "--auth", mechanism)

    return client


def msmtp_example(tls: str, mechanism: str) -> Client:
    """Return a client that runs msmtp, a sendmail replacement."""

    def client(parcel: Delivery) -> Answer:
        password = parcel.folder / "password"
        password.write_text(PASSWORD)
        changes = {
            "/etc/ssl/certs/ca-certificates.crt": str(parcel.door.certificate),
            "smtp.sluice.example": HOST,
            "587": port_of(parcel.door, tls),
            "tls_starttls    on": f"tls_starttls    {'off' if tls == 'tls' else 'on'}",
            "scram-sha-256": mechanism,
            "acme": NAME,
            "/etc/sluice-password": str(password),
            "hello@news.example.com": SENDER,
        }
        config = parcel.folder / "msmtprc"
        config.write_text(adapted("msmtprc", changes))
        config.chmod(0o600)
        command = ("msmtp", "-C", config, "--logfile=-", parcel.recipient)
        return run(parcel, *command, given=parcel.path.read_bytes())

    return client


def adapted(example: str, changes: dict[str, str]) -> str:
    """Return the text of an example with the test's front door instead of the documented one."""
    text = (EXAMPLES / example).read_text("utf-8")
    for before, after in changes.items():
        assert before in text, f"{example} no longer holds {before!r}"
        text = text.replace(before, after)
    return text


CLIENTS: Final[dict[str, Client]] = {
    "smtplib-starttls": smtplib_example("starttls"),
    "smtplib-tls": smtplib_example("tls"),
    "nodemailer-starttls": nodemailer_example("starttls"),
    "nodemailer-tls": nodemailer_example("tls"),
    "curl-starttls-plain": curl_example("starttls", "PLAIN"),
    "curl-tls-login": curl_example("tls", "LOGIN"),
    "swaks-starttls-plain": swaks_example("starttls", "PLAIN"),
    "swaks-starttls-login": swaks_example("starttls", "LOGIN"),
    "swaks-tls-plain": swaks_example("tls", "PLAIN"),
    "swaks-tls-login": swaks_example("tls", "LOGIN"),
    "msmtp-starttls-scram": msmtp_example("starttls", "scram-sha-256"),
    "msmtp-tls-plain": msmtp_example("tls", "plain"),
}
