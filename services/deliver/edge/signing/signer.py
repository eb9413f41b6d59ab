"""DKIM keys: loads the private key and signs content on its way to the pools.

Owns: the key and its algorithm (RFC 6376 RSA, RFC 8463 Ed25519). Does not own: the choice of
signed fields (core/signing/dkim.py). Guarantees: sign() fails for no content; if the sender has no
domain that could publish a key, the content is sent unchanged and unsigned. Each retry is signed
again; retry topics store the content without the signature.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from services.deliver.core.attempt.outcome import Outcome
from services.deliver.core.signing.dkim import Identity, signature_field
from services.deliver.edge.attempt.attempts import Sender
from shared.mail.domains import normalise
from shared.runtime.clock import Clock
from shared.smtp.content import with_crlf
from shared.topics.records import Envelope

PrivateKey = RSAPrivateKey | Ed25519PrivateKey

# RFC 8301, 3.2: signers should use at least 2048 bits; verifiers need not accept more than 4096.
RSA_BITS: Final = range(2048, 4097)
EXPECTED: Final = "an unencrypted private key in PEM: RSA of 2048 to 4096 bits, or Ed25519"


class KeyFault(Exception):
    """The file holds no usable key; the text names the file and what was expected."""


class Signer:
    """Signs for any domain with one key, which each domain publishes under one selector."""

    def __init__(self, key: PrivateKey, selector: str, clock: Clock) -> None:
        self._algorithm, self._sign = _signing(key)
        self._selector = selector
        self._clock = clock

    def sign(self, content: bytes, domain: str) -> bytes:
        """Return the content with CRLF line ends, after a DKIM-Signature field of `domain`."""
        signing_domain = normalise(domain)
        if not signing_domain:
            return content
        content = with_crlf(content)
        identity = Identity(self._algorithm, signing_domain, self._selector)
        now_s = self._clock.now_ms() // 1000
        return signature_field(content, identity, now_s, self._sign) + content


class SigningSender:
    """Signs for the domain of the envelope's sender, then passes the message to another sender."""

    def __init__(self, sender: Sender, signer: Signer) -> None:
        self._sender = sender
        self._signer = signer

    async def send(
        self, envelope: Envelope, content: bytes, begin: Callable[[], bool]
    ) -> Outcome | None:
        """Attempt once with the signed content; see Sender."""
        signed = self._signer.sign(content, envelope.sender.rpartition("@")[2])
        return await self._sender.send(envelope, signed, begin)


def load_key(path: str) -> PrivateKey:
    """Load the private key from a PEM file. Raises KeyFault."""
    try:
        key = load_pem_private_key(Path(path).read_bytes(), password=None)
    except OSError as error:
        raise KeyFault(f"{path}: {error.strerror}; expected {EXPECTED}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # The library's text may quote the file; a TypeError means an encrypted key.
        raise KeyFault(f"{path}: cannot be read as a key; expected {EXPECTED}") from None
    if isinstance(key, Ed25519PrivateKey):
        return key
    if isinstance(key, RSAPrivateKey) and key.key_size in RSA_BITS:
        return key
    bits = f" of {key.key_size} bits" if isinstance(key, RSAPrivateKey) else ""
    kind = type(key).__name__.removesuffix("PrivateKey").lstrip("_")
    raise KeyFault(f"{path}: a key of kind {kind}{bits}; expected {EXPECTED}")


def _signing(key: PrivateKey) -> tuple[str, Callable[[bytes], bytes]]:
    if isinstance(key, RSAPrivateKey):
        padding, algorithm = PKCS1v15(), SHA256()
        return "rsa-sha256", lambda data: key.sign(data, padding, algorithm)
    # RFC 8463, 3: Ed25519 signs the hash.
    return "ed25519-sha256", lambda data: key.sign(sha256(data).digest())
