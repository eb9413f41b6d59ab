"""The files that settings name: their contents, their faults, and the reloading of keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.runtime.errors import UsageError
from shared.settings.loader import SettingsError
from shared.settings.secret_files import (
    MAX_SECRET_BYTES,
    KeysFile,
    SecretFault,
    SecretFile,
    TlsFiles,
    load_return_keys,
    require_secrets,
    require_tls,
)
from shared.settings.sections import ReturnPathSettings
from tests.support.authority import Authority

FIRST = f"1 2026-01-01 {'ab' * 32}\n"
SECOND = FIRST + f"2 2026-12-01 {'cd' * 32}\n"


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


def ids_of(keys: KeysFile) -> tuple[int, ...]:
    return keys.keys.ids


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(FIRST)
    return path


def test_without_a_file_there_are_no_keys() -> None:
    assert load_return_keys(ReturnPathSettings()) is None


def test_a_changed_file_is_taken_up(file: Path) -> None:
    keys = KeysFile(str(file))
    assert ids_of(keys) == (1,)
    file.write_text(SECOND)
    keys.refresh()
    assert ids_of(keys) == (2, 1)


def test_a_file_that_is_replaced_as_kubernetes_does_is_taken_up(file: Path, tmp_path: Path) -> None:
    keys = KeysFile(str(file))
    other = tmp_path / "new"
    other.write_text(FIRST.replace("1 ", "3 ", 1))
    other.replace(file)
    keys.refresh()
    assert ids_of(keys) == (3,)


@pytest.mark.parametrize("content", [b"", b"rubbish", b"\xff\xfe", b"#" * 70_000])
def test_while_the_new_file_cannot_be_used_the_last_keys_stay(
    file: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    keys = KeysFile(str(file))
    file.write_bytes(content)
    keys.refresh()
    keys.refresh()
    assert ids_of(keys) == (1,)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    file.write_text(SECOND)
    keys.refresh()
    assert ids_of(keys) == (2, 1)


def test_a_file_that_is_gone_is_reported_once(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    keys = KeysFile(str(file))
    file.unlink()
    for _ in range(3):
        keys.refresh()
    assert ids_of(keys) == (1,)
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_a_changed_file_that_could_not_be_read_for_a_moment_is_read_again(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = KeysFile(str(file))
    file.write_text(SECOND)

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", denied)
        keys.refresh()
    assert ids_of(keys) == (1,)
    keys.refresh()
    assert ids_of(keys) == (2, 1)


@pytest.mark.parametrize("content", [None, "", "1 2026-01-01 abc"])
def test_a_process_does_not_start_without_usable_keys(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "keys"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=r"^return_path\.keys_file: .*keys: "):
        KeysFile(str(path))
