"""Parses DKIM key records and their keys (RFC 6376, 3.6.1; RFC 8463). This module does no I/O."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)
from msgspec import Struct

# Verifiers must not accept shorter keys, and signers should use 2048 bits (RFC 8301, 3.2).
MIN_RSA_BITS: Final = 1024
GOOD_RSA_BITS: Final = 2048
_ED25519_BYTES: Final = 32
_TAG: Final = re.compile(r"\s*([A-Za-z][A-Za-z0-9_]*)\s*=([^;]*)", re.DOTALL)


class KeyRecordError(ValueError):
    """The record has no key that can be used to verify mail. The error contains the reason."""


class KeyRecord(Struct, frozen=True):
    """A valid key: the value of p= without blanks, a description of the key, and its weaknesses."""

    public_key: str
    shown: str
    warnings: tuple[str, ...] = ()


def parse_tags(text: str) -> dict[str, str] | None:
    """Parse a tag-list (RFC 6376, 3.2). Return None if it is malformed or has a tag twice."""
    tags: dict[str, str] = {}
    for part in text.split(";"):
        if not part.strip():
            continue
        found = _TAG.fullmatch(part)
        if found is None or found[1] in tags:
            return None
        tags[found[1]] = found[2].strip()
    return tags


def parse_record(text: str) -> KeyRecord:
    """Parse a key record. Raises KeyRecordError."""
    tags = parse_tags(text)
    if tags is None:
        raise KeyRecordError(f"{_short(text)} is not a list of tags")
    if "v" in tags and (tags["v"] != "DKIM1" or next(iter(tags)) != "v"):
        raise KeyRecordError(f"v={tags['v']}: v=DKIM1 must come first")
    if "p" not in tags:
        raise KeyRecordError(f"{_short(text)} has no p=")
    key = re.sub(r"\s", "", tags["p"])
    if not key:
        raise KeyRecordError("p= is empty: the key is revoked")
    if "sha256" not in _list(tags, "h", "sha256"):
        raise KeyRecordError(f"h={tags['h']}: mail is signed with sha256")
    if not {"*", "email"} & set(_list(tags, "s", "*")):
        raise KeyRecordError(f"s={tags['s']}: the key is not for mail")
    kind = tags.get("k", "rsa")
    shown, warnings = _read_key(kind, key)
    if "y" in _list(tags, "t", ""):
        warnings = (*warnings, "t=y: in test mode verifiers treat the mail as unsigned")
    return KeyRecord(key, shown, warnings)


def public_key_of(key: RSAPublicKey | Ed25519PublicKey) -> tuple[str, str]:
    """Return the values of k= and p= for a key record with this key."""
    if isinstance(key, Ed25519PublicKey):
        raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
        return "ed25519", base64.b64encode(raw).decode()
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return "rsa", base64.b64encode(der).decode()


def _read_key(kind: str, key: str) -> tuple[str, tuple[str, ...]]:
    try:
        data = base64.b64decode(key, validate=True)
    except binascii.Error:
        raise KeyRecordError(f"p= is not base64: {_short(key)}") from None
    if kind == "ed25519":
        if len(data) != _ED25519_BYTES:
            raise KeyRecordError(f"p= has {len(data)} bytes, Ed25519 has {_ED25519_BYTES}")
        return "Ed25519", ()
    if kind != "rsa":
        raise KeyRecordError(f"k={kind}: neither rsa nor ed25519")
    try:
        loaded = load_der_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise KeyRecordError("p= is not an RSA public key") from None
    if not isinstance(loaded, RSAPublicKey):
        raise KeyRecordError("p= is not an RSA public key")
    bits = loaded.key_size
    if bits < MIN_RSA_BITS:
        raise KeyRecordError(f"RSA of {bits} bits, at least {MIN_RSA_BITS} are required")
    if bits < GOOD_RSA_BITS:
        return f"RSA of {bits} bits", (f"{GOOD_RSA_BITS} bits or more are advised",)
    return f"RSA of {bits} bits", ()


def _list(tags: dict[str, str], name: str, default: str) -> list[str]:
    return [item.strip() for item in tags.get(name, default).split(":")]


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:79] + "…")
