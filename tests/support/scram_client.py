"""The client side of SCRAM-SHA-256, written from RFC 5802 only for the tests."""

from __future__ import annotations

import base64
import hashlib
import hmac

from shared.smtp.server.sasl import ScramKeys, ScramOffer

SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
ITERATIONS = 4096


def keys_of(password: str, salt: bytes = SALT, iterations: int = ITERATIONS) -> ScramKeys:
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    return ScramKeys(hashlib.sha256(client_key).digest(), server_key)


def offer_of(*passwords: str) -> ScramOffer:
    return ScramOffer(SALT, ITERATIONS, tuple(map(keys_of, passwords)))


class ScramClient:
    """One exchange: first(), final(server_first), is_right(server_final)."""

    def __init__(self, name: str, password: str, nonce: str = "abc", gs2: str = "n,,") -> None:
        self._password, self._gs2 = password, gs2
        self._bare = f"n={name},r={nonce}"
        self._signature = b""

    def first(self) -> bytes:
        return (self._gs2 + self._bare).encode()

    def final(self, server_first: bytes) -> bytes:
        parts = dict(part.split("=", 1) for part in server_first.decode().split(","))
        salt, iterations = base64.b64decode(parts["s"]), int(parts["i"])
        salted = hashlib.pbkdf2_hmac("sha256", self._password.encode(), salt, iterations)
        bound = base64.b64encode(self._gs2.encode()).decode()
        without_proof = f"c={bound},r={parts['r']}"
        signed = ",".join((self._bare, server_first.decode(), without_proof)).encode()
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(client_key).digest(), signed, "sha256")
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        server_key = hmac.digest(salted, b"Server Key", "sha256")
        self._signature = hmac.digest(server_key, signed, "sha256")
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def is_right(self, server_final: bytes) -> bool:
        return server_final == b"v=" + base64.b64encode(self._signature)
