"""A certificate that is renewed is shown to the next connection, without a restart."""

from __future__ import annotations

import shutil
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar import Litestar, get

from shared.http_api.server import ApiServer
from shared.runtime.reloaded_files import Certificates
from tests.support.certificates import self_signed


@get("/health")
async def health() -> str:
    return "ok"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The folder with the files that the server has."""
    put(self_signed(tmp_path), tmp_path)
    return tmp_path


def put(pair: tuple[Path, Path], folder: Path) -> None:
    for source, name in zip(pair, ("server.crt", "server.key"), strict=True):
        shutil.copyfile(source, folder / name)


@pytest.fixture
def server(files: Path) -> Iterator[ApiServer]:
    pair = Certificates(str(files / "server.crt"), str(files / "server.key"), "api")
    found = ApiServer(Litestar([health]), "127.0.0.1", 0, "port", pair)
    yield found
    found.close()


def shown(server: ApiServer, name: str | None) -> bytes:
    """The certificate that a client gets, in DER."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((server.host, server.port), 60) as wire,
        context.wrap_socket(wire, server_hostname=name) as encrypted,
    ):
        encrypted.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert encrypted.recv(64).startswith(b"HTTP/1.1 200")
        return encrypted.getpeercert(binary_form=True) or b""


@pytest.mark.parametrize("name", ["api.example", None])
def test_a_renewed_certificate_is_shown_to_the_next_connection(
    server: ApiServer, files: Path, name: str | None
) -> None:
    first = shown(server, name)
    assert shown(server, name) == first
    (files / "new").mkdir()
    put(self_signed(files / "new"), files)
    assert shown(server, name) != first


def test_files_that_do_not_fit_together_leave_the_old_certificate(
    server: ApiServer, files: Path
) -> None:
    first = shown(server, None)
    (files / "server.key").write_text("not a key")
    assert shown(server, None) == first
