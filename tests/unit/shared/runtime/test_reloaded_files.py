"""The certificate of a server when its files change, are missing or are unusable."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest
from cryptography import x509

from shared.runtime.errors import UsageError
from shared.runtime.reloaded_files import Certificates
from tests.support.certificates import self_signed


@pytest.fixture
def pair(tmp_path: Path) -> Certificates:
    certificate, key = self_signed(tmp_path)
    return Certificates(str(certificate), str(key), "the settings")


def expiry_of(path: Path) -> float:
    return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc.timestamp()


@pytest.mark.parametrize("name", ["cert.pem", "key.pem"])
@pytest.mark.parametrize("content", [None, "garbage"])
def test_however_many_connections_come_a_fault_is_logged_once(
    pair: Certificates,
    tmp_path: Path,
    name: str,
    content: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)  # whatever level another test has left
    first = pair.context
    shutil.copyfile(tmp_path / name, tmp_path / "kept")
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_text(content)
    for _ in range(3):
        pair.refresh()
    assert pair.context is first
    assert [each.levelno for each in caplog.records] == [logging.ERROR]
    (tmp_path / "kept").replace(tmp_path / name)
    pair.refresh()
    assert pair.context is not first
    # The next fault is another one.
    (tmp_path / name).unlink()
    pair.refresh()
    assert [each.levelno for each in caplog.records] == [logging.ERROR] * 2


def test_the_expiry_is_that_of_the_certificate_in_force(pair: Certificates, tmp_path: Path) -> None:
    before = expiry_of(tmp_path / "cert.pem")
    assert pair.expires_at_s() == before
    (tmp_path / "cert.pem").write_text("garbage")
    assert pair.expires_at_s() == before
    self_signed(tmp_path)
    assert pair.expires_at_s() == expiry_of(tmp_path / "cert.pem")


@pytest.mark.parametrize("content", ["", "garbage", "-----BEGIN CERTIFICATE-----\nAA\n"])
def test_files_that_are_no_good_at_the_start_are_refused_by_their_settings(
    tmp_path: Path, content: str
) -> None:
    certificate, key = self_signed(tmp_path)
    certificate.write_text(content)
    with pytest.raises(UsageError, match="the settings: "):
        Certificates(str(certificate), str(key), "the settings")
