"""Simple peers of a front door: sockets that send any bytes, and the door's metrics."""

from __future__ import annotations

import smtplib
import socket
import ssl

from tests.support.front_door import PASSWORD, Door, trusting
from tests.support.metrics import values_of
from tests.support.patience import PATIENCE_S


class Peer:
    """A TCP connection to the front door from one address of the loopback network."""

    def __init__(self, port: int, source: str, before: bytes = b"") -> None:
        """`before` is sent as soon as the connection is open."""
        self.sock: socket.socket = socket.create_connection(
            ("127.0.0.1", port), PATIENCE_S, source_address=(source, 0)
        )
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.sendall(before)
        self._read = b""

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def line(self) -> str:
        """Return the next line; "" if the connection ends."""
        while b"\n" not in self._read:
            try:
                data = self.sock.recv(4_096)
            except (ConnectionError, ssl.SSLError):
                data = b""
            if not data:
                return self._read.decode()
            self._read += data
        line, _, self._read = self._read.partition(b"\n")
        return line.decode()

    def reply(self) -> str:
        """Return the last line of the next reply."""
        while (line := self.line())[3:4] == "-":
            pass
        return line

    def ask(self, command: str) -> str:
        self.sock.sendall(command.encode() + b"\r\n")
        return self.reply()

    def secure(self) -> None:
        """Perform the TLS handshake."""
        self.sock = trusting().wrap_socket(self.sock)


def secured(port: int, source: str, is_implicit: bool = False) -> smtplib.SMTP:
    """Return an smtplib client in TLS, from one address of the loopback network."""
    if is_implicit:
        smtp: smtplib.SMTP = smtplib.SMTP_SSL(
            "127.0.0.1",
            port,
            timeout=PATIENCE_S,
            context=trusting(),
            source_address=(source, 0),
        )
    else:
        smtp = smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE_S, source_address=(source, 0))
        smtp.starttls(context=trusting())
    smtp.ehlo()
    return smtp


def login(smtp: smtplib.SMTP, name: str) -> tuple[int, str]:
    """Return the front door's reply to a login with PASSWORD."""
    smtp.user, smtp.password = name, PASSWORD
    try:
        code, text = smtp.auth("PLAIN", smtp.auth_plain)
    except smtplib.SMTPResponseException as refused:
        error = refused.smtp_error
        return refused.smtp_code, error.decode() if isinstance(error, bytes) else error
    return code, text.decode()


def number(door: Door, name: str) -> float:
    """Return the sum of a metric's values."""
    return sum(values_of(f"http://127.0.0.1:{door.http_port}/metrics", name))


def open_connections(door: Door) -> float:
    return number(door, "sluice_ingest_door_connections")
