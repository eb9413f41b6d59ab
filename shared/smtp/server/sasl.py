"""The server's side of three SASL mechanisms, without I/O: responses in, steps out.

PLAIN (RFC 4616), LOGIN (draft-murchison-sasl-login) and SCRAM-SHA-256 (RFC 5802, 7677).

Owns: the messages of each mechanism and the check of a SCRAM proof. Does not own: base64 and
the lines of SMTP (server_auth.py), who is registered and what a password is worth (the policy).
Promises: never raises for what a peer sends; a SCRAM exchange for an unknown name takes the
same course as one with a wrong password.

Names and passwords are UTF-8 in form NFKC without control characters. The whole of SASLprep
(RFC 4013) is not done: beyond that it only forbids letters nobody can type in a password, and
its Unicode 3.2 would refuse newer ones. Channel binding is not offered, and nobody acts for
another: an authorization identity is empty or the name itself.
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
MAX_NONCE_OCTETS: Final = 512  # clients send some 24
KEY_BYTES: Final = 32  # of SHA-256

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# An extension, with a letter that has no meaning: `m` MUST fail the exchange wherever it stands
# (RFC 5802, 5.1), and a second name, nonce or proof would be read differently by others.
_MORE: Final = rb"(?:,(?![aceimnprsv])[A-Za-z]=[^,\0]+)*"
# gs2-header, authorization identity, client-first-message-bare with its name and nonce.
_CLIENT_FIRST: Final = re.compile(
    rb"(([ny]|p=[A-Za-z0-9.-]+),(?:a=([^,\0]+))?,)(n=([^,\0]+),r=([!-+\--~]+)" + _MORE + rb")"
)
# client-final-message-without-proof with its channel binding and nonce; the proof.
_CLIENT_FINAL: Final = re.compile(
    rb"(c=([A-Za-z0-9+/=]+),r=([!-+\--~]+)" + _MORE + rb"),p=([A-Za-z0-9+/=]+)"
)
_BAD_ESCAPE: Final = re.compile(rb"=(?!2C|3D)")
_NONCE: Final = re.compile(r"[!-+\--~]+")


class ScramKeys(Struct, frozen=True):
    """What one password has become (RFC 5802, 3)."""

    stored_key: bytes
    server_key: bytes

    def __repr__(self) -> str:
        return "ScramKeys(...)"  # a server key belongs in no log


class ScramOffer(Struct, frozen=True):
    """What a SCRAM exchange with one name needs.

    Several keys are several passwords that are valid at once, under one salt and number of
    iterations. No keys: nobody has this name, and the exchange fails at the proof.
    """

    salt: bytes
    iterations: int
    keys: tuple[ScramKeys, ...]


class Challenge(Struct, frozen=True):
    """Send this and wait for the response."""

    data: bytes


class SaslFault(StrEnum):
    """Why a response ends the exchange, in words for the peer."""

    BASE64 = "Not valid base64"
    MESSAGE = "Not a message of this mechanism"
    NAME = "A name or password that cannot be one"
    OTHER = "You may act for yourself only"
    BINDING = "Channel binding is not offered"


Step = Challenge | Login | ScramStart | ScramFinish | SaslFault


def decode_base64(text: bytes) -> bytes | None:
    """Strictly: no other letters, whole groups, unused bits zero; None for anything else."""
    try:
        data = b64decode(text, validate=True)
    except ValueError:
        return None
    return data if b64encode(data) == text else None


def prepare(text: str, max_octets: int) -> str | None:
    """A name or password as it is compared; None where it cannot be one."""
    # Before and after: some letters become eighteen.
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
        """What is sent where the client has sent no initial response."""
        ...

    def receive(self, response: bytes) -> Step:
        """Take a response, decoded."""
        ...


class Plain:
    """One response: authorization identity, name and password, with NUL between."""

    def prompt(self) -> Challenge:
        """An empty challenge."""
        return Challenge(b"")

    def receive(self, response: bytes) -> Step:
        """The one response."""
        parts = response.split(b"\0")
        if len(parts) != 3:
            return SaslFault.MESSAGE
        acts_for, name, password = parts
        return _login(name, password, acts_for)


class LoginExchange:
    """LOGIN: the name, then the password, each a response of its own."""

    __slots__ = ("_name",)

    def __init__(self) -> None:
        self._name: bytes | None = None

    def prompt(self) -> Challenge:
        """The name is asked for; clients know these two texts."""
        return Challenge(b"Username:")

    def receive(self, response: bytes) -> Step:
        """The name, then the password."""
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
    """SCRAM-SHA-256: client-first, server-first, client-final, server-final, an empty line."""

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
        """`nonce` is the server's part. Raises LocalProtocolError where it cannot be one."""
        if _NONCE.fullmatch(nonce) is None:
            raise LocalProtocolError("a nonce is printable ASCII without a comma")
        self._nonce = nonce.encode()
        self._next: Callable[[Scram, bytes], Step] = Scram._client_first
        self._bare = self._binding = self._server_first = b""
        self._offer = ScramOffer(b"", 0, ())
        self._index: int | None = None
        self.name = ""

    def prompt(self) -> Challenge:
        """An empty challenge."""
        return Challenge(b"")

    def receive(self, response: bytes) -> Step:
        """The client's next message."""
        return self._next(self, response)

    def offer(self, offer: ScramOffer) -> Challenge:
        """The server-first-message. Raises LocalProtocolError where nothing may be offered so."""
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
        # The client has verified us, or would have cancelled (RFC 4954, 4).
        self._next = Scram._not_now
        return SaslFault.MESSAGE if response else ScramFinish(self.name, self._index)

    def _not_now(self, _: bytes) -> Step:
        return SaslFault.MESSAGE


# Stands in where nobody has the name, so that the same work is done.
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
