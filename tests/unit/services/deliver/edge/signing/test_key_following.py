"""Keys are taken up from their folder while deliver runs."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.deliver.edge.signing.preparing import load_keys
from services.deliver.edge.signing.signer import KeyFollower
from services.deliver.settings import DeliverSettings
from shared.mailauth.dkim_keys.folder import add_keys, write_key
from shared.mailauth.dkim_keys.table import ED25519, RSA, TABLE, KeyEntry
from shared.runtime.errors import UsageError
from tests.support.dkim_verifying import key_of

NOW_S = datetime(2026, 12, 1, tzinfo=UTC).timestamp()


def chosen(keys: KeyFollower, client: str = "shop") -> list[str]:
    return [key.entry.selector for key in keys.index.choose(client, "d.example", NOW_S)]


def add(folder: Path, selector: str, algorithm: str = ED25519, client: str = "") -> None:
    add_keys(folder, [(KeyEntry(selector, f"{selector}.pem", client), key_of(algorithm))])


def test_an_added_key_is_in_force_after_the_next_look(tmp_path: Path) -> None:
    add(tmp_path, "one")
    keys = KeyFollower(str(tmp_path))
    assert chosen(keys) == ["one"]
    add(tmp_path, "two", RSA)
    keys.refresh()
    assert chosen(keys) == ["two", "one"]


def test_what_has_not_changed_is_not_loaded_again(tmp_path: Path) -> None:
    add(tmp_path, "one")
    keys = KeyFollower(str(tmp_path))
    before = keys.index
    keys.refresh()
    assert keys.index is before
    first = before.choose("", "", NOW_S)[0]
    add(tmp_path, "two", RSA)
    keys.refresh()
    assert keys.index.choose("", "", NOW_S)[1].key is first.key


FAULTS = {
    "no table": ("", None, "No such file"),
    "no TOML": ("[[key", None, "it is not TOML"),
    "a missing key file": ('[[key]]\nselector = "new"\nfile = "new.pem"\n', None, "No such file"),
    "a wrong key file": ('[[key]]\nselector = "new"\nfile = "new.pem"\n', b"x", "cannot be read"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_while_the_folder_cannot_be_used_the_last_keys_stay_and_it_is_logged_once(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text, key, reason = FAULTS[name]
    add(tmp_path, "old")
    keys = KeyFollower(str(tmp_path))
    good = (tmp_path / TABLE).read_text()
    if text:
        (tmp_path / TABLE).write_text(text)
    else:
        (tmp_path / TABLE).unlink()
    if key is not None:
        (tmp_path / "new.pem").write_bytes(key)
    with caplog.at_level(logging.ERROR):
        keys.refresh()
        keys.refresh()
    assert chosen(keys) == ["old"]
    (logged,) = caplog.records
    assert reason in logged.__dict__["reason"]
    (tmp_path / TABLE).write_text(good)
    add(tmp_path, "newer", RSA)
    keys.refresh()
    assert chosen(keys) == ["newer", "old"]


def test_a_key_file_that_comes_after_its_table_is_taken_up(tmp_path: Path) -> None:
    add(tmp_path, "old")
    keys = KeyFollower(str(tmp_path))
    with (tmp_path / TABLE).open("a") as file:
        file.write('\n[[key]]\nselector = "late"\nfile = "late.pem"\n')
    keys.refresh()
    assert chosen(keys) == ["old"]
    write_key(tmp_path / "late.pem", key_of(RSA))
    keys.refresh()
    assert chosen(keys) == ["late", "old"]


@pytest.mark.parametrize("name", FAULTS)
def test_a_folder_that_cannot_be_used_stops_the_start(name: str, tmp_path: Path) -> None:
    text, key, reason = FAULTS[name]
    if text:
        (tmp_path / TABLE).write_text(text)
    if key is not None:
        (tmp_path / "new.pem").write_bytes(key)
    with pytest.raises(UsageError, match=reason) as stopped:
        load_keys(DeliverSettings(dkim_keys=str(tmp_path)))
    assert str(stopped.value).startswith(f"deliver.dkim_keys: {tmp_path}/")


def test_the_key_of_the_setting_signs_what_no_key_of_the_folder_signs(tmp_path: Path) -> None:
    write_key(tmp_path / "common.pem", key_of(RSA))
    add(tmp_path, "own", client="shop")
    settings = DeliverSettings(
        dkim_keys=str(tmp_path),
        dkim_key_file=str(tmp_path / "common.pem"),
        dkim_selector="common",
    )
    keys = load_keys(settings)
    assert keys is not None
    assert (chosen(keys, "shop"), chosen(keys, "bank")) == (["own"], ["common"])


def test_new_key_files_can_be_read_by_their_owner_alone(tmp_path: Path) -> None:
    add(tmp_path, "one")
    assert (tmp_path / "one.pem").stat().st_mode & 0o777 == 0o600


def test_a_key_file_is_never_written_over(tmp_path: Path) -> None:
    add(tmp_path, "one")
    before = (tmp_path / "one.pem").read_bytes()
    with pytest.raises(FileExistsError):
        add_keys(tmp_path, [(KeyEntry("two", "one.pem"), key_of(RSA))])
    assert (tmp_path / "one.pem").read_bytes() == before
