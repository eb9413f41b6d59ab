"""Reads the password of a login from a file each time a connection is made.

Written for kafka-python 3.0.12, which accepts a password only as text when a client is created. So
no process could connect again after a rotation of the password. Here `sasl_plain_password` is a
SecretFile, and the mechanisms registered in this module read the file for each login. They also
escape `,` and `=` in a SCRAM user name (RFC 5802, 5.1), and omit the library's warning about clear
text, which would appear at every connection. Instead, client.py warns once. This module can be
removed when kafka-python accepts a function for the password;
tests/unit/shared/stream/kafka_python/test_sasl.py checks this.
"""

from __future__ import annotations

from typing import Any, Final

from kafka.net.sasl import register_sasl_mechanism
from kafka.net.sasl.plain import SaslMechanismPlain
from kafka.net.sasl.scram import SaslMechanismScram

from shared.settings.secret_files import SecretFile

SCRAM: Final = ("SCRAM-SHA-256", "SCRAM-SHA-512")


def _read(config: dict[str, Any]) -> dict[str, Any]:
    """Return the config with the password from the file. Raises SecretFault."""
    password = config.get("sasl_plain_password")
    if not isinstance(password, SecretFile):
        return config
    return {**config, "sasl_plain_password": password.read(), "security_protocol": ""}


class PlainFromFile(SaslMechanismPlain):  # type: ignore[misc]
    """PLAIN (RFC 4616) with a password from a file."""

    def __init__(self, **config: Any) -> None:
        super().__init__(**_read(config))

    def auth_bytes(self) -> bytes:
        """Return the login without an authorisation identity, so that the user acts as itself."""
        return f"\0{self.username}\0{self.password}".encode()


class ScramFromFile(SaslMechanismScram):  # type: ignore[misc]
    """SCRAM (RFC 5802) with a password from a file."""

    def __init__(self, **config: Any) -> None:
        user = str(config.get("sasl_plain_username", ""))
        escaped = user.replace("=", "=3D").replace(",", "=2C")
        super().__init__(**{**_read(config), "sasl_plain_username": escaped})


def read_passwords_from_files() -> None:
    """Let kafka-python use these mechanisms. May be called repeatedly."""
    register_sasl_mechanism("PLAIN", PlainFromFile, overwrite=True)
    for name in SCRAM:
        register_sasl_mechanism(name, ScramFromFile, overwrite=True)
