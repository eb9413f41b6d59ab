"""Files of DKIM keys: loads private keys, makes new ones (RFC 6376, RFC 8463).

Owns: which keys are accepted, the form of a key file. Does not own: when a key is used (table.py),
the folder that deliver follows (folder.py). No key is ever part of a text.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from shared.mailauth.dkim_keys.table import ED25519, RSA

PrivateKey = RSAPrivateKey | Ed25519PrivateKey

# RFC 8301, 3.2: signers should use at least 2048 bits; verifiers need not accept more than 4096.
RSA_BITS: Final = range(2048, 4097)
EXPECTED: Final = "an unencrypted private key in PEM: RSA of 2048 to 4096 bits, or Ed25519"
_PUBLIC_EXPONENT: Final = 65_537
# A key of 4096 bits has 3.2 KB.
_MAX_BYTES: Final = 64 * 1024


class KeyFault(Exception):
    """The file holds no usable key; the text names the file and what was expected."""


def load_key(path: str | Path) -> PrivateKey:
    """Load the private key from a PEM file. Raises KeyFault."""
    try:
        with Path(path).open("rb") as file:
            key = load_pem_private_key(file.read(_MAX_BYTES), password=None)
    except OSError as error:
        raise KeyFault(f"{path}: {error.strerror}; it must hold {EXPECTED}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # The library's text may quote the file; a TypeError means an encrypted key.
        raise KeyFault(f"{path}: cannot be read as a key; it must hold {EXPECTED}") from None
    if isinstance(key, Ed25519PrivateKey):
        return key
    if isinstance(key, RSAPrivateKey) and key.key_size in RSA_BITS:
        return key
    bits = f" of {key.key_size} bits" if isinstance(key, RSAPrivateKey) else ""
    kind = type(key).__name__.removesuffix("PrivateKey").lstrip("_")
    raise KeyFault(f"{path}: a key of kind {kind}{bits}; it must hold {EXPECTED}")


def algorithm_of(key: PrivateKey) -> str:
    """The a= of a key's signatures."""
    return RSA if isinstance(key, RSAPrivateKey) else ED25519


def make_key(algorithm: str, rsa_bits: int) -> PrivateKey:
    """Make a new key."""
    if algorithm == ED25519:
        return Ed25519PrivateKey.generate()
    return rsa.generate_private_key(public_exponent=_PUBLIC_EXPONENT, key_size=rsa_bits)


def write_key(path: Path, key: PrivateKey) -> None:
    """Write a key to a new file that only its owner can read. Raises OSError."""
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
