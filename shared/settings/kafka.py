"""Defines the section `kafka`: the brokers, the connection to them, and the creation of topics.

Owns: the settings, and the check for settings that contradict each other. Does not own: the check
that the files can be read (shared/stream/client.py does this check when a process starts).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from shared.settings.addresses import PATH, brokers_fault, plain_fault
from shared.topics.configs import MIN_IN_SYNC, SAFE_IN_SYNC, SAFE_REPLICATION, min_in_sync

TLS: Final = ("SSL", "SASL_SSL")
SASL: Final = ("SASL_PLAINTEXT", "SASL_SSL")
OAUTH: Final = "OAUTHBEARER"

_TLS_KEYS: Final = ("tls_ca_file", "tls_certificate_file", "tls_key_file")
_LOGIN_KEYS: Final = ("sasl_username", "sasl_password_file")
_OAUTH_KEYS: Final = ("oauth_token_url", "oauth_client_id", "oauth_client_secret_file")
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")

_NAME: Final = {"expected": "text", "check": plain_fault}


def token_url_fault(url: str) -> str:
    """Check the URL of a token endpoint; "" is allowed."""
    if not url:
        return ""
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        return "it is not a URL"
    if not url.isprintable() or " " in url or not host:
        return "name a host, as in https://login.example/oauth/token"
    if parts.username is not None or parts.fragment:
        return "without a user, a password or a fragment"
    if parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK):
        return ""
    return "the scheme is https, because the client secret is sent there (http for loopback only)"


class KafkaSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The brokers, the connection to them, and the creation of topics."""

    bootstrap: Annotated[
        str,
        Meta(
            extra={"expected": "host:port[,host:port]", "check": brokers_fault},
            description="Bootstrap brokers: `host:port[,host:port]`.",
        ),
    ] = "127.0.0.1:9092"
    security_protocol: Annotated[
        Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"],
        Meta(
            description="How the brokers are reached: `SSL` encrypts, `SASL_...` logs in,"
            " `SASL_SSL` does both ([security.md](security.md))."
        ),
    ] = "PLAINTEXT"
    tls_ca_file: Annotated[
        str,
        Meta(
            extra=PATH,
            description="PEM file of the CA certificates that the brokers' certificates must be"
            " signed by. Empty: the CAs that the system trusts.",
        ),
    ] = ""
    tls_certificate_file: Annotated[
        str,
        Meta(
            extra=PATH,
            description="PEM file of this client's certificate, with its chain, for brokers that"
            " require one (mTLS).",
        ),
    ] = ""
    tls_key_file: Annotated[
        str, Meta(extra=PATH, description="PEM file of that certificate's private key.")
    ] = ""
    tls_check_host_name: Annotated[
        bool,
        Meta(
            description="Whether a broker's certificate must be for the host name that it is"
            " reached by. If not, anyone with a certificate of that CA can act as a broker."
        ),
    ] = True
    sasl_mechanism: Annotated[
        Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"],
        Meta(description="How to log in with `SASL_SSL` or `SASL_PLAINTEXT`."),
    ] = ""
    sasl_username: Annotated[str, Meta(extra=_NAME, description="User for PLAIN and SCRAM.")] = ""
    sasl_password_file: Annotated[
        str,
        Meta(
            extra=PATH,
            description="File with that user's password; a line end after it is ignored. Read"
            " again for each new connection.",
        ),
    ] = ""
    oauth_token_url: Annotated[
        str,
        Meta(
            extra={"expected": "an https:// URL", "check": token_url_fault},
            description="Token endpoint for OAUTHBEARER, which is asked with the client"
            " credentials grant (RFC 6749, 4.4).",
        ),
    ] = ""
    oauth_client_id: Annotated[
        str, Meta(extra=_NAME, description="Client id at the token endpoint.")
    ] = ""
    oauth_client_secret_file: Annotated[
        str,
        Meta(
            extra=PATH,
            description="File with the client secret; read again for each new token.",
        ),
    ] = ""
    oauth_scope: Annotated[
        str, Meta(extra=_NAME, description="Scope to ask for. Empty: the request names no scope.")
    ] = ""
    compression: Annotated[
        Literal["lz4", "gzip", "none"],
        Meta(description="Compression of the record batches that are written."),
    ] = "lz4"
    static_membership: Annotated[
        bool,
        Meta(
            description="Whether a process restarted with its old `runtime.instance` takes over"
            " its partitions at once (KIP-345). Use it for StatefulSets and supervisors that keep"
            " the name, but not if every restart creates a new name."
        ),
    ] = False
    replication: Annotated[
        int, Meta(ge=1, le=9, description="Copies of each topic; 3 in production.")
    ] = 1
    min_insync_replicas: Annotated[
        int,
        Meta(
            ge=0,
            le=9,
            description="How many copies must have a record before it is acknowledged. 0: 2 if"
            " there are three or more copies, else 1.",
        ),
    ] = 0
    allow_low_replication: Annotated[
        bool,
        Meta(
            description="Whether fewer than 3 copies, or fewer than 2 in sync, are allowed. If not,"
            " a process with such settings does not start."
        ),
    ] = True
    partitions: Annotated[
        int, Meta(ge=1, le=1000, description="Partitions of each internal topic created.")
    ] = 4
    intake_partitions: Annotated[
        int, Meta(ge=1, le=1000, description="Partitions of each intake topic created.")
    ] = 2
    topic_configs: Annotated[
        dict[str, dict[str, str]],
        Meta(
            description="Topic configs that replace the planned ones: topic name, in which `*`"
            " matches any text, to config and value, such as"
            ' `{"mail.intake.*": {"retention.ms": "2592000000"}}`. `sluice topics plan` shows'
            " the differences, `topics apply` alters them."
        ),
    ] = {}

    def __post_init__(self) -> None:
        if faults := [*_tls_faults(self), *_login_faults(self), *_copies_faults(self)]:
            raise ValueError("; ".join(faults))


