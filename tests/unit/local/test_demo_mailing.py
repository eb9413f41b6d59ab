"""The demo's messages: realistic, reproducible, and each recipient only once."""

from __future__ import annotations

from collections import Counter
from email import message_from_bytes
from email.policy import default
from importlib.resources import files

import pytest

from local.demo.mailing import ACCOUNTS, AGAIN, BEHAVIOURS, CLIENT_AGAIN, once_more, publications
from shared.registry.file.clients_file import parse_clients_yaml
from shared.topics.names import intake

NOW_S = 1_780_000_000.0
PUBLISHED = list(publications(2_000, 1, NOW_S))
CLIENTS = {
    client.name: client
    for client in parse_clients_yaml(
        files("local.demo").joinpath("clients.yaml").read_text("utf-8")
    )
}


def test_the_same_seed_makes_the_same_messages() -> None:
    assert list(publications(50, 7, NOW_S)) == list(publications(50, 7, NOW_S))


def test_no_recipient_occurs_twice() -> None:
    counted = Counter(each.recipient for each in PUBLISHED if each.recipient)
    assert counted.most_common(1)[0][1] == 1


def test_every_account_is_one_of_a_registered_client() -> None:
    for account in ACCOUNTS:
        client = CLIENTS[account.client]
        code = client.code(account.code)
        assert account.sending_domain == client.sending_domain
        assert (account.mailing_id, account.sub_client) == (code.mailing_id, code.sub_client)


def test_there_are_two_clients_of_whom_one_bills_by_sub_client() -> None:
    assert len(CLIENTS) == 2
    assert {bool(client.codes) for client in CLIENTS.values()} == {True, False}


def test_messages_go_to_their_clients_intake_topic() -> None:
    assert {each.topic for each in PUBLISHED} == {intake(name) for name in CLIENTS}
    assert all(each.topic == intake(each.account.client) for each in PUBLISHED)


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_every_behaviour_of_the_sink_is_asked_for(behaviour: str) -> None:
    assert any(each.recipient.startswith(behaviour) for each in PUBLISHED)


def test_most_messages_keep_the_rules_and_some_break_them() -> None:
    records = [message_from_bytes(each.content, policy=default) for each in PUBLISHED]
    broken = [
        message
        for message in records
        if message["Cc"] or message["Return-Path"] or message["Message-ID"] is None
    ]
    assert 5 < len(broken) < 100


def test_messages_are_as_large_as_real_ones() -> None:
    sizes = sorted(len(each.content) for each in PUBLISHED)
    assert 2_000 < sizes[len(sizes) // 2] < 20_000
    assert sizes[-1] > 307_200


def test_the_recipients_who_bounce_again_get_a_different_message_each_time() -> None:
    records = [each for round_ in range(4) for each in once_more(round_, 1 + 2 * round_, 1, NOW_S)]
    assert [each.recipient for each in records] == list(AGAIN) * 4
    assert {each.account.client for each in records} == {CLIENT_AGAIN}
    ids = {message_from_bytes(each.content, policy=default)["Message-ID"] for each in records}
    assert len(ids) == 8
