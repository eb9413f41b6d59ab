"""Reads and writes the file with the Ed25519 key that signs statements. The file has the format
PKCS #8 in PEM, and only its owner may read it."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from services.billing.core.closing.statement import encode_public
from shared.runtime.errors import UsageError


def load(path: str) -> Ed25519PrivateKey | None:
    """Load the key. Return None if `path` is "". Raises UsageError."""
    if not path:
        return None
    try:
        key = serialization.load_pem_private_key(Path(path).read_bytes(), password=None)
    except OSError as error:
        raise UsageError(f"billing.signing_key_file: {path}: {error.strerror}") from None
    except (ValueError, TypeError) as error:
        raise UsageError(f"billing.signing_key_file: {path} is not a key in PEM: {error}") from None
    if not isinstance(key, Ed25519PrivateKey):
        kind = type(key).__name__.strip("_")
        raise UsageError(f"billing.signing_key_file: {path}: {kind} was found, Ed25519 is expected")
    return key


def create(path: str) -> Ed25519PrivateKey:
    """Create a key and write it to a new file. Raises UsageError if the file exists."""
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    return key


def load_public(path: str) -> str:
    """Return the 32 bytes of the public key in a PEM file, in base64. Raises UsageError."""
    try:
        key = serialization.load_pem_public_key(Path(path).read_bytes())
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{path} is not a public key in PEM: {error}") from None
    if not isinstance(key, Ed25519PublicKey):
        raise UsageError(f"{path}: not an Ed25519 key")
    return encode_public(key)


def public_pem(key: Ed25519PrivateKey) -> str:
    """Return the public half of the key in PEM."""
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )
