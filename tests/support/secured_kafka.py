"""One broker with an authorizer, and a listener for each kind of connection.

The listener `PLAINTEXT` is for administration: everybody who connects to it is a super user.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from msgspec import Struct

from local.parts import kafka_broker, ports
from local.parts.kafka_broker import BrokerListener, BrokerPlan
from local.process import ProcessSpec
from tests.support.authority import Authority

# The passwords of every user that tests make.
PASSWORD = "correct, horse=battery"
PLAIN_USERS = ("plain-user",)
ISSUER, AUDIENCE = "https://login.example", "kafka"
_LISTENERS = ("ssl", "mtls", "expired", "elsewhere", "login", "clear", "oauth")
_CERTIFICATES = {"expired": "old", "elsewhere": "elsewhere"}
_SERIALIZED = "org.apache.kafka.common.security"


class Secured(Struct, frozen=True):
    """The broker's addresses by listener, its CA, and the key that signs tokens."""

    plan: BrokerPlan
    authority: Authority
    token_key: rsa.RSAPrivateKey

    @property
    def admin(self) -> str:
        return self.plan.address

    def address(self, listener: str) -> str:
        return next(each.address for each in self.plan.listeners if each.name == listener.upper())


def plan(folder: Path) -> Secured:
    authority = Authority(folder / "certificates")
    authority.issue("broker")
    authority.issue("old", days=-1)
    authority.issue("elsewhere", host="192.0.2.1")
    token_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    jwks = folder / "jwks.json"
    jwks.write_text(json.dumps(_key_set(token_key)))
    port, controller, *others = ports.free_ports(2 + len(_LISTENERS))
    listeners = tuple(
        BrokerListener(name.upper(), number, *_kind(name, authority, jwks))
        for name, number in zip(_LISTENERS, others, strict=True)
    )
    broker = BrokerPlan(
        folder / "kafka",
        port,
        controller,
        {
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS;User:plain-user;User:scram-256;User:scram-512"
            ";User:CN=client;User:service-account",
            "connections.max.reauth.ms": "0",
        },
        listeners=listeners,
        java_options=(
            f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={jwks.as_uri()}",
            f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.files={jwks}",
        ),
    )
    return Secured(broker, authority, token_key)


def _kind(name: str, authority: Authority, jwks: Path) -> tuple[str, dict[str, str]]:
    folder = authority.folder
    tls = {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(folder / f"{_CERTIFICATES.get(name, 'broker')}.both"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority.ca),
        "ssl.client.auth": "required" if name == "mtls" else "none",
    }
    scram = {
        f"scram-sha-{bits}.sasl.jaas.config": f"{_SERIALIZED}.scram.ScramLoginModule required;"
        for bits in (256, 512)
    }
    if name in ("ssl", "mtls", *_CERTIFICATES):
        return "SSL", tls
    if name == "clear":
        return "SASL_PLAINTEXT", {"sasl.enabled.mechanisms": "SCRAM-SHA-512", **scram}
    if name == "login":
        users = " ".join(f'user_{user}="{PASSWORD}"' for user in PLAIN_USERS)
        plain = {
            "plain.sasl.jaas.config": f"{_SERIALIZED}.plain.PlainLoginModule required {users};"
        }
        enabled = {"sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512"}
        return "SASL_SSL", {**tls, **enabled, **scram, **plain}
    bearer = f"{_SERIALIZED}.oauthbearer"
    return "SASL_SSL", {
        **tls,
        "sasl.enabled.mechanisms": "OAUTHBEARER",
        "oauthbearer.sasl.jaas.config": f"{bearer}.OAuthBearerLoginModule required;",
        "oauthbearer.sasl.server.callback.handler.class": (
            f"{bearer}.OAuthBearerValidatorCallbackHandler"
        ),
        "oauthbearer.sasl.oauthbearer.jwks.endpoint.url": jwks.as_uri(),
        "oauthbearer.sasl.oauthbearer.expected.issuer": ISSUER,
        "oauthbearer.sasl.oauthbearer.expected.audience": AUDIENCE,
    }


def _number(value: int) -> str:
    data = value.to_bytes((value.bit_length() + 7) // 8)
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _key_set(key: rsa.RSAPrivateKey) -> dict[str, object]:
    public = key.public_key().public_numbers()
    one = {
        "kty": "RSA",
        "kid": "test",
        "use": "sig",
        "alg": "RS256",
        "n": _number(public.n),
        "e": _number(public.e),
    }
    return {"keys": [one]}


def spec_of(secured: Secured) -> ProcessSpec:
    return kafka_broker.prepare(secured.plan)
