"""AUTH in a server's session: dialogs read whole, byte by byte, and with trailing bytes."""

from __future__ import annotations

from base64 import b64decode, b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.smtp.errors import LocalProtocolError
from shared.smtp.events import (
    Ended,
    Login,
    Mail,
    ScramFinish,
    ScramStart,
    ServerEvent,
)
from shared.smtp.extensions import Extensions, parse_extensions
from shared.smtp.reply import Reply
from shared.smtp.server.auth import MAX_RESPONSE_BYTES
from shared.smtp.server.options import ServerOptions
from shared.smtp.server.session import ServerSession
from shared.smtp.server.states import ALLOWED, Access, State, order_of
from tests.support.scram_client import ScramClient, offer_of
from tests.support.server_session import accept
from tests.support.smtp_reading import CUTS, Cut

NONCE = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
OPTIONS = ServerOptions(
    "mx.example",
    Extensions(starttls=True),
    max_errors=3,
    auth_mechanisms=("SCRAM-SHA-256", "PLAIN", "LOGIN"),
    requires_auth=True,
    is_secure=True,
    nonce=lambda: NONCE,
)
PASSWORDS = {"acme": ("new secret", "old secret"), "user": ("pencil",)}
OFFERS = {name: offer_of(*passwords) for name, passwords in PASSWORDS.items()}
LET_IN = Reply(235, "2.7.0", "Welcome")
WRONG = Reply(535, "5.7.8", "Wrong name or password")
EHLO = b"EHLO me\r\n"
MAIL = b"MAIL FROM:<a@b.example>\r\n"


def b64(data: bytes) -> bytes:
    return b64encode(data) + b"\r\n"


GOOD = b"AUTH PLAIN " + b64(b"\0acme\0old secret")
BAD = b"AUTH PLAIN " + b64(b"\0acme\0wrong")


class Peer:
    """A session with a policy that accepts PASSWORDS; records what happened."""

    def __init__(self, options: ServerOptions = OPTIONS) -> None:
        self.session = ServerSession(options)
        self.events: list[ServerEvent] = []
        self.output = b""
        self.session.greet(Reply(220, "", "mx.example ESMTP"))
        self.session.take_output()

    def receive(self, data: bytes) -> bytes:
        """Return the reply to these bytes."""
        self.session.receive(data)
        while (event := self.session.next_event()) is not None:
            self.events.append(event)
            self.decide(event)
        answered = self.session.take_output()
        self.output += answered
        return answered

    def decide(self, event: ServerEvent) -> None:
        match event:
            case Login(username=name, password=password):
                is_right = password in PASSWORDS.get(name, ())
                self.session.answer(LET_IN if is_right else WRONG)
            case ScramStart(username=name):
                self.session.answer_scram(OFFERS.get(name, offer_of()))
            case ScramFinish(key_index=index):
                self.session.answer(WRONG if index is None else LET_IN)
            case Ended():
                pass
            case _:
                self.session.answer(accept(event))

    @property
    def codes(self) -> list[int]:
        return [int(line[:3]) for line in self.output.split(b"\r\n")[:-1] if line[3:4] != b"-"]


def talk(cut: Cut, data: bytes, options: ServerOptions = OPTIONS) -> Peer:
    peer = Peer(options)
    for part in cut(data):
        peer.receive(part)
    return peer


