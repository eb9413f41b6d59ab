"""Defines the section `redis`: the address of Redis or Valkey, and the login.

Owns: the settings, and the check for settings that contradict each other. Does not own: the check
that the files can be read (shared/store/client.py does this check when a process starts).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final
from urllib.parse import parse_qs, urlsplit

from msgspec import Meta, Struct

from shared.settings.addresses import PATH, plain_fault, redis_url_fault

# Each setting of a TLS file, and the URL option that would set the same file.
_TLS_OPTIONS: Final = {
    "tls_ca_file": "ssl_ca_certs",
    "tls_certificate_file": "ssl_certfile",
    "tls_key_file": "ssl_keyfile",
}


class RedisSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The connection to Redis or Valkey, which holds derived state only."""

    url: Annotated[
        str,
        Meta(
            extra={
                "expected": "a URL redis://, rediss:// or unix://",
                "check": redis_url_fault,
            },
            description="`redis://[user:password@]host:port/database`, `rediss://` for TLS, or"
            " `unix:///path?db=database`. The characters `/?#[]@:` of a password are"
            " percent-encoded.",
        ),
    ] = "redis://127.0.0.1:6379/0"
    tls_ca_file: Annotated[
        str,
        Meta(
            extra=PATH,
            description="PEM file of the CA certificates that the server's certificate must be"
            " signed by, with `rediss://`. Empty: the CAs that the system trusts.",
        ),
    ] = ""
    tls_certificate_file: Annotated[
        str,
        Meta(
            extra=PATH,
            description="PEM file of this client's certificate, for servers that require one"
            " (mTLS).",
        ),
    ] = ""
    tls_key_file: Annotated[
        str, Meta(extra=PATH, description="PEM file of that certificate's private key.")
    ] = ""
    username: Annotated[
        str,
        Meta(
            extra={"expected": "text", "check": plain_fault},
            description="User (ACL) to log in as; empty: `default`.",
        ),
    ] = ""
    password_file: Annotated[
        str,
        Meta(
            extra=PATH,
            description="File with the password; a line end after it is ignored. Read again for"
            " each new connection.",
        ),
    ] = ""
    submissions_key: Annotated[
        str,
        Meta(
            pattern=r"^\{[^{}]+\}[^{}]*\Z",
            description="Redis key of the recent submissions, beginning with a {hash tag}."
            " Two installations that share a Redis database need different keys.",
            extra={"secret": False},
        ),
    ] = "{sluice:submissions}"
    limits_key: Annotated[
        str,
        Meta(
            pattern=r"^\{[^{}]+\}[^{}]*\Z",
            description="Beginning of the Redis keys of the limits and suspensions that all"
            " processes of the deliver service share, with a {hash tag}; different for two"
            " installations.",
            extra={"secret": False},
        ),
    ] = "{sluice:limits}"
    suppressions_key: Annotated[
        str,
        Meta(
            pattern=r"^\{[^{}]+\}[^{}]*\Z",
            description="Redis key of the suppressed recipients, in the form of `submissions_key`.",
            extra={"secret": False},
        ),
    ] = "{sluice:suppressions}"
    counters_key: Annotated[
        str,
        Meta(
            pattern=r"^\{[^{}]+\}[^{}]*\Z",
            description="Redis key of the bounce counters, in the form of `submissions_key`.",
            extra={"secret": False},
        ),
    ] = "{sluice:responses}"

    def __post_init__(self) -> None:
        if not redis_url_fault(self.url) and (faults := [*_faults(self)]):
            raise ValueError("; ".join(faults))


def _faults(redis: RedisSettings) -> Iterator[str]:
    parts = urlsplit(redis.url)
    options = parse_qs(parts.query, keep_blank_values=True)
    files = [key for key in _TLS_OPTIONS if getattr(redis, key)]
    if files and parts.scheme != "rediss":
        names = ", ".join(f"redis.{key}" for key in files)
        yield f"{names} set, but redis.url has no TLS; expected rediss://"
    for key in files:
        if _TLS_OPTIONS[key] in options:
            yield f"redis.{key} set, and {_TLS_OPTIONS[key]} in redis.url; expected one of them"
    has_certificate = "ssl_certfile" in options or redis.tls_certificate_file
    has_key = "ssl_keyfile" in options or redis.tls_key_file
    if has_key and not has_certificate:
        yield "redis.tls_key_file set without redis.tls_certificate_file; expected both or neither"
    if redis.tls_certificate_file and not has_key:
        yield "redis.tls_certificate_file set without redis.tls_key_file; expected both or neither"
    if redis.username and not redis.password_file:
        yield "redis.username set without redis.password_file"
    in_url = parts.username or parts.password or "username" in options or "password" in options
    if redis.password_file and in_url:
        yield "redis.password_file set, and a login in redis.url; expected one of them"
