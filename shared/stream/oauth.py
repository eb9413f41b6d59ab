"""Fetches access tokens for OAUTHBEARER (RFC 7628) by the OAuth client credentials grant.

All Kafka clients that are created with the same ClientOptions share one provider. This module owns
the token, which is fetched again after half of its lifetime. If the endpoint does not answer, the
old token is used as long as the old token is valid. The client secret is read from its file for
each request, so a rotated secret needs no restart.

token() runs on a Kafka client's I/O thread. Therefore token() never takes longer than TIMEOUT_S,
even if the endpoint sends one byte at a time. After a failure, the next request is sent RETRY_S
later.
"""

from __future__ import annotations

import base64
import logging
import ssl
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any, Final

import msgspec
from kafka.errors import KafkaConnectionError
from kafka.net.sasl.oauth import AbstractTokenProvider
from msgspec import Struct

from shared.runtime.clock import monotonic
from shared.settings.secret_files import SecretFault, SecretFile

log = logging.getLogger(__name__)

TIMEOUT_S: Final = 3.0
RETRY_S: Final = 1.0
MAX_ANSWER_BYTES: Final = 64 * 1024
# A token without `expires_in` is used for this number of seconds.
DEFAULT_LIFE_S: Final = 300.0
MAX_LIFE_S: Final = 86_400.0


class TokenFault(KafkaConnectionError):  # type: ignore[misc]
    """No token can be obtained. The text is the reason in one line, without a secret."""

    def __str__(self) -> str:
        return str(self.args[0])


class Endpoint(Struct, frozen=True):
    """The endpoint that issues tokens, and the client that requests them."""

    url: str
    client_id: str
    secret: SecretFile
    scope: str = ""
    ca_file: str = ""


class Token(Struct, frozen=True):
    """An access token, and its lifetime in seconds from the answer of the endpoint."""

    text: str
    life_s: float


class _Answer(Struct, frozen=True):
    access_token: str = ""
    token_type: str = "Bearer"  # noqa: S105
    expires_in: float | None = None


class _Refusal(Struct, frozen=True):
    error: str = ""
    error_description: str = ""


def read_answer(body: bytes) -> Token:
    """Read the endpoint's answer (RFC 6749, 5.1). Raises TokenFault."""
    try:
        answer = msgspec.json.decode(body, type=_Answer, strict=False)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TokenFault(f"its answer is no token: {error}") from None
    token = answer.access_token
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise TokenFault("its answer has no access_token")
    if answer.token_type.lower() != "bearer":
        raise TokenFault("its token is no bearer token")
    life_s = DEFAULT_LIFE_S if answer.expires_in is None else answer.expires_in
    if not life_s > 0:
        raise TokenFault("its token has expired already")
    return Token(token, min(life_s, MAX_LIFE_S))


def refusal_of(status: int, body: bytes) -> str:
    """Describe a refusal (RFC 6749, 5.2) in one line."""
    try:
        found = msgspec.json.decode(body, type=_Refusal)
    except (msgspec.DecodeError, UnicodeDecodeError):
        found = _Refusal()
    words = " ".join(f"{found.error} {found.error_description}".split())
    text = "".join(letter for letter in words if letter.isprintable())
    return f"it answers {status} {text[:200]}".rstrip()


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]
    """Stores one token. The I/O threads of all clients call token()."""

    def __init__(
        self,
        endpoint: Endpoint,
        fetch: Callable[[Endpoint], Token] | None = None,
        now: Callable[[], float] = monotonic,
    ) -> None:
        super().__init__()
        self._endpoint = endpoint
        self._fetch = fetch or fetch_token
        self._now = now
        self._lock = threading.Lock()
        self._token = ""
        self._renew_at = self._ends_at = now()
        self._failed: TokenFault | None = None
        self._retry_at = 0.0
        self._fetching: threading.Thread | None = None

    def token(self) -> str:
        """Return a token that is valid now. Raises TokenFault."""
        with self._lock:
            now = self._now()
            if now < self._renew_at:
                return self._token
            if self._failed is None or now >= self._retry_at:
                self._renew()
            if self._failed is not None and self._now() >= self._ends_at:
                raise TokenFault(str(self._failed))
            return self._token

    def _renew(self) -> None:
        try:
            found = self._fetched()
        except TokenFault as error:
            reason = f"no token from {self._endpoint.url}: {error}"
            if self._failed is None:
                log.warning("%s", reason)
            self._failed = TokenFault(reason)
            self._retry_at = self._now() + RETRY_S
            return
        self._failed = None
        self._token = found.text
        self._renew_at = self._now() + found.life_s / 2
        self._ends_at = self._now() + found.life_s

    def _fetched(self) -> Token:
        """Fetch a token in another thread. Abandon the thread if the request takes too long."""
        if self._fetching is not None and self._fetching.is_alive():
            raise TokenFault("it has not answered an earlier request yet")
        results: list[Token | TokenFault] = []

        def fetch() -> None:
            try:
                results.append(self._fetch(self._endpoint))
            except TokenFault as error:
                results.append(error)

        self._fetching = threading.Thread(target=fetch, name="oauth-token", daemon=True)
        self._fetching.start()
        self._fetching.join(TIMEOUT_S)
        match results:
            case [Token() as found]:
                return found
            case [TokenFault() as fault]:
                raise fault
            case _:
                raise TokenFault(f"no answer within {TIMEOUT_S:g} s")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect, so that the secret is sent only to the URL in the settings."""

    def redirect_request(self, *_args: Any, **_options: Any) -> None:
        return None


def fetch_token(endpoint: Endpoint) -> Token:
    """Ask the endpoint. Raises TokenFault."""
    try:
        # The same private CA often signs the certificates of the brokers and of the endpoint.
        context = ssl.create_default_context()
        if endpoint.ca_file:
            context.load_verify_locations(endpoint.ca_file)
        secret = endpoint.secret.read()
    except (OSError, SecretFault) as error:
        raise TokenFault(" ".join(str(error).split())) from None
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}),
        urllib.request.HTTPSHandler(context=context),
        _NoRedirect,
    )
    try:
        with opener.open(_request(endpoint, secret), timeout=TIMEOUT_S) as response:
            return read_answer(response.read(MAX_ANSWER_BYTES))
    except urllib.error.HTTPError as error:
        raise TokenFault(refusal_of(error.code, error.read(MAX_ANSWER_BYTES))) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise TokenFault(" ".join(str(reason).split()) or type(error).__name__) from None


def _request(endpoint: Endpoint, secret: str) -> urllib.request.Request:
    form = {"grant_type": "client_credentials"}
    if endpoint.scope:
        form["scope"] = endpoint.scope
    # RFC 6749, 2.3.1: id and secret are form-encoded before they are joined.
    login = ":".join(map(urllib.parse.quote_plus, (endpoint.client_id, secret)))
    return urllib.request.Request(  # noqa: S310 - the setting is checked: https, or loopback
        endpoint.url,
        data=urllib.parse.urlencode(form).encode(),
        headers={
            "Authorization": "Basic " + base64.b64encode(login.encode()).decode(),
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
        },
    )
