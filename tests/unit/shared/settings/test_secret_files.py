"""Files with secrets and certificates: what is read, and how a fault is described."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.settings.loader import SettingsError
from shared.settings.secret_files import (
    MAX_SECRET_BYTES,
    SecretFault,
    SecretFile,
    TlsFiles,
    require_secrets,
    require_tls,
)
from tests.support.authority import Authority


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"a b", "a b"),
        (b"x\n", "x"),
        (b"x\r\n", "x"),
        (b" x \n", " x "),
        ("\u00fc".encode(), "\u00fc"),
    ],
)
def test_a_secret_is_read_without_its_line_end(content: bytes, secret: str, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content)
    assert SecretFile(str(file)).read() == secret


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "no such file"),
        (b"", "it is empty"),
        (b"\n", "it is empty"),
        (b"topsecret\nb", "one line is expected"),
        (b"topsecret\x00", "one line is expected"),
        (b"topsecret\xff", "not text in UTF-8"),
        (b"topsecret" * MAX_SECRET_BYTES, "larger than"),
    ],
)
def test_a_fault_names_the_key_and_the_file_but_not_the_secret(
    content: bytes | None, reason: str, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SecretFault, match=reason):
        SecretFile(str(file)).read()
    with pytest.raises(SettingsError, match=rf"^kafka\.a_file: {file}: .*{reason}") as raised:
        require_secrets("kafka", {"a_file": str(file), "unset_file": ""})
    assert "topsecret" not in str(raised.value)


def test_files_of_tls_that_fit_together_are_taken(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    path = authority.issue("client")
    files = TlsFiles(str(authority.ca), str(path), str(path.with_suffix(".key")))
    require_tls("kafka", files)
    require_tls("kafka", TlsFiles())


@pytest.mark.parametrize(
    ("ca", "certificate", "key", "reason"),
    [
        ("no.pem", "", "", "kafka.tls_ca_file: .*no such file"),
        ("text", "", "", "kafka.tls_ca_file: .*no PEM certificate"),
        ("ca.pem", "no.pem", "client.key", "kafka.tls_certificate_file: .*no such file"),
        ("ca.pem", "client.pem", "no.key", "kafka.tls_key_file: .*no such file"),
        ("ca.pem", "client.pem", "other.key", "kafka.tls_certificate_file: .*key values mismatch"),
        ("ca.pem", "text", "client.key", "kafka.tls_certificate_file: .*not encrypted, in PEM"),
        ("ca.pem", ".", "client.key", "kafka.tls_certificate_file: .*is a directory"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    ca: str, certificate: str, key: str, reason: str, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    authority.issue("client")
    authority.issue("other")
    (tmp_path / "text").write_text("no certificate")
    paths = [str(tmp_path / name) if name else "" for name in (ca, certificate, key)]
    with pytest.raises(SettingsError, match=reason):
        require_tls("kafka", TlsFiles(*paths))
