"""A client's session in a transaction, and the replies that a server may give."""

from __future__ import annotations

from shared.smtp.client.session import ClientSession
from shared.smtp.events import ClientEvent, Finished, Send, Stage
from shared.smtp.extensions import Extensions
from shared.smtp.reply import Reply
from tests.support.smtp_reading import Cut

PIPELINING = Extensions(pipelining=True)
FULL = Extensions(pipelining=True, size=True, eight_bit_mime=True, smtputf8=True)
GROUP = b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n"
CONTENT = b"Subject: x\r\n\r\n.hi\r\n"
ENCODED = b"Subject: x\r\n\r\n..hi\r\n.\r\n"
SEND = Send(ENCODED, is_content=True)
LONE_DOT = Send(b".\r\n", is_content=False)
GO = b"354 go\r\n"
OK = b"250 2.0.0 ok\r\n"


def begin(extensions: Extensions = PIPELINING) -> ClientSession:
    session = ClientSession(extensions)
    session.send_transaction("a@b", "c@d", CONTENT)
    return session


def feed(session: ClientSession, cut: Cut, data: bytes) -> list[ClientEvent]:
    """Read the replies; data after a 354 arrives later, in a separate read."""
    *groups, last = data.split(GO)
    reads = [part for group in groups for part in cut(group + GO)]
    return [event for part in [*reads, *cut(last)] for event in session.receive(part)]


def finished(stage: Stage, code: int, text: str = "no") -> Finished:
    return Finished(stage, Reply(code, "", text))
