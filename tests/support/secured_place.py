"""A secured broker with its files, and the settings for every kind of connection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kafka.admin import UserScramCredentialUpsertion
from kafka.errors import KafkaError
from msgspec import Struct

from shared.settings.sections import KafkaSettings
from shared.stream.client import ClientOptions, client_options, make_admin
from tests.support.authority import Authority
from tests.support.secured_kafka import PASSWORD, Secured
from tests.support.token_endpoint import CLIENT_ID, TokenEndpoint

TLS = "SSL"
CA = "ca"
OTHER = "other_ca"
# A broker answers a wrong login after 0.1 s, so this is enough time for a second attempt.
BOOTSTRAP_MS = 1_200


class Files(Struct, frozen=True):
    """Files whose paths are in settings."""

    ca: str
    other_ca: str
    password: str
    wrong_password: str


class Place(Struct, frozen=True):
    """The broker, its files, and a token endpoint."""

    secured: Secured
    files: Files
    other: Authority
    tokens: TokenEndpoint
    folder: Path

    def certificate(self, name: str, authority: Authority | None = None) -> dict[str, str]:
        folder = (authority or self.secured.authority).folder
        return {
            "tls_certificate_file": str(folder / f"{name}.pem"),
            "tls_key_file": str(folder / f"{name}.key"),
        }


def add_users(place: Secured, users: dict[str, str], password: str = PASSWORD) -> None:
    """Add these users, each with its mechanism, or change their passwords."""
    admin = make_admin(client_options(KafkaSettings(bootstrap=place.admin), "test"), 10_000)
    wanted = [UserScramCredentialUpsertion(user, kind, password) for user, kind in users.items()]
    answers = admin.alter_user_scram_credentials(wanted)
    admin.close()
    assert not any(answers.values()), answers


def refusal(options: ClientOptions) -> str:
    """Return why a client is refused, or "". A busy broker may send its reason too late."""
    try:
        make_admin(options, 10_000, bootstrap_timeout_ms=BOOTSTRAP_MS).close()
    except KafkaError as error:
        return str(error)
    return ""


def settings(place: Place, listener: str, **given: Any) -> KafkaSettings:
    """Return settings. CA, OTHER, `password` and `wrong_password` mean the paths of these files."""
    files = {name: getattr(place.files, name) for name in place.files.__struct_fields__}
    chosen = {key: files.get(value, value) for key, value in given.items()}
    return KafkaSettings(bootstrap=place.secured.address(listener), **chosen)


def scram(bits: int, password: str = "password") -> dict[str, str]:
    return {
        "sasl_mechanism": f"SCRAM-SHA-{bits}",
        "sasl_username": f"scram-{bits}",
        "sasl_password_file": password,
    }


def plain(password: str = "password") -> dict[str, str]:
    return {
        "sasl_mechanism": "PLAIN",
        "sasl_username": "plain-user",
        "sasl_password_file": password,
    }


def oauth(place: Place, secret: str = "password") -> dict[str, str]:
    return {
        "sasl_mechanism": "OAUTHBEARER",
        "oauth_token_url": place.tokens.url,
        "oauth_client_id": CLIENT_ID,
        "oauth_client_secret_file": secret,
        "oauth_scope": "kafka",
    }


def over_tls(**given: str) -> dict[str, str]:
    return {"security_protocol": "SASL_SSL", "tls_ca_file": CA, **given}


def ways(place: Place) -> dict[str, KafkaSettings]:
    tls = {"security_protocol": TLS, "tls_ca_file": CA}
    clear = {"security_protocol": "SASL_PLAINTEXT", **scram(512)}
    return {
        "TLS": settings(place, "ssl", **tls),
        "mTLS": settings(place, "mtls", **tls, **place.certificate("client")),
        "PLAIN": settings(place, "login", **over_tls(**plain())),
        "SCRAM-SHA-256": settings(place, "login", **over_tls(**scram(256))),
        "SCRAM-SHA-512": settings(place, "login", **over_tls(**scram(512))),
        "SCRAM without TLS": settings(place, "clear", **clear),
        "OAUTHBEARER": settings(place, "oauth", **over_tls(**oauth(place))),
    }