def _set(kafka: KafkaSettings, keys: tuple[str, ...]) -> list[str]:
    return [f"kafka.{key}" for key in keys if getattr(kafka, key)]


def _unset(kafka: KafkaSettings, keys: tuple[str, ...]) -> list[str]:
    return [f"kafka.{key}" for key in keys if not getattr(kafka, key)]


def _tls_faults(kafka: KafkaSettings) -> Iterator[str]:
    protocol = kafka.security_protocol
    if protocol not in TLS:
        if given := _set(kafka, _TLS_KEYS):
            yield (
                f"{', '.join(given)} set, but kafka.security_protocol is {protocol}, which does not"
                " encrypt; expected SSL or SASL_SSL"
            )
    elif bool(kafka.tls_certificate_file) != bool(kafka.tls_key_file):
        pair = ("tls_certificate_file", "tls_key_file")
        given, missing = _set(kafka, pair), _unset(kafka, pair)
        yield f"{given[0]} set without {missing[0]}; expected both or neither"


def _login_faults(kafka: KafkaSettings) -> Iterator[str]:
    protocol, mechanism = kafka.security_protocol, kafka.sasl_mechanism
    oauth = (*_OAUTH_KEYS, "oauth_scope")
    if protocol not in SASL:
        if given := _set(kafka, ("sasl_mechanism", *_LOGIN_KEYS, *oauth)):
            yield (
                f"{', '.join(given)} set, but kafka.security_protocol is {protocol}, which does not"
                " log in; expected SASL_SSL or SASL_PLAINTEXT"
            )
        return
    if not mechanism:
        yield (
            f"kafka.security_protocol is {protocol} without kafka.sasl_mechanism; expected PLAIN,"
            f" SCRAM-SHA-256, SCRAM-SHA-512 or {OAUTH}"
        )
        return
    needed, others = (_OAUTH_KEYS, _LOGIN_KEYS) if mechanism == OAUTH else (_LOGIN_KEYS, oauth)
    if missing := _unset(kafka, needed):
        yield f"kafka.sasl_mechanism is {mechanism} without {', '.join(missing)}"
    if given := _set(kafka, others):
        yield f"kafka.sasl_mechanism is {mechanism}, which does not use {', '.join(given)}"


def _copies_faults(kafka: KafkaSettings) -> Iterator[str]:
    copies, in_sync = kafka.replication, kafka.min_insync_replicas
    if in_sync > copies:
        yield (
            f"kafka.min_insync_replicas is {in_sync}, more than kafka.replication ({copies}):"
            " nothing could be written"
        )
    if kafka.allow_low_replication:
        return
    reason = "because kafka.allow_low_replication is false"
    if copies < SAFE_REPLICATION:
        yield f"kafka.replication is {copies}, expected {SAFE_REPLICATION} or more, {reason}"
    if (found := min_in_sync(copies, in_sync)) < SAFE_IN_SYNC:
        yield f"kafka.min_insync_replicas is {found}, expected {SAFE_IN_SYNC} or more, {reason}"
    for topic, configs in kafka.topic_configs.items():
        text = configs.get(MIN_IN_SYNC, "")
        if text and not (text.isdecimal() and int(text) >= SAFE_IN_SYNC):
            yield (
                f"kafka.topic_configs sets {MIN_IN_SYNC} of {topic} to {text}, expected"
                f" {SAFE_IN_SYNC} or more, {reason}"
            )