# The client's commands after the greeting, the codes of the replies, the login at the end.
DIALOGS = [
    (GOOD, [503], ""),
    (EHLO + GOOD, [250, 235], "acme"),
    (EHLO + b"auth plain " + GOOD[11:], [250, 235], "acme"),
    (EHLO + b"AUTH PLAIN\r\n" + GOOD[11:], [250, 334, 235], "acme"),
    (EHLO + b"AUTH LOGIN\r\n" + b64(b"acme") + b64(b"new secret"), [250, 334, 334, 235], "acme"),
    (EHLO + b"AUTH LOGIN " + b64(b"acme") + b64(b"new secret"), [250, 334, 235], "acme"),
    (EHLO + b"AUTH LOGIN " + b64(b"acme") + b64(b"wrong"), [250, 334, 535], ""),
    (EHLO + BAD + GOOD + MAIL, [250, 535, 235, 250], "acme"),
    (EHLO + GOOD + GOOD, [250, 235, 503], "acme"),
    (EHLO + GOOD + b"RSET\r\n" + EHLO + MAIL, [250, 235, 250, 250, 250], "acme"),
    (EHLO + GOOD + MAIL + GOOD, [250, 235, 250, 503], "acme"),
    (EHLO + MAIL, [250, 530], ""),
    (MAIL, [503], ""),
    (EHLO + BAD + MAIL, [250, 535, 530], ""),
    (EHLO + GOOD + b"MAIL FROM:<a@b> AUTH=<>\r\n", [250, 235, 250], "acme"),
    (EHLO + GOOD + b"MAIL FROM:<a@b> AUTH=e+3Dmc2@b SIZE=1\r\n", [250, 235, 555], "acme"),
    (EHLO + b"AUTH  PLAIN " + GOOD[11:], [250, 235], "acme"),
    (EHLO + b"AUTH PLAIN  " + GOOD[11:], [250, 235], "acme"),
    (EHLO + b"AUTH   PLAIN   " + GOOD[11:-2] + b"  \r\n", [250, 235], "acme"),
    (EHLO + b"AUTH  PLAIN \r\n" + GOOD[11:-2] + b"  \r\n", [250, 334, 235], "acme"),
    (
        EHLO + b"AUTH  LOGIN  " + b64(b"acme") + b64(b"new secret")[:-2] + b" \r\n",
        [250, 334, 235],
        "acme",
    ),
    (EHLO + b"AUTH PLAIN  =  \r\n", [250, 535], ""),
    (EHLO + b"AUTH PLAIN\r\n* \r\nNOOP\r\n", [250, 334, 501, 250], ""),
    (EHLO + b"AUTH PLAIN\r\n  \r\n", [250, 334, 535], ""),
    (EHLO + b"AUTH PLAIN\r\n " + GOOD[11:], [250, 334, 501], ""),
    (EHLO + b"AUTH  \r\n", [250, 501], ""),
    (EHLO + b"AUTH\r\n", [250, 501], ""),
    (EHLO + b"AUTH GSSAPI\r\n", [250, 504], ""),
    (EHLO + b"AUTH SCRAM-SHA-256-PLUS\r\n", [250, 504], ""),
    (EHLO + b"AUTH PLAIN =\r\n", [250, 535], ""),
    (EHLO + b"AUTH LOGIN =\r\n", [250, 535], ""),
    (EHLO + b"AUTH PLAIN not base64\r\n", [250, 501], ""),
    (EHLO + b"AUTH PLAIN AAA\r\n", [250, 501], ""),
    (EHLO + b"AUTH PLAIN\r\n=\r\n", [250, 334, 501], ""),
    (EHLO + b"AUTH PLAIN\r\n\r\n", [250, 334, 535], ""),
    (EHLO + b"AUTH PLAIN\r\n\xff\r\n", [250, 334, 501], ""),
    (EHLO + b"AUTH PLAIN\r\n*\r\nNOOP\r\n", [250, 334, 501, 250], ""),
    (EHLO + b"AUTH LOGIN\r\n" + b64(b"acme") + b"*\r\n", [250, 334, 334, 501], ""),
    (EHLO + b"AUTH PLAIN\r\nNOOP\r\nNOOP\r\n", [250, 334, 535, 250], ""),
    (EHLO + b"AUTH PLAIN\r\n" + b64(b"beta\0acme\0new secret"), [250, 334, 535], ""),
    (EHLO + BAD * 4 + GOOD, [250, 535, 535, 535, 421], ""),
    (EHLO + b"AUTH PLAIN\r\n*\r\n" * 4, [250, 334, 501, 334, 501, 334, 501, 334, 421], ""),
    (EHLO + b"AUTH PLAIN\r\nx\n", [250, 334, 521], ""),
    (EHLO + b"AUTH PLAIN\r\n" + b"A" * MAX_RESPONSE_BYTES, [250, 334, 500, 421], ""),
    (EHLO + b"AUTH PLAIN\r\n" + b"A" * 12_284 + b"\r\n", [250, 334, 535], ""),
    (EHLO + b"AUTH PLAIN " + b64(b"\0acme\0" + b"x" * 1024), [250, 535], ""),
    (EHLO + b"AUTH SCRAM-SHA-256 " + b64(b"p=tls-exporter,,n=user,r=x"), [250, 535], ""),
    (EHLO + b"AUTH SCRAM-SHA-256 " + b64(b"n,,n=user,r=x") + b64(b"x"), [250, 334, 535], ""),
    (EHLO + b"AUTH SCRAM-SHA-256 " + b64(b"n,,n=user,r=x") + b"*\r\n", [250, 334, 501], ""),
]


@CUTS
@pytest.mark.parametrize(("said", "codes", "name"), DIALOGS)
def test_a_dialog_is_answered(cut: Cut, said: bytes, codes: list[int], name: str) -> None:
    peer = talk(cut, said)
    assert (peer.codes, peer.session.authenticated_as) == (codes, name)


