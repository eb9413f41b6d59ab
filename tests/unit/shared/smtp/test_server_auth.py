"""AUTH in a server's session: dialogs read whole, byte by byte, and with trailing bytes."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.smtp.errors import LocalProtocolError
from shared.smtp.extensions import Extensions, parse_extensions
from shared.smtp.server.auth import MAX_RESPONSE_BYTES
from shared.smtp.server.dialog import ServerOptions
from shared.smtp.server.states import ALLOWED, Access, State, order_of
from tests.support.login_session import BAD, EHLO, GOOD, MAIL, NONCE, OPTIONS, Peer, b64, talk
from tests.support.smtp_reading import CUTS, Cut

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
