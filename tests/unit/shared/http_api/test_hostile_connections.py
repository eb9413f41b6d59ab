"""Peers of the HTTP API that say nothing, or try keys."""

from __future__ import annotations

import http.client
import socket

import pytest
from litestar.testing import TestClient

from shared.http_api import server
from shared.http_api.keyed import DENIED_PER_MINUTE, AccessPolicy, KeyedApi
from tests.support.access import FakeKeys
from tests.support.patience import PATIENCE_S


def test_a_right_key_passes_from_an_address_from_which_others_try_keys() -> None:
    keys = FakeKeys()
    with TestClient(KeyedApi([], AccessPolicy(keys, keys.clock), openapi_config=None)) as door:
        codes = [door.get("/x").status_code for _ in range(DENIED_PER_MINUTE + 1)]
        assert codes == [401] * DENIED_PER_MINUTE + [429]
        assert door.get("/x", headers=keys.make()).status_code == 404
    assert len(keys.denied) == DENIED_PER_MINUTE


def test_a_connection_without_a_request_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "REQUEST_S", 0.3)
    keys = FakeKeys()
    app = KeyedApi([], AccessPolicy(keys, keys.clock), openapi_config=None)
    api = server.ApiServer(app, "127.0.0.1", 0, "x")
    silent, slow = (socket.create_connection(("127.0.0.1", api.port)) for _ in range(2))
    slow.sendall(b"GET / HTTP/1.1\r\nHo")
    for each in (silent, slow):
        each.settimeout(PATIENCE_S)
        assert each.recv(100) == b""
    monkeypatch.setattr(server, "REQUEST_S", 120.0)
    asked = http.client.HTTPConnection("127.0.0.1", api.port)
    asked.request("GET", "/x")
    assert asked.getresponse().status == 401
    api.close()


def test_a_request_with_two_lengths_is_refused_and_its_connection_ends() -> None:
    keys = FakeKeys()
    app = KeyedApi([], AccessPolicy(keys, keys.clock), openapi_config=None)
    api = server.ApiServer(app, "127.0.0.1", 0, "x")
    smuggled = b"0\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n"
    with socket.create_connection(("127.0.0.1", api.port)) as peer:
        peer.settimeout(PATIENCE_S)
        peer.sendall(
            b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(smuggled), smuggled)
        )
        answer = peer.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"send one of them" in answer
    api.close()
