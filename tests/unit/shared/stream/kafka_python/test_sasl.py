"""Logins with the password that a file holds at that time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kafka.net.sasl import get_sasl_mechanism
from kafka.net.sasl.plain import SaslMechanismPlain

from shared.settings.secret_files import SecretFault, SecretFile
from shared.stream.kafka_python.sasl import read_passwords_from_files


def login(kind: str, user: str, file: Path) -> bytes:
    read_passwords_from_files()
    config: dict[str, Any] = {
        "sasl_mechanism": kind,
        "sasl_plain_username": user,
        "sasl_plain_password": SecretFile(str(file)),
    }
    return bytes(get_sasl_mechanism(kind)(**config).auth_bytes())


def test_plain_sends_the_password_that_the_file_holds_now(tmp_path: Path) -> None:
    file = tmp_path / "password"
    for password in ("one", "two"):
        file.write_text(f"{password}\n")
        assert login("PLAIN", "user", file) == f"\0user\0{password}".encode()
    file.unlink()
    with pytest.raises(SecretFault):
        login("PLAIN", "user", file)


@pytest.mark.parametrize("kind", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_user_of_scram_is_escaped(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("p")
    assert login(kind, "a,b=c", file).startswith(b"n,,n=a=2Cb=3Dc,r=")


def test_kafka_python_still_takes_a_text_for_the_password() -> None:
    # If this fails, it may take a function: the workaround may have become needless.
    with pytest.raises(TypeError):
        SaslMechanismPlain(sasl_plain_username="u", sasl_plain_password=lambda: "p").auth_bytes()
