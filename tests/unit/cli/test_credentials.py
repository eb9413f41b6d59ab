"""Passwords as keys: derived as in RFC 7677, verified, rotated, kept by an apply."""

from __future__ import annotations

import msgspec
import pytest
from click.testing import CliRunner

from cli.clients import command
from cli.clients.credentials import main, summary
from shared.registry.client import Client, decode_client, encode_client
from shared.registry.credentials import (
    DEFAULT_ITERATIONS,
    MAX_CREDENTIALS,
    Credential,
    derive,
    make_credential,
    new_password,
    rotated,
    verify,
)
from shared.registry.store.changes import Changes, changed_fields, plan_changes
from tests.support.scram_client import ITERATIONS, SALT, keys_of

ITS_DAY_MS = 1_795_521_600_000  # 2026-11-24T12:00Z
ACME = Client("acme", "news.acme.example", "returns@acme.example", "M-1")


def quick(password: str, at_ms: int = ITS_DAY_MS) -> Credential:
    return make_credential(password, at_ms, iterations=2)


def with_credentials(client: Client = ACME) -> Client:
    return msgspec.structs.replace(client, credentials=rotated((quick("old"),), "new", 5))


def test_keys_are_those_of_rfc_7677() -> None:
    keys = derive("pencil", SALT, ITERATIONS)
    wanted = keys_of("pencil")
    assert (keys.stored_key, keys.server_key) == (wanted.stored_key, wanted.server_key)


def test_one_password_in_two_writings_has_the_same_keys() -> None:
    composed, decomposed = "p\u00e4ssword", "pa\u0308ssword"
    assert derive(composed, SALT, 2) == derive(decomposed, SALT, 2)
    assert derive("\udc80", SALT, 2) != derive(composed, SALT, 2)


def test_a_password_is_right_for_its_own_credential() -> None:
    new, old = with_credentials().credentials
    assert verify("new", (new, old)) == 0
    assert verify("old", (new, old)) == 1
    assert verify("old", (new,)) is None
    assert verify("other", (new, old)) is None
    assert verify("new", ()) is None
    assert verify("x", (quick("y"), quick("x"))) == 1  # different salts


def test_a_rotation_keeps_the_password_before_and_no_older_one() -> None:
    credentials = rotated((quick("one"),), "two", 2)
    credentials = rotated(credentials, "three", 3)
    assert len(credentials) == MAX_CREDENTIALS
    assert [verify(word, credentials) for word in ("three", "two", "one")] == [0, 1, None]
    assert len({(each.salt, each.iterations) for each in credentials}) == 1
    assert [each.created_at_ms for each in credentials] == [3, 2]


def test_the_first_password_of_a_rotation_has_a_salt_of_its_own_and_the_usual_iterations() -> None:
    (one,), (other,) = rotated((), "word", 1), rotated((), "word", 1)
    assert one.salt != other.salt
    assert one.iterations == DEFAULT_ITERATIONS


def test_generated_passwords_have_32_letters_and_differ() -> None:
    passwords = {new_password() for _ in range(50)}
    assert len(passwords) == 50
    assert {len(password) for password in passwords} == {32}


def test_credentials_survive_the_record_and_older_records_have_none() -> None:
    client = with_credentials()
    assert decode_client("acme", encode_client(client)) == client
    assert b"credentials" not in encode_client(ACME)
    assert decode_client("acme", encode_client(ACME)).credentials == ()


def test_the_frozen_record_of_a_client_with_credentials_is_still_read() -> None:
    value = (
        b'{"name":"acme","sending_domain":"news.acme.example",'
        b'"forwarding_address":"returns@acme.example","mailing_id":"M-1","credentials":[{'
        b'"salt":"c2FsdA==","iterations":2,"stored_key":"AwQ=","server_key":"AQI=",'
        b'"created_at_ms":7}]}'
    )
    client = decode_client("acme", value)
    assert client.credentials == (Credential(b"salt", 2, b"\x03\x04", b"\x01\x02", 7),)
    assert encode_client(client) == value


def test_an_apply_neither_drops_nor_changes_credentials() -> None:
    registered = {"acme": with_credentials()}
    kept = registered["acme"].credentials
    assert plan_changes([ACME], registered) == Changes(unchanged=("acme",))
    changed = msgspec.structs.replace(ACME, hard_limit=7)
    (written,) = plan_changes([changed], registered).changed
    assert (written.hard_limit, written.credentials) == (7, kept)
    stolen = msgspec.structs.replace(ACME, credentials=(quick("mine"),))
    assert plan_changes([stolen], registered) == Changes(unchanged=("acme",))


def test_a_difference_shows_no_keys() -> None:
    assert changed_fields(ACME, with_credentials()) == {}
    client = with_credentials()
    shown = repr(client)
    for credential in client.credentials:
        assert repr(credential.stored_key) not in shown
        assert repr(credential.server_key) not in shown


def test_a_summary_says_how_many_and_since_when() -> None:
    assert summary(()) == "0"
    assert summary((quick("x"),)) == "1, set 2026-11-24"


def test_the_commands_are_a_group_of_clients() -> None:
    assert command.main.commands["credentials"] is main
    assert sorted(main.commands) == ["drop-old", "list", "rotate", "set"]


@pytest.mark.parametrize("verb", ["set", "rotate"])
@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (b"", "has 0 characters; at least 12 are required"),
        (b"\n", "has 0 characters"),
        (b"elevenchars\n", "has 11 characters; at least 12 are required"),
        (b"\xff" * 12, "must be UTF-8"),
        (b"twelve\0chars", "without control characters"),
        (b"x" * 1025, "at most 1024 bytes"),
    ],
)
def test_a_password_that_cannot_be_one_is_refused_before_kafka_is_asked(
    verb: str, typed: bytes, said: str
) -> None:
    arguments = [verb, "acme", "--password-stdin", "--kafka", "127.0.0.1:1"]
    answer = CliRunner().invoke(main, arguments, input=typed)
    assert answer.exit_code == 2
    assert said in answer.stderr
    assert answer.stdout == ""
