"""SMTP servers with STARTTLS for tests, and one connection to them under a policy."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Sink

from bench import smtp_sink
from services.deliver.core.attempt.results import ConnectFault
from services.deliver.core.routing.candidates import Candidate
from services.deliver.core.routing.sites import Host
from services.deliver.core.tls.policy import HostTls
from services.deliver.edge.smtp.connection import SmtpConnection, Timeouts
from services.deliver.edge.smtp.opening import Opener
from services.deliver.edge.smtp.tls import TlsContexts
from shared.runtime.failpoints import Failpoints
from tests.support.pool_talk import run

TIMEOUTS = Timeouts(connect_s=60.0, greeting_s=60.0, command_s=60.0, data_s=60.0)


@contextmanager
def tls_server(certificate: Path | None) -> Iterator[int]:
    """Run a server with this certificate (with its key in the same folder), or without TLS; yield
    its port."""
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    port = smtp_sink.free_port()
    controller = Controller(Sink(), hostname="127.0.0.1", port=port, tls_context=context)
    controller.start()
    try:
        yield port
    finally:
        controller.stop()


def connect(
    port: int, tls: HostTls, *, ca_file: Path | None = None, name: str = "mx.d.example"
) -> SmtpConnection | ConnectFault:
    """Open one connection to a server under this name; it is closed again."""

    async def test() -> SmtpConnection | ConnectFault:
        contexts = TlsContexts(str(ca_file) if ca_file is not None else "")
        opener = Opener("client.example.com", TIMEOUTS, Failpoints.none(), contexts)
        candidate = Candidate(Host(name, port), "127.0.0.1")
        connected = await opener.connect([candidate], 60.0)
        assert connected.sock is not None
        opened = await opener.open(candidate, connected.sock, tls)
        if isinstance(opened, SmtpConnection):
            opened.close()
        return opened

    return run(test())
