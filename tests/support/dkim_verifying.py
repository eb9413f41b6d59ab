"""Signing keys, and an independent verifier (dkimpy) for the signatures."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import dkim
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from services.deliver.edge.signing.signer import FixedKeys, Signer
from shared.mailauth.dkim_keys.folder import PrivateKey
from shared.mailauth.dkim_keys.table import Key, KeyEntry, KeyIndex
from shared.mailauth.dkim_record import public_key_of
from shared.runtime.clock import Clock, FakeClock

ALGORITHMS = ("rsa-sha256", "ed25519-sha256")
SELECTOR = "s2026"
CONTENT = (
    b"From: A <a@shop.example>\nTo: b@r.example\nSubject: one\n two\nDate: Mon, 1 Jan 2024"
    b" 00:00:00 +0000\nMessage-ID: <1@shop.example>\nReply-To: c@shop.example\nMIME-Version: 1.0\n"
    b"Content-Type: text/plain\nContent-Transfer-Encoding: 8bit\n"
    b"List-Unsubscribe: <https://shop.example/u>\nX-Other: x\n"
    b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\nFeedback-ID: 1:2:3:4\n\n"
    b".first\n\nlast line"
)


@cache
def key_of(algorithm: str) -> PrivateKey:
    if algorithm == "rsa-sha256":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return ed25519.Ed25519PrivateKey.generate()


def signer_of(algorithm: str) -> Signer:
    return signer_with(Key(KeyEntry(SELECTOR, "-"), algorithm, key_of(algorithm)))


def signer_with(*keys: Key[PrivateKey], clock: Clock | None = None) -> Signer:
    return Signer(FixedKeys(KeyIndex(keys)), clock or FakeClock())


def record_of(key: PrivateKey) -> bytes:
    """Return the TXT record of a key."""
    return b"v=DKIM1; k=%b; p=%b" % tuple(text.encode() for text in public_key_of(key.public_key()))


def is_verified(content: bytes, algorithm: str, domain: str) -> bool:
    records = {f"{SELECTOR}._domainkey.{domain}.": record_of(key_of(algorithm))}
    return verdicts(content, records)[0]


def verdicts(content: bytes, records: Mapping[str, bytes]) -> list[bool]:
    """Return the verdict on each DKIM-Signature, from top to bottom; `records` are TXT by name."""

    def look_up(name: bytes, timeout: int = 5) -> bytes:
        return records.get(name.decode(), b"")

    message = dkim.DKIM(content, minkey=2048)
    count = len([name for name, _ in message.headers if name.lower() == b"dkim-signature"])
    return [is_valid(message, number, look_up) for number in range(count)]


def is_valid(message: Any, number: int, look_up: Callable[..., bytes]) -> bool:
    try:
        return bool(message.verify(number, dnsfunc=look_up))
    except dkim.DKIMException:
        return False


def tag(field: bytes, name: bytes) -> bytes:
    found = re.search(rb"[;:]\s*" + name + rb"=([^;]*)", field)
    assert found is not None
    return re.sub(rb"\s", b"", found[1])
