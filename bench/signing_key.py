"""A temporary DKIM key for one run."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

RSA_BITS: Final = 2048


def write(path: Path) -> Path:
    """Write a new RSA key as PEM, readable only by its owner; return the path."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path
