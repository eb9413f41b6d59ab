"""The client side of SCRAM-SHA-256 in which each part can be invalid: `{scram ...}`.

{scram first GS2 BARE}    the first message: base64 of both together
{scram final}             the final message to the last reply, with the correct proof
{scram final c=TEXT}      the same with another channel binding, and the proof for it
{scram final r=TEXT}      with another nonce
{scram final more=TEXT}   with this before the proof
{scram final p=TEXT}      with this proof
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from functools import lru_cache


class ScramTalk:
    """One exchange and its progress; the reader of the replies sets `last_reply`."""

    def __init__(self, password: str) -> None:
        self._password = password
        self._gs2 = self._bare = ""
        self.last_reply = ""

    def say(self, what: str) -> bytes:
        """Return the base64 of a message, without CRLF."""
        kind, _, rest = what.partition(" ")
        if kind == "first":
            self._gs2, _, self._bare = rest.partition(" ")
            return b64encode((self._gs2 + self._bare).encode("utf-8", "surrogateescape"))
        return b64encode(self._final(dict(part.split("=", 1) for part in rest.split())).encode())

    def _final(self, changed: dict[str, str]) -> str:
        server_first = b64decode(self.last_reply.partition(" ")[2]).decode()
        parts = dict(part.split("=", 1) for part in server_first.split(","))
        binding = b64encode(changed.get("c", self._gs2).encode()).decode()
        start = f"c={binding},r={changed.get('r', parts['r'])}{changed.get('more', '')}"
        signed = ",".join((self._bare, server_first, start)).encode()
        salted = _salted(self._password, parts["s"], int(parts["i"]))
        key = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(key).digest(), signed, "sha256")
        proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
        return f"{start},p={changed.get('p', b64encode(proof).decode())}"


@lru_cache(16)
def _salted(password: str, salt: str, iterations: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", password.encode(), b64decode(salt), iterations)
