"""Signs content with the DKIM keys that are in force for its client and domain.

Owns: the algorithms (RFC 6376 RSA, RFC 8463 Ed25519), the order of several signatures. Does not
own: the choice of signed fields (core/signing/dkim.py), which keys sign what
(shared/mailauth/dkim_keys), following their folder (key_follower.py), when content is signed
(preparing.py). Guarantees: sign() fails for no content; if the sender has no domain that could
publish a key, or no key is in force for it, the content is sent unchanged and unsigned. Each retry
is signed again; retry topics store the content without the signature.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256

from services.deliver.core.signing.dkim import BodyForm, Identity, Signable
from shared.mail.domains import normalise
from shared.mailauth.dkim_keys.folder import PrivateKey
from shared.mailauth.dkim_keys.table import KeyIndex
from shared.runtime.clock import Clock
from shared.smtp.content import with_crlf

Sign = Callable[[bytes], bytes]


class KeySource(Protocol):
    """Holds the keys in force."""

    @property
    def index(self) -> KeyIndex[PrivateKey]:
        """The keys; replaced as a whole when they change."""
        ...


class FixedKeys:
    """Keys that never change."""

    def __init__(self, index: KeyIndex[PrivateKey]) -> None:
        self.index = index


class Signer:
    """Signs for any domain: as many signatures as keys are in force, one per algorithm."""

    def __init__(self, keys: KeySource, clock: Clock, form: BodyForm = BodyForm.RELAXED) -> None:
        self._keys = keys
        self._clock = clock
        self._form = form

    def sign(self, content: bytes, domain: str, client: str = "") -> bytes:
        """Return the content with CRLF line ends, after the DKIM-Signature fields of `domain`."""
        signing_domain = normalise(domain)
        if not signing_domain:
            return content
        now_s = self._clock.now_ms() // 1000
        keys = self._keys.index.choose(client, signing_domain, now_s)
        if not keys:
            return content
        content = with_crlf(content)
        message = Signable(content, self._form)
        fields = [
            message.signature_field(
                Identity(key.algorithm, signing_domain, key.entry.selector),
                now_s,
                _signing(key.key),
            )
            for key in keys
        ]
        return b"".join([*fields, content])


def _signing(key: PrivateKey) -> Sign:
    if isinstance(key, RSAPrivateKey):
        return lambda data: key.sign(data, PKCS1v15(), SHA256())
    # RFC 8463, 3: Ed25519 signs the hash.
    return lambda data: key.sign(sha256(data).digest())
