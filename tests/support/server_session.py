"""A peer of a server session, and the answers of a policy."""

from __future__ import annotations

from collections.abc import Callable

from shared.smtp.events import Content, Data, Ended, Hello, Mail, Recipient, ServerEvent, StartTls
from shared.smtp.reply import Reply
from shared.smtp.server.dialog import ServerOptions
from shared.smtp.server.session import ServerSession
from tests.support.smtp_reading import Cut

OPTIONS = ServerOptions("mx.example", max_content_bytes=1000, max_recipients=2, max_errors=3)


ANSWERS: dict[type[ServerEvent], Reply] = {
    Hello: Reply(250, "", ""),
    Mail: Reply(250, "2.1.0", "Ok"),
    Recipient: Reply(250, "2.1.5", "Ok"),
    Data: Reply(354, "", "Go on"),
    Content: Reply(250, "2.0.0", "Ok"),
    StartTls: Reply(220, "2.0.0", "Go on"),
}


EHLO = b"EHLO me\r\n"


ENVELOPE = b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n"


Policy = Callable[[ServerEvent], Reply]


def accept(event: ServerEvent) -> Reply:
    if isinstance(event, Content) and event.refusal is not None:
        return event.refusal
    return ANSWERS[type(event)]


class Peer:
    """A session with a policy that answers immediately; records what happened."""

    def __init__(self, options: ServerOptions = OPTIONS, policy: Policy = accept) -> None:
        self.session = ServerSession(options)
        self.policy = policy
        self.events: list[ServerEvent] = []
        self.output = b""

    def greet(self) -> None:
        self.session.greet(Reply(220, "", "mx.example ESMTP"))
        self.run()
        self.output = b""

    def receive(self, data: bytes) -> None:
        self.session.receive(data)
        self.run()

    def run(self) -> None:
        while (event := self.session.next_event()) is not None:
            self.events.append(event)
            if not isinstance(event, Ended):
                self.session.answer(self.policy(event))
        self.output += self.session.take_output()

    @property
    def codes(self) -> list[int]:
        return [int(line[:3]) for line in self.output.split(b"\r\n")[:-1] if line[3:4] != b"-"]


def talk(cut: Cut, data: bytes, options: ServerOptions = OPTIONS) -> Peer:
    peer = Peer(options)
    peer.greet()
    for part in cut(data):
        peer.receive(part)
    return peer
