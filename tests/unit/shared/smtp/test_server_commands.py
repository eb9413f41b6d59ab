"""Commands to a server's session: each state decides each of them, plain or padded."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.smtp.server.dialog import ServerOptions
from shared.smtp.server.states import ALLOWED, REFUSED, State
from tests.support.server_session import EHLO, Peer


def test_every_command_is_decided_in_every_state_that_reads_commands() -> None:
    states = {State.GREETED, State.READY, State.MAIL, State.RCPT}
    for verb, allowed in ALLOWED.items():
        for state in states:
            assert (state in allowed) != ((verb, state) in REFUSED), (verb, state)


_COMMANDS = st.sampled_from([
    "EHLO me", "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "RCPT TO:<e@f>", "DATA", "RSET", "NOOP", "text",
    ".", "MAIL FROM:<>", "MAIL FROM:<a@b> SIZE=9", "RCPT TO:<postmaster>", "rcpt to:<G@h.example>",
    "MAIL FROM:<a@b> SIZE=2000", "RCPT TO:<c>",
])  # fmt: skip


@settings(max_examples=300)
@given(st.lists(_COMMANDS, max_size=40), st.booleans())
def test_commands_in_their_plainest_form_are_carried_out_as_all_others(
    lines: list[str], needs_login: bool
) -> None:
    # A space at the end of a command is accepted; the command takes the slow path.
    plain, padded = Peer(), Peer()
    if needs_login:
        options = ServerOptions("mx.example", requires_auth=True)
        plain, padded = Peer(options), Peer(options)
    plain.greet()
    padded.greet()
    for line in lines:
        is_command = padded.session.state is not State.CONTENT
        plain.receive(f"{line}\r\n".encode())
        padded.receive(f"{line} \r\n".encode() if is_command else f"{line}\r\n".encode())
    assert plain.output == padded.output
    assert plain.events == padded.events


NO_ADDRESS = "501 5.1.3 Address not valid; it is written <local-part@domain>"
NEEDS_SMTPUTF8 = "553 5.6.7 Such an address needs SMTPUTF8"


@pytest.mark.parametrize(
    ("path", "reply"),
    [
        (
            "taro..yamada@d.example",
            f'{NO_ADDRESS}: it needs quotes, "taro..yamada"@d.example',
        ),
        (
            "an\u00a0na@d.example",
            f"{NEEDS_SMTPUTF8}: U+00A0 (NO-BREAK SPACE) stands at position 3",
        ),
        ("\u00fc..b@d.example", NO_ADDRESS),
        ("\u00fc@d.example", NEEDS_SMTPUTF8),
        ("a b@d.example", NO_ADDRESS),
    ],
)
def test_a_refused_address_is_told_with_the_likely_mistake(path: str, reply: str) -> None:
    peer = Peer()
    peer.greet()
    peer.receive(EHLO + b"MAIL FROM:<a@b.example>\r\n")
    peer.output = b""
    peer.receive(f"RCPT TO:<{path}>\r\n".encode())
    assert peer.output.decode() == reply + "\r\n"
    peer.receive(f"RSET\r\nMAIL FROM:<{path}>\r\n".encode())
    assert peer.output.decode().endswith(reply.replace("5.1.3", "5.1.7") + "\r\n")
