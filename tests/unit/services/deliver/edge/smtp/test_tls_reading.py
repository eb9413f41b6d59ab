"""Data and errors of one read over TLS."""

from __future__ import annotations

import ssl
from contextlib import suppress
from pathlib import Path

import pytest

from services.deliver.edge.smtp.tls import OPPORTUNISTIC
from tests.support.certificates import self_signed

ALERT = b"\x15\x03\x03\x00\x02\x02\x14"


class Pair:
    """A client and a server after their handshake, without sockets."""

    def __init__(self, folder: Path) -> None:
        certificate, key = self_signed(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        assert OPPORTUNISTIC.context is not None
        self.to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = OPPORTUNISTIC.context.wrap_bio(self.to_client, to_server)
        self.server = context.wrap_bio(to_server, self.to_client, server_side=True)
        for side in (self.client, self.server, self.client):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
        self.server.do_handshake()

    def read(self) -> bytes | type[Exception]:
        try:
            return self.client.read(65_536)
        except ssl.SSLError as error:
            return type(error)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


def test_what_came_before_a_broken_record_is_read_first(pair: Pair) -> None:
    pair.server.write(b"250 taken\r\n")
    pair.to_client.write(ALERT)
    assert [pair.read() for _ in range(4)] == [
        b"250 taken\r\n",
        ssl.SSLWantReadError,
        ssl.SSLError,
        ssl.SSLError,
    ]


def test_nothing_is_read_behind_a_broken_record(pair: Pair) -> None:
    pair.server.write(b"250 taken\r\n")
    pair.to_client.write(ALERT)
    pair.server.write(b"550 no\r\n")
    assert pair.read() == b"250 taken\r\n"
    assert pair.read() is ssl.SSLWantReadError
    assert pair.read() is ssl.SSLError


def test_a_broken_record_alone_is_an_error_at_once(pair: Pair) -> None:
    assert pair.read() is ssl.SSLWantReadError
    pair.to_client.write(ALERT)
    assert pair.read() is ssl.SSLError


def test_data_that_comes_in_pieces_is_read_in_pieces(pair: Pair) -> None:
    pair.server.write(b"250-a\r\n")
    pair.server.write(b"250 b\r\n")
    assert [pair.read() for _ in range(3)] == [b"250-a\r\n", b"250 b\r\n", ssl.SSLWantReadError]
    pair.server.write(b"221 bye\r\n")
    assert pair.read() == b"221 bye\r\n"
