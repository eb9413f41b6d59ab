"""The keys file: loaded, reloaded, and kept in force while a new one cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.runtime.errors import UsageError
from shared.settings.return_keys import KeysFile, load_return_keys
from shared.settings.sections import ReturnPathSettings

FIRST = f"1 2026-01-01 {'ab' * 32}\n"
SECOND = FIRST + f"2 2026-12-01 {'cd' * 32}\n"


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
