"""Turns the settings of TLS and login into the options of every Redis client.

Owns: reading the files once when a client is created, so that a wrong one stops a process with one
line. redis-py reads certificates and keys again for each new connection, and asks PasswordFromFile
for the password: a rotation needs no restart. Connections that are open stay open.
"""

from __future__ import annotations

from typing import Any

from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError

from shared.settings.secret_files import (
    SecretFault,
    SecretFile,
    TlsFiles,
    require_secrets,
    require_tls,
)
from shared.settings.sections import RedisSettings


class PasswordFromFile(CredentialProvider):
    """The user, and the password that the file holds now."""

    def __init__(self, user: str, file: SecretFile) -> None:
        self._user = user
        self._file = file

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Return the arguments of AUTH. Raises AuthenticationError."""
        try:
            password = self._file.read()
        except SecretFault as error:
            raise AuthenticationError(f"redis.password_file: {error}") from None
        return (self._user, password) if self._user else (password,)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """Return the same; the file is small."""
        return self.get_credentials()


def login_options(redis: RedisSettings) -> dict[str, Any]:
    """Return redis-py's options. Raises SettingsError if a file cannot be used."""
    files = TlsFiles(redis.tls_ca_file, redis.tls_certificate_file, redis.tls_key_file)
    require_tls("redis", files)
    require_secrets("redis", {"password_file": redis.password_file})
    named = {
        "ssl_ca_certs": files.ca,
        "ssl_certfile": files.certificate,
        "ssl_keyfile": files.key,
    }
    options: dict[str, Any] = {name: path for name, path in named.items() if path}
    if redis.password_file:
        provider = PasswordFromFile(redis.username, SecretFile(redis.password_file))
        options["credential_provider"] = provider
    return options
