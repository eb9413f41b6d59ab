"""The server side of three SASL mechanisms, without I/O. For each response of a client, it returns
the next step.

The mechanisms are PLAIN (RFC 4616), LOGIN (draft-murchison-sasl-login) and SCRAM-SHA-256 (RFC 5802,
RFC 7677).

This module owns the messages of each mechanism and the check of a SCRAM proof. Base64 and the lines
of SMTP are in auth.py. The policy knows the registered names and checks passwords. No data from a
peer raises an exception. For the peer, a SCRAM exchange for an unknown name looks like an exchange
with a wrong password.

Names and passwords are UTF-8 in the form NFKC, without control characters. The other rules of
SASLprep (RFC 4013) are not applied. They only forbid characters that nobody can type, and they are
based on Unicode 3.2, so they would refuse newer characters. Channel binding is not offered. A user
cannot act for another user, so an authorization identity must be empty or equal to the name.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from base64 import b64decode, b64encode
from collections.abc import Callable
from enum import StrEnum
from typing import Final, Protocol

from msgspec import Struct

from shared.smtp.errors import LocalProtocolError
from shared.smtp.events import Login, ScramFinish, ScramStart

MAX_NAME_OCTETS: Final = 255
MAX_PASSWORD_OCTETS: Final = 1_024
MAX_NONCE_OCTETS: Final = 512  # Clients send about 24 octets.
KEY_BYTES: Final = 32  # The length of a SHA-256 hash, in octets.

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# Matches extensions, which are attributes whose letter has no meaning in SCRAM. `m` is excluded,
# because the exchange MUST fail if `m` is used (RFC 5802, 5.1). Letters with a meaning are
# excluded, because other implementations might read a second name, nonce or proof differently.
_MORE: Final = rb"(?:,(?![aceimnprsv])[A-Za-z]=[^,\0]+)*"
# Captures the gs2-header, the authorization identity, and client-first-message-bare with its name
# and nonce.
_CLIENT_FIRST: Final = re.compile(
    rb"(([ny]|p=[A-Za-z0-9.-]+),(?:a=([^,\0]+))?,)(n=([^,\0]+),r=([!-+\--~]+)" + _MORE + rb")"
)
# Captures client-final-message-without-proof with its channel binding and nonce, and the proof.
_CLIENT_FINAL: Final = re.compile(
    rb"(c=([A-Za-z0-9+/=]+),r=([!-+\--~]+)" + _MORE + rb"),p=([A-Za-z0-9+/=]+)"
)
_BAD_ESCAPE: Final = re.compile(rb"=(?!2C|3D)")
_NONCE: Final = re.compile(r"[!-+\--~]+")


class ScramKeys(Struct, frozen=True):
    """The keys of one password (RFC 5802, 3)."""

    stored_key: bytes
    server_key: bytes

    def __repr__(self) -> str:
        return "ScramKeys(...)"  # A server key must not appear in logs.


class ScramOffer(Struct, frozen=True):
    """The data that a SCRAM exchange needs for a name.

    There is one key for each valid password. All keys have the same salt and the same number of
    iterations. If there are no keys, the name does not exist, and the exchange fails when the proof
    is checked.
    """

    salt: bytes
    iterations: int
    keys: tuple[ScramKeys, ...]


class Challenge(Struct, frozen=True):
    """Data that is sent to the client. The client then sends a response."""

    data: bytes


class SaslFault(StrEnum):
    """The reason why a response ends the exchange, as a text for the peer."""

    BASE64 = "Not valid base64"
    MESSAGE = "Not a message of this mechanism"
    NAME = "A name or password that cannot be one"
    OTHER = "You may act for yourself only"
    BINDING = "Channel binding is not offered"


Step = Challenge | Login | ScramStart | ScramFinish | SaslFault


def decode_base64(text: bytes) -> bytes | None:
    """Decode base64. Return None if the text is not canonical or has other characters."""
    try:
        data = b64decode(text, validate=True)
    except ValueError:
        return None
    return data if b64encode(data) == text else None


def prepare(text: str, max_octets: int) -> str | None:
    """Return a name or password in the form in which it is compared. Return None if it is not
    valid."""
    # The lengths of both forms are checked, because normalisation can convert one character to
    # eighteen characters.
    for form in (text, unicodedata.normalize("NFKC", text)):
        try:
            octets = len(form.encode())
        except UnicodeEncodeError:
            return None
        if not 0 < octets <= max_octets or _CONTROL.search(form):
            return None
    return form


def _parse(data: bytes, max_octets: int) -> str | None:
    if len(data) > max_octets:
        return None
    try:
        return prepare(data.decode(), max_octets)
    except UnicodeDecodeError:
        return None


class Mechanism(Protocol):
    """One exchange."""

    def prompt(self) -> Challenge:
        """Return the challenge for a client that has sent no initial response."""
        ...

    def receive(self, response: bytes) -> Step:
        """Process a decoded response."""
        ...


class Plain:
    """PLAIN: one response with the authorization identity, the name and the password, separated by
    NUL."""

    def prompt(self) -> Challenge:
        return Challenge(b"")

    def receive(self, response: bytes) -> Step:
        parts = response.split(b"\0")
        if len(parts) != 3:
            return SaslFault.MESSAGE
        acts_for, name, password = parts
        return _login(name, password, acts_for)


class LoginExchange:
    """LOGIN: one response with the name, and then one response with the password."""

    __slots__ = ("_name",)

    def __init__(self) -> None:
        self._name: bytes | None = None

    def prompt(self) -> Challenge:
        """Ask for the name. Clients recognise the two prompts of LOGIN."""
        return Challenge(b"Username:")

    def receive(self, response: bytes) -> Step:
        if self._name is not None:
            return _login(self._name, response)
        if _parse(response, MAX_NAME_OCTETS) is None:
            return SaslFault.NAME
        self._name = response
        return Challenge(b"Password:")


def _login(name: bytes, password: bytes, acts_for: bytes = b"") -> Login | SaslFault:
    username = _parse(name, MAX_NAME_OCTETS)
    text = _parse(password, MAX_PASSWORD_OCTETS)
    if username is None or text is None:
        return SaslFault.NAME
    if acts_for and _parse(acts_for, MAX_NAME_OCTETS) != username:
        return SaslFault.OTHER
    return Login(username, text)


class Scram:
    """SCRAM-SHA-256: four messages, from client-first to server-final, and an empty response."""

    __slots__ = (
        "_bare",
        "_binding",
        "_index",
        "_next",
        "_nonce",
        "_offer",
        "_server_first",
        "name",
    )

    def __init__(self, nonce: str) -> None:
        """`nonce` is the server's part of the nonce. Raises LocalProtocolError if it is invalid."""
        if _NONCE.fullmatch(nonce) is None:
            raise LocalProtocolError("a nonce is printable ASCII without a comma")
        self._nonce = nonce.encode()
        self._next: Callable[[Scram, bytes], Step] = Scram._client_first
        self._bare = self._binding = self._server_first = b""
        self._offer = ScramOffer(b"", 0, ())
        self._index: int | None = None
        self.name = ""

    def prompt(self) -> Challenge:
        return Challenge(b"")

    def receive(self, response: bytes) -> Step:
        return self._next(self, response)

    def offer(self, offer: ScramOffer) -> Challenge:
        """Return the server-first-message. Raises LocalProtocolError if the offer is not valid."""
        sizes = {len(key) for keys in offer.keys for key in (keys.stored_key, keys.server_key)}
        if not offer.salt or offer.iterations < 1 or sizes - {KEY_BYTES}:
            raise LocalProtocolError("an offer has a salt, iterations and keys of 32 bytes")
        self._offer = offer
        salt = b64encode(offer.salt)
        self._server_first = b"r=%b,s=%b,i=%d" % (self._nonce, salt, offer.iterations)
        self._next = Scram._client_final
        return Challenge(self._server_first)

    def _client_first(self, message: bytes) -> Step:
        found = _CLIENT_FIRST.fullmatch(message)
        if found is None or len(found[6]) > MAX_NONCE_OCTETS:
            return SaslFault.MESSAGE
        if found[2].startswith(b"p"):
            return SaslFault.BINDING
        name = _saslname(found[5])
        if name is None:
            return SaslFault.NAME
        if found[3] is not None and _saslname(found[3]) != name:
            return SaslFault.OTHER
        self._binding, self._bare, self.name = b64encode(found[1]), found[4], name
        self._nonce = found[6] + self._nonce
        self._next = Scram._not_now
        return ScramStart(name)

    def _client_final(self, message: bytes) -> Step:
        self._next = Scram._not_now
        found = _CLIENT_FINAL.fullmatch(message)
        proof = decode_base64(found[4]) if found is not None else None
        if found is None or proof is None or len(proof) != KEY_BYTES:
            return SaslFault.MESSAGE
        is_same = hmac.compare_digest(found[2], self._binding)
        if not (hmac.compare_digest(found[3], self._nonce) and is_same):
            return SaslFault.MESSAGE
        signed = b",".join((self._bare, self._server_first, found[1]))
        self._index = _matching_key(self._offer.keys, signed, proof)
        if self._index is None:
            return ScramFinish(self.name, None)
        signature = hmac.digest(self._offer.keys[self._index].server_key, signed, hashlib.sha256)
        self._next = Scram._last
        return Challenge(b"v=" + b64encode(signature))

    def _last(self, response: bytes) -> Step:
        # The client has verified the server, because otherwise it would have cancelled the exchange
        # (RFC 4954, 4).
        self._next = Scram._not_now
        return SaslFault.MESSAGE if response else ScramFinish(self.name, self._index)

    def _not_now(self, _: bytes) -> Step:
        return SaslFault.MESSAGE


# For an unknown name, the proof is checked with this key, so that the check takes as long as for a
# known name.
_NOBODY: Final = ScramKeys(bytes(KEY_BYTES), bytes(KEY_BYTES))


def _matching_key(keys: tuple[ScramKeys, ...], signed: bytes, proof: bytes) -> int | None:
    matching: int | None = None
    for index, key in enumerate(keys or (_NOBODY,)):
        signature = hmac.digest(key.stored_key, signed, hashlib.sha256)
        client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
        is_right = hmac.compare_digest(hashlib.sha256(client_key).digest(), key.stored_key)
        if is_right and keys and matching is None:
            matching = index
    return matching


def _saslname(text: bytes) -> str | None:
    if _BAD_ESCAPE.search(text):
        return None
    return _parse(text.replace(b"=2C", b",").replace(b"=3D", b"="), MAX_NAME_OCTETS)
