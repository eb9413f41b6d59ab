"""A peer of a server session that requires a login, and the policy that answers it."""

from __future__ import annotations

from base64 import b64encode

from shared.smtp.events import Ended, Login, ScramFinish, ScramStart, ServerEvent
from shared.smtp.extensions import Extensions
from shared.smtp.reply import Reply
from shared.smtp.server.dialog import ServerOptions
from shared.smtp.server.session import ServerSession
from tests.support.scram_client import offer_of
from tests.support.server_session import accept
from tests.support.smtp_reading import Cut

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
