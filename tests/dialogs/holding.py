"""Runs one dialog with a server and judges its replies."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from tests.dialogs.peers import Peer
from tests.dialogs.scram import ScramTalk
from tests.dialogs.script import (
    PASSWORD,
    Close,
    Expect,
    Leave,
    Plain,
    Say,
    Script,
    Stage,
    StartTls,
    Step,
    Words,
)


def _line(text: str) -> Say:
    return Say(text, is_line=True)


_GREETING: Final = (Expect("220 "),)
_HELLO: Final = (_line("EHLO client.example"), Expect("250 "))
_TLS: Final = (_line("STARTTLS"), Expect("220 "), StartTls(goes_well=True))
_LOGIN: Final = (_line("AUTH PLAIN {PLAIN}"), Expect("235 "))
_DATA: Final = (_line("{ENVELOPE}"), Expect("250 "), Expect("250 "), Expect("354 "))
_TLS_SECURED: Final = (*_GREETING, *_HELLO, *_TLS, *_HELLO)
LEADING: Final[dict[Stage, tuple[Step, ...]]] = {
    Stage.CONNECTED: (),
    Stage.GREETED: _GREETING,
    Stage.HELLO: (*_GREETING, *_HELLO),
    Stage.TLS: (*_GREETING, *_HELLO, *_TLS),
    Stage.SECURED: _TLS_SECURED,
    Stage.LOGIN: (*_TLS_SECURED, *_LOGIN),
    Stage.DATA: (*_TLS_SECURED, *_LOGIN, *_DATA),
    Stage.SMTPS: _GREETING,
}
_GOODBYE: Final = (_line("QUIT"), Expect("221 "), Close())


def hold(script: Script, peer: Peer, more: Mapping[str, str] | None = None) -> None:
    """Run all steps; AssertionError if the server does something else.

    `more`: names that the script may use beside those of every script.
    """
    scram = ScramTalk(PASSWORD)
    words = Words(script, scram.say, more or {})
    steps = (*LEADING[script.start], *script.steps)
    if not isinstance(steps[-1], Close | Leave):
        steps += _GOODBYE
    unsent = b""
    for number, step in enumerate(steps, 1 - len(LEADING[script.start])):
        if isinstance(step, Say):
            unsent += words.fill(step.text) + (b"\r\n" if step.is_line else b"")
            continue
        if unsent:
            peer.send(unsent)
            unsent = b""
        match step:
            case Expect(pattern=pattern):
                scram.last_reply = found = peer.reply()
                assert re.match(pattern, found), f"step {number}: {pattern!r}, found {found!r}"
            case StartTls(goes_well=goes_well):
                assert peer.start_tls() is goes_well, f"step {number}: TLS"
            case Plain(text=text):
                peer.send_past_tls(words.fill(text))
            case Close():
                assert peer.rest() == ("", True), f"step {number}: it has not hung up silently"
            case Leave():
                pass
    assert peer.accepted == script.messages
