"""The file of the signing key, and the store that the settings name: errors name the key."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Final

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from services.billing.core.closing.statement import encode_public
from services.billing.edge import signing_key
from services.billing.edge.cells import RedisCells, open_cells
from services.billing.edge.cells_postgresql import PostgresCells
from services.billing.settings import BillingSettings
from shared.runtime.errors import UsageError
from shared.settings.sections import RedisSettings

REDIS: Final = RedisSettings(url="redis://127.0.0.1:1/0")


def other_key() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def test_a_key_is_created_once_for_its_owner_alone_and_loaded_again(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    created = signing_key.create(str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    loaded = signing_key.load(str(path))
    assert loaded is not None
    assert encode_public(loaded.public_key()) == encode_public(created.public_key())
    public = tmp_path / "public.pem"
    public.write_text(signing_key.public_pem(created))
    assert signing_key.load_public(str(public)) == encode_public(created.public_key())
    with pytest.raises(UsageError, match="File exists"):
        signing_key.create(str(path))


def test_without_a_path_there_is_no_key() -> None:
    assert signing_key.load("") is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no key", "is not a key in PEM"),
        (b"", "is not a key in PEM"),
        (other_key(), "Ed25519 is expected"),
        (None, "No such file"),
    ],
    ids=["words", "empty", "elliptic-curve", "missing"],
)
def test_a_file_that_is_no_key_is_named_with_its_setting(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    path = tmp_path / "key.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=rf"billing\.signing_key_file: .*{words}"):
        signing_key.load(str(path))


def test_the_settings_name_the_store(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("secret\n")
    url = "postgresql://sluice@127.0.0.1/billing"
    assert isinstance(open_cells(BillingSettings(), REDIS), RedisCells)
    postgresql = BillingSettings(
        store="postgresql", postgresql_url=url, postgresql_password_file=str(password)
    )
    assert isinstance(open_cells(postgresql, REDIS), PostgresCells)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (BillingSettings(store="postgresql"), r"billing\.postgresql_url: nothing was found"),
        (
            BillingSettings(
                store="postgresql", postgresql_url="postgresql:///x", postgresql_password_file="/no"
            ),
            r"billing\.postgresql_password_file: .*No such file",
        ),
    ],
)
def test_a_store_that_cannot_be_opened_names_the_setting(
    settings: BillingSettings, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        open_cells(settings, REDIS)
