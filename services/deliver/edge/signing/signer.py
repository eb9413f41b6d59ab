"""Signs content with the DKIM keys in force for its client and domain; reloads changed keys.

Owns: the algorithms (RFC 6376 RSA, RFC 8463 Ed25519), the order of several signatures, the keys in
force. Does not own: the choice of signed fields (core/signing/dkim.py), the key files and the
choice of a key (shared/mailauth/dkim_keys), the time of the signature (preparing.py), the times of
the checks for changed files (app.py).

Guarantees: sign() never fails, no matter what the content is. If the sender has no domain that
could publish a key, or if no key is in force for the domain, the content is sent unchanged and
unsigned. Each retry is signed again, because retry topics store the content without the signature.
Changed key files are in force a few seconds later. If changed files cannot be used, the previous
keys stay in force, and each fault is logged once. The files are read outside the event loop, and
the signer sees either all old keys or all new keys.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from hashlib import sha256
from typing import Final, Protocol

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256

from services.deliver.core.signing.dkim import BodyForm, Identity, Signable
from shared.mail.domains import normalise
from shared.mailauth.dkim_keys.folder import KeyFault, KeyFolder, PrivateKey, algorithm_of, load_key
from shared.mailauth.dkim_keys.table import Key, KeyEntry, KeyIndex
from shared.runtime.clock import Clock
from shared.runtime.errors import UsageError
from shared.smtp.content import with_crlf

log = logging.getLogger(__name__)

Sign = Callable[[bytes], bytes]

# A check for changes calls stat() once per key file. This takes 20 ms for 10,000 files, outside the
# event loop.
LOOK_S: Final = 5.0


class KeySource(Protocol):
    """Holds the keys in force."""

    @property
    def index(self) -> KeyIndex[PrivateKey]:
        """Return the keys. When they change, the whole index is replaced."""
        ...


class FixedKeys:
    """Keys that never change."""

    def __init__(self, index: KeyIndex[PrivateKey]) -> None:
        self.index = index


class Signer:
    """Signs for any domain, with one signature per algorithm for which a key is in force."""

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


class KeyFollower:
    """The keys of a folder, and the common key of `deliver.dkim_key_file`.

    The common key signs for the domains that have no key in the folder.
    """

    def __init__(self, folder: str, key_file: str = "", selector: str = "") -> None:
        """Raises UsageError if a named file contains no usable key."""
        self._folder = KeyFolder(folder) if folder else None
        self._common: tuple[Key[PrivateKey], ...] = ()
        self._fault = ""
        if key_file:
            try:
                self._common = (_common_key(key_file, selector),)
            except KeyFault as error:
                raise UsageError(f"deliver.dkim_key_file: {error}") from None
        try:
            self.index = self._load()
        except KeyFault as error:
            raise UsageError(f"deliver.dkim_keys: {error}") from None

    def _load(self) -> KeyIndex[PrivateKey]:
        keys = self._folder.load() if self._folder is not None else []
        return KeyIndex([*self._common, *keys])

    def refresh(self) -> None:
        """Load the folder if it has changed. May be called in another thread."""
        if self._folder is None or not self._folder.has_changed():
            return
        try:
            self.index = self._load()
        except KeyFault as error:
            self._report(str(error))
        else:
            self._fault = ""
            log.info("DKIM keys reloaded", extra={"folder": str(self._folder.path)})

    def _report(self, reason: str) -> None:
        if reason != self._fault:
            log.error(
                "the changed DKIM keys cannot be used; the previous keys stay in force",
                extra={"reason": reason},
            )
        self._fault = reason


def _signing(key: PrivateKey) -> Sign:
    if isinstance(key, RSAPrivateKey):
        return lambda data: key.sign(data, PKCS1v15(), SHA256())
    # RFC 8463, 3: Ed25519 signs the hash.
    return lambda data: key.sign(sha256(data).digest())


def _common_key(key_file: str, selector: str) -> Key[PrivateKey]:
    key = load_key(key_file)
    return Key(KeyEntry(selector, "-"), algorithm_of(key), key)
