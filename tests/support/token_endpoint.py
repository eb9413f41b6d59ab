"""A token endpoint (RFC 6749, 4.4) on a free port; a broker checks its tokens by JWKS."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote_plus

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from tests.support.secured_kafka import AUDIENCE, ISSUER

CLIENT_ID = "service account"
SUBJECT = "service-account"


def _part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(key: rsa.RSAPrivateKey, life_s: int) -> str:
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": SUBJECT,
        "iat": now,
        "exp": now + life_s,
        "scope": "kafka",
    }
    head = {"alg": "RS256", "kid": "test", "typ": "JWT"}
    text = ".".join(_part(json.dumps(each).encode()) for each in (head, claims))
    return f"{text}.{_part(key.sign(text.encode(), padding.PKCS1v15(), SHA256()))}"


class TokenEndpoint(ThreadingHTTPServer):
    """Accepts `secret`. `requests` and `accepted` are counters, `scopes` has requested scopes."""

    daemon_threads = True

    def __init__(self, key: rsa.RSAPrivateKey, secret: str) -> None:
        self.key, self.secret = key, secret
        self.requests = self.accepted = 0
        self.scopes: list[str] = []
        self.life_s = 600
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/token"


class _Handler(BaseHTTPRequestHandler):
    server: TokenEndpoint

    def do_POST(self) -> None:
        self.server.requests += 1
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.server.scopes += form.get("scope", [])
        login = self.headers["Authorization"].removeprefix("Basic ")
        user, _, secret = base64.b64decode(login).decode().partition(":")
        if (unquote_plus(user), unquote_plus(secret)) != (CLIENT_ID, self.server.secret):
            self._answer(401, {"error": "invalid_client", "error_description": "who are you?"})
        elif form["grant_type"] != ["client_credentials"]:
            self._answer(400, {"error": "unsupported_grant_type"})
        else:
            self.server.accepted += 1
            life_s = self.server.life_s
            token = signed(self.server.key, life_s)
            body = {"access_token": token, "token_type": "bearer", "expires_in": life_s}
            self._answer(200, body)

    def _answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_args: object) -> None:
        pass


@contextmanager
def serving(key: rsa.RSAPrivateKey, secret: str) -> Iterator[TokenEndpoint]:
    with TokenEndpoint(key, secret) as endpoint:
        thread = threading.Thread(target=endpoint.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield endpoint
        endpoint.shutdown()
