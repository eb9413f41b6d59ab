"""Access tokens: what an answer means, and when one is fetched again."""

from __future__ import annotations

import pytest

from shared.settings.secret_files import SecretFile
from shared.stream.oauth import Endpoint, Token, TokenFault, TokenProvider, read_answer, refusal_of

ENDPOINT = Endpoint("https://login.example/token", "client", SecretFile("/s"))


class Stage:
    """A provider whose clock and endpoint the test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.requests = 0
        self.fails = False
        self.provider = TokenProvider(ENDPOINT, self._fetch, lambda: self.now)

    def _fetch(self, _endpoint: Endpoint) -> Token:
        self.requests += 1
        if self.fails:
            raise TokenFault("away")
        return Token(f"token-{self.requests}", 60.0)


def test_a_token_is_kept_for_half_of_its_life() -> None:
    stage = Stage()
    assert [stage.provider.token() for _ in range(3)] == ["token-1"] * 3
    stage.now += 29
    assert stage.provider.token() == "token-1"
    stage.now += 2
    assert stage.provider.token() == "token-2"


def test_the_old_token_is_used_as_long_as_it_is_valid() -> None:
    stage = Stage()
    stage.provider.token()
    stage.fails = True
    stage.now += 59
    assert stage.provider.token() == "token-1"
    stage.now += 2
    with pytest.raises(TokenFault, match=r"^no token from https://login.example/token: away$"):
        stage.provider.token()


def test_an_endpoint_that_fails_is_left_alone_for_a_second() -> None:
    stage = Stage()
    stage.fails = True
    for _ in range(5):
        with pytest.raises(TokenFault):
            stage.provider.token()
    assert stage.requests == 1
    stage.fails = False
    stage.now += 1.1
    assert stage.provider.token() == "token-2"


@pytest.mark.parametrize(
    ("body", "token"),
    [
        (b'{"access_token":"a.b.c","expires_in":60}', Token("a.b.c", 60.0)),
        (b'{"access_token":"a","token_type":"bearer","expires_in":"30"}', Token("a", 30.0)),
        (b'{"access_token":"a","other":[1]}', Token("a", 300.0)),
        (b'{"access_token":"a","expires_in":1e12}', Token("a", 86_400.0)),
    ],
)
def test_a_token_and_its_life_are_read(body: bytes, token: Token) -> None:
    assert read_answer(body) == token


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"<html>", b"[]", b"\xff", b"{}", b'{"access_token":""}', b'{"access_token":7}'),
        b'{"access_token":"a b"}',
        b'{"access_token":"a\\u0001auth=x"}',
        b'{"access_token":"a","token_type":"mac"}',
        b'{"access_token":"a","expires_in":0}',
        b'{"access_token":"a","expires_in":-5}',
    ],
)
def test_any_other_answer_is_a_fault(body: bytes) -> None:
    with pytest.raises(TokenFault):
        read_answer(body)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"error":"invalid_client"}', "it answers 401 invalid_client"),
        (b'{"error":"a","error_description":"b\\nc\\u0007"}', "it answers 401 a b c"),
        (b"<html>", "it answers 401"),
    ],
)
def test_a_refusal_is_one_line(body: bytes, text: str) -> None:
    assert refusal_of(401, body) == text
