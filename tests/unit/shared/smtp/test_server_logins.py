"""Logins that a server's session waits for: SCRAM exchanges, and the policy's answers."""

from __future__ import annotations

from base64 import b64decode

import pytest

from shared.smtp.errors import LocalProtocolError
from shared.smtp.events import Ended, Login, Mail, ScramFinish, ScramStart, ServerEvent
from shared.smtp.reply import Reply
from tests.support.login_session import EHLO, GOOD, LET_IN, MAIL, OFFERS, PASSWORDS, Peer, b64
from tests.support.scram_client import ScramClient


def scram(peer: Peer, client: ScramClient) -> bytes:
    """Run the exchange up to the client's proof; return the reply."""
    peer.receive(EHLO + b"AUTH SCRAM-SHA-256\r\n")
    server_first = peer.receive(b64(client.first()))
    assert server_first.startswith(b"334 ")
    return peer.receive(b64(client.final(b64decode(server_first[4:]))))


def test_the_example_of_rfc_7677_logs_in() -> None:
    peer, client = Peer(), ScramClient("user", "pencil", "rOprNGfwEbeRWgbNEkqO")
    answer = scram(peer, client)
    assert b64decode(answer[4:]) == b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    assert peer.session.authenticated_as == ""  # the client may still cancel
    assert peer.receive(b"\r\n" + MAIL) == b"235 2.7.0 Welcome\r\n250 2.1.0 Ok\r\n"
    assert peer.session.authenticated_as == "user"
    assert peer.events[1:3] == [ScramStart("user"), ScramFinish("user", 0)]


def test_scram_takes_both_passwords_of_a_rotation() -> None:
    for index, password in enumerate(PASSWORDS["acme"]):
        peer = Peer()
        scram(peer, ScramClient("acme", password, gs2="y,a=acme,"))
        peer.receive(b"\r\n")
        assert peer.events[-1] == ScramFinish("acme", index)
        assert peer.session.authenticated_as == "acme"


@pytest.mark.parametrize("name", ["acme", "nobody"])
def test_an_unknown_name_is_refused_where_a_wrong_password_is(name: str) -> None:
    peer = Peer()
    assert scram(peer, ScramClient(name, "wrong")) == b"535 5.7.8 Wrong name or password\r\n"
    assert peer.events[-1] == ScramFinish(name, None)
    assert peer.receive(GOOD) == b"235 2.7.0 Welcome\r\n"


def test_a_client_that_does_not_trust_the_server_final_cancels() -> None:
    peer = Peer()
    scram(peer, ScramClient("user", "pencil"))
    assert peer.receive(b"*\r\n") == b"501 5.7.0 Authentication cancelled\r\n"
    assert not any(isinstance(event, ScramFinish) for event in peer.events)
    assert peer.session.authenticated_as == ""


def waiting(data: bytes) -> tuple[Peer, ServerEvent]:
    """A session whose login event waits."""
    peer = Peer()
    peer.receive(EHLO)
    peer.session.receive(data)
    event = peer.session.next_event()
    assert event is not None
    return peer, event


def test_an_event_that_waits_holds_back_what_follows() -> None:
    peer, event = waiting(GOOD + MAIL)
    assert event == Login("acme", "old secret")
    assert peer.session.next_event() is None
    assert not peer.session.wants_data
    peer.session.answer(LET_IN)
    assert isinstance(peer.session.next_event(), Mail)


def test_scram_start_may_be_refused_and_a_421_ends_the_session() -> None:
    first = b"AUTH SCRAM-SHA-256 " + b64(b"n,,n=user,r=x")
    peer, event = waiting(first)
    assert event == ScramStart("user")
    peer.session.answer(Reply(454, "4.7.0", "Later"))
    assert peer.receive(b"NOOP\r\n") == b"454 4.7.0 Later\r\n250 2.0.0 Ok\r\n"
    peer, _ = waiting(first)
    peer.session.answer(Reply(421, "4.7.0", "Too many failed logins"))
    assert peer.session.next_event() == Ended("the policy ended it")


def wrong_proof() -> Peer:
    peer, _ = waiting(b"AUTH SCRAM-SHA-256 " + b64(b"n,,n=acme,r=abc"))
    peer.session.answer_scram(OFFERS["acme"])
    server_first = b64decode(peer.session.take_output()[4:])
    peer.session.receive(b64(ScramClient("acme", "wrong").final(server_first)))
    assert peer.session.next_event() == ScramFinish("acme", None)
    return peer


def test_a_wrong_proof_cannot_be_let_in() -> None:
    peer = wrong_proof()
    with pytest.raises(LocalProtocolError):
        peer.session.answer(LET_IN)
    assert peer.session.authenticated_as == ""


@pytest.mark.parametrize("code", [250, 334, 354])
def test_a_login_is_answered_with_235_or_a_refusal(code: int) -> None:
    for data in (GOOD, b"AUTH SCRAM-SHA-256 " + b64(b"n,,n=user,r=x")):
        peer, _ = waiting(data)
        with pytest.raises(LocalProtocolError):
            peer.session.answer(Reply(code))
        assert peer.session.authenticated_as == ""


def test_a_salt_answers_scram_start_only() -> None:
    with pytest.raises(LocalProtocolError):
        Peer().session.answer_scram(OFFERS["acme"])
    peer, _ = waiting(GOOD)
    with pytest.raises(LocalProtocolError):
        peer.session.answer_scram(OFFERS["acme"])
    peer, _ = waiting(b"AUTH SCRAM-SHA-256 " + b64(b"n,,n=user,r=x"))
    with pytest.raises(LocalProtocolError):
        peer.session.answer(LET_IN)