@CUTS
@pytest.mark.parametrize(("said", "codes", "name"), DIALOGS)
def test_half_a_line_behind_a_dialog_changes_nothing(
    cut: Cut, said: bytes, codes: list[int], name: str
) -> None:
    peer = talk(cut, said + b"QUI")
    assert (peer.codes, peer.session.authenticated_as) == (codes, name)


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


def test_auth_is_neither_offered_nor_taken_before_tls_and_starttls_forgets_a_login() -> None:
    options = ServerOptions(
        "mx", Extensions(starttls=True), auth_mechanisms=("PLAIN",), requires_auth=True
    )
    peer = Peer(options)
    assert b"AUTH" not in peer.receive(EHLO)
    assert not peer.session.is_secure
    assert peer.receive(GOOD).startswith(b"538 5.7.11 Encryption required")
    assert peer.receive(MAIL).startswith(b"530 5.7.0 ")
    peer.receive(b"STARTTLS\r\n")
    peer.session.tls_started()
    assert peer.session.is_secure
    assert peer.receive(GOOD).startswith(b"503 5.5.1 ")
    assert b"250 AUTH PLAIN\r\n" in peer.receive(EHLO)
    assert peer.receive(GOOD).startswith(b"235 ")
    assert b"502" in peer.receive(b"STARTTLS\r\n")


def test_what_is_offered_is_what_ehlo_says() -> None:
    offered = parse_extensions(
        "\n".join(line[4:] for line in Peer().receive(EHLO).decode().split("\r\n"))
    )
    assert offered.auth == OPTIONS.auth_mechanisms
    assert not offered.starttls


def test_without_mechanisms_auth_is_no_command_and_no_parameter() -> None:
    peer = Peer(ServerOptions("mx", is_secure=True))
    assert b"AUTH" not in peer.receive(EHLO)
    assert peer.receive(GOOD) == b"502 5.5.1 Command not implemented\r\n"
    assert peer.receive(b"MAIL FROM:<a@b> AUTH=<>\r\n").startswith(b"555 ")


def test_a_login_that_is_not_required_may_be_left_out() -> None:
    options = ServerOptions("mx", auth_mechanisms=("PLAIN",), is_secure=True)
    assert Peer(options).receive(EHLO + MAIL).endswith(b"250 2.1.0 Ok\r\n")


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


@pytest.mark.parametrize("mechanisms", [("SCRAM-SHA-256",), ("CRAM-MD5",), ("plain",)])
def test_what_cannot_be_offered_is_told_when_the_options_are_made(
    mechanisms: tuple[str, ...],
) -> None:
    with pytest.raises(LocalProtocolError):
        ServerOptions("mx", auth_mechanisms=mechanisms)


@pytest.mark.parametrize("access", Access)
@pytest.mark.parametrize("requires_login", [False, True])
def test_every_order_decides_every_command_in_every_state_that_reads_commands(
    access: Access, requires_login: bool
) -> None:
    order = order_of(access, requires_login)
    for verb, allowed in order.allowed.items():
        for state in (State.GREETED, State.READY, State.MAIL, State.RCPT):
            assert (state in allowed) != ((verb, state) in order.refused), (verb, state)
    assert ALLOWED.keys() - order.allowed.keys() == (
        {"AUTH"} if access is Access.NO_AUTH else set()
    )


_WORDS = st.sampled_from([
    b"AUTH PLAIN", b"AUTH LOGIN", b"AUTH SCRAM-SHA-256", b" ", b"=", b"*", b"\r\n", b"\n", b"x",
    b"\0", b"\xff", EHLO, GOOD, BAD, MAIL, b64(b"acme"), b64(b"new secret"), b64(b"n,,n=user,r=x"),
    b64(b"c=biws,r=x" + NONCE.encode() + b",p=" + b64encode(bytes(32))), b"QUIT\r\n",
])  # fmt: skip


@settings(max_examples=300)
@given(st.lists(st.one_of(_WORDS, st.binary(max_size=8)), max_size=30), st.integers(1, 9))
def test_no_bytes_raise_and_however_they_are_cut_the_answers_are_the_same(
    parts: list[bytes], size: int
) -> None:
    data = EHLO + b"".join(parts)
    one = talk(lambda data: iter([data]), data)
    other = talk(
        lambda data: iter([data[at : at + size] for at in range(0, len(data), size)]), data
    )
    assert one.output == other.output
    assert one.events == other.events
    assert (one.session.authenticated_as == "") == (b"235 2.7.0" not in one.output)
