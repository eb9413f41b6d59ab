"""Signing keys, and an independent verifier (dkimpy) for the signatures."""

from __future__ import annotations

import base64
import re
from functools import cache

import dkim
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.deliver.edge.signing.signer import PrivateKey, Signer
from shared.runtime.clock import FakeClock

ALGORITHMS = ("rsa-sha256", "ed25519-sha256")
SELECTOR = "s2026"
CONTENT = (
    b"From: A <a@shop.example>\nTo: b@r.example\nSubject: one\n two\nDate: Mon, 1 Jan 2024"
    b" 00:00:00 +0000\nMessage-ID: <1@shop.example>\nReply-To: c@shop.example\nMIME-Version: 1.0\n"
    b"Content-Type: text/plain\nContent-Transfer-Encoding: 8bit\n"
    b"List-Unsubscribe: <https://shop.example/u>\nX-Other: x\n"
    b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\nX-bm-mailing: spring\n\n"
    b".first\n\nlast line"
)


@cache
def key_of(algorithm: str) -> PrivateKey:
    if algorithm == "rsa-sha256":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return ed25519.Ed25519PrivateKey.generate()


def signer_of(algorithm: str) -> Signer:
    return Signer(key_of(algorithm), SELECTOR, FakeClock())


def is_verified(content: bytes, algorithm: str, domain: str) -> bool:
    key = key_of(algorithm)
    if isinstance(key, rsa.RSAPrivateKey):
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    else:
        public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    kind = algorithm.partition("-")[0]
    record = f"v=DKIM1; k={kind}; p={base64.b64encode(public).decode()}".encode()

    def look_up(name: bytes, timeout: int = 5) -> bytes:
        assert name == f"{SELECTOR}._domainkey.{domain}.".encode()
        return record

    return bool(dkim.verify(content, dnsfunc=look_up, minkey=2048))


def tag(field: bytes, name: bytes) -> bytes:
    found = re.search(rb"[;:]\s*" + name + rb"=([^;]*)", field)
    assert found is not None
    return re.sub(rb"\s", b"", found[1])
