"""A client's side of a session, without I/O: transactions out, replies in.

Use, on a connection that has been greeted and has said EHLO: `send_transaction()` gives the
bytes to write; each read goes to `receive()`, whose events say what to write next and how the
transaction ended; then the next `send_transaction()`. One transaction at a time.

Where the server offers PIPELINING, [RSET] MAIL RCPT DATA leave in one write (RFC 2920). A
recipient refused after the server has answered DATA with 354 is ended with a lone dot, which
sends nothing to nobody; a transaction left open is ended by a RSET that leaves together with
the next MAIL. The parameters SIZE, BODY=8BITMIME and SMTPUTF8 are given where they are
needed and offered; content with 8-bit bytes for a server that does not offer 8BITMIME is sent
as it is, as it cannot be converted without breaking its signatures.

Owns: which reply belongs to which command. Does not own: time limits, TLS, what a reply means
for the message. Promises: a reply that is out of step raises RemoteProtocolError, after which
the connection is to be closed; nothing from an address or content can become a command. What a
reply has decided stays decided: what comes behind the reply that ends a transaction closes the
session (`is_closing`) and changes nothing, and `decided` is the outcome of a transaction whose
connection breaks later. The reply to the content is read leniently (reply.py).
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from typing import Final

from shared.smtp.content import END_MARK, encode_content
from shared.smtp.errors import LocalProtocolError, RemoteProtocolError
from shared.smtp.events import ClientEvent, Finished, Send, Stage
from shared.smtp.extensions import Extensions
from shared.smtp.grammar import is_mailbox
from shared.smtp.reply import Reply, ReplyParser

_SHUTTING_DOWN: Final = 421  # RFC 5321, 3.8: may come at any time
_START_INPUT: Final = 354
_LONE_DOT: Final = Send(END_MARK, is_content=False)


class Unsendable(StrEnum):
    """Why a message cannot be offered to this server at all, in words for the sender."""

    SENDER = "The sender's address cannot be written in SMTP"
    RECIPIENT = "The recipient's address cannot be written in SMTP"
    SMTPUTF8 = "The address is not ASCII, and the server does not offer SMTPUTF8"


class ClientSession:
    """One connection's dialog after EHLO."""

    __slots__ = (
        "_content",
        "_decided",
        "_expected",
        "_extensions",
        "_is_open",
        "_mail",
        "_parser",
        "_rcpt",
        "_sender",
        "_sender_path",
        "is_answered",
        "is_closing",
        "is_content_sent",
    )

    def __init__(self, extensions: Extensions) -> None:
        self._extensions = extensions
        self._parser = ReplyParser()
        self._expected: deque[Stage] = deque()
        self._decided: Finished | None = None
        self._content = b""
        self._mail = self._rcpt = b""
        self._is_open = False  # the server holds a sender of ours
        self._sender, self._sender_path = "", b"<>"
        # Of the transaction begun last: whether MAIL or RCPT was answered, and whether the
        # content was handed over to its end (the answer to it may still be missing).
        self.is_answered = False
        self.is_content_sent = False
        # The server has said that it closes the connection.
        self.is_closing = False

    @property
    def decided(self) -> Finished | None:
        """The refusal that has decided the transaction under way; None while there is none."""
        return self._decided

    @property
    def waiting_for(self) -> Stage | None:
        """The step whose answer comes next; None between transactions."""
        return self._expected[0] if self._expected else None

    def send_transaction(self, sender: str, recipient: str, content: bytes) -> bytes | Unsendable:
        """Begin a transaction: the bytes to write now. `sender` "" is the null sender.

        Raises LocalProtocolError while another one is under way or after the server's 421.
        """
        if self._expected or self.is_closing:
            raise LocalProtocolError("the session is not ready for a transaction")
        fault = self._set_sender(sender)
        if fault is None and not is_mailbox(recipient):
            fault = Unsendable.RECIPIENT
        is_utf8 = not (sender.isascii() and recipient.isascii())
        if fault is None and is_utf8 and not self._extensions.smtputf8:
            fault = Unsendable.SMTPUTF8
        if fault is not None:
            return fault
        self._content = encode_content(content)
        self._decided = None
        self.is_answered = self.is_content_sent = False
        mail = b"MAIL FROM:%b%b\r\n" % (self._sender_path, self._parameters(content, is_utf8))
        rcpt = b"RCPT TO:<%b>\r\n" % recipient.encode()
        reset = b""
        if self._is_open:
            self._is_open, reset = False, b"RSET\r\n"
            self._expected.append(Stage.RSET)
        if self._extensions.pipelining:
            self._expected += _GROUP
            return b"%b%b%bDATA\r\n" % (reset, mail, rcpt)
        self._mail, self._rcpt = mail, rcpt
        if reset:
            return reset
        self._expected.append(Stage.MAIL)
        return mail

    def receive(self, data: bytes) -> list[ClientEvent]:
        """Take what was read; raises RemoteProtocolError."""
        events: list[ClientEvent] = []
        try:
            self._receive(data, events)
        except RemoteProtocolError:
            if not any(isinstance(event, Finished) for event in events):
                if any(isinstance(event, Send) and event.is_content for event in events):
                    self.is_content_sent = False  # it is never written
                raise
            self._expected.clear()
            self.is_closing = True
        return events

    def _receive(self, data: bytes, events: list[ClientEvent]) -> None:
        event: ClientEvent | None = None
        self._parser.add(data)
        while (reply := self._parser.next_reply()) is not None:
            # What a Send holds is not written yet, so nothing but a 421 can follow it here.
            if isinstance(event, Send) and reply.code != _SHUTTING_DOWN:
                raise RemoteProtocolError(f"an answer before the command: {reply}")
            event = self._take(reply)
            if event is not None:
                events.append(event)
        # A 421 may be cut anywhere; what was answered before it must not be lost with it.
        if not (self._expected or self.is_closing or self._parser.may_become(b"421")):
            raise RemoteProtocolError("bytes that answer no command")

    def quit(self) -> bytes:
        """Say goodbye, between transactions: the bytes to write."""
        if self._expected:
            raise LocalProtocolError("a transaction is under way")
        self._expected.append(Stage.QUIT)
        return b"QUIT\r\n"

    # -- inside

    def _set_sender(self, sender: str) -> Unsendable | None:
        if sender == self._sender:
            return None
        if sender and not is_mailbox(sender):
            return Unsendable.SENDER
        self._sender, self._sender_path = sender, f"<{sender}>".encode()
        return None

    def _parameters(self, content: bytes, is_utf8: bool) -> bytes:
        offered = self._extensions
        words = b" SIZE=%d" % (len(self._content) - len(END_MARK)) if offered.size else b""
        if not is_utf8 and content.isascii():
            return words
        if offered.eight_bit_mime:
            words += b" BODY=8BITMIME"
        if offered.smtputf8 and (is_utf8 or _has_utf8_header(content)):
            words += b" SMTPUTF8"
        return words

    def _take(self, reply: Reply) -> ClientEvent | None:
        code = reply.code
        if not self._expected:
            if code != _SHUTTING_DOWN and not self.is_closing:
                raise RemoteProtocolError(f"a reply that answers no command: {reply}")
            self.is_closing = True
            return None
        stage = self._expected.popleft()
        if code == _SHUTTING_DOWN:
            return self._shut_down(stage, reply)
        if (code == _START_INPUT) != (300 <= code < 400) or (
            (stage is Stage.DATA) != (code == _START_INPUT) and code < 400
        ):
            raise RemoteProtocolError(f"out of step, to {stage.value}: {reply}")
        match stage:
            case Stage.MAIL | Stage.RCPT:
                return self._envelope_answered(stage, reply)
            case Stage.DATA:
                return self._data_answered(reply)
            case Stage.CONTENT:
                self._is_open = self._parser.is_lenient = False
                return self._finish(self._decided or Finished(stage, reply))
            case Stage.RSET:
                return self._reset_answered(reply)
            case _:
                self.is_closing = True
                return None

    def _shut_down(self, stage: Stage, reply: Reply) -> ClientEvent | None:
        self.is_closing = True
        self._expected.clear()
        if stage is Stage.QUIT:
            return None
        if stage is Stage.MAIL or stage is Stage.RCPT:
            self.is_answered = True
        return self._finish(self._decided or Finished(stage, reply))

    def _envelope_answered(self, stage: Stage, reply: Reply) -> ClientEvent | None:
        self.is_answered = True
        if not reply.is_positive:
            if self._decided is None:
                self._decided = Finished(stage, reply)
        elif stage is Stage.MAIL:
            self._is_open = True
        if self._extensions.pipelining:
            return None
        if self._decided is not None:
            return self._finish(self._decided)
        if stage is Stage.MAIL:
            return self._next(Stage.RCPT, self._rcpt)
        return self._next(Stage.DATA, b"DATA\r\n")

    def _data_answered(self, reply: Reply) -> ClientEvent:
        if reply.code != _START_INPUT:
            return self._finish(self._decided or Finished(Stage.DATA, reply))
        self._expected.append(Stage.CONTENT)
        if self._decided is not None:
            return _LONE_DOT
        self.is_content_sent = self._parser.is_lenient = True
        return Send(self._content, is_content=True)

    def _reset_answered(self, reply: Reply) -> ClientEvent | None:
        if not reply.is_positive:
            raise RemoteProtocolError(f"out of step, to rset: {reply}")
        return None if self._extensions.pipelining else self._next(Stage.MAIL, self._mail)

    def _next(self, stage: Stage, line: bytes) -> ClientEvent:
        self._expected.append(stage)
        return Send(line, is_content=False)

    def _finish(self, finished: Finished) -> Finished:
        self._content = b""
        self._decided = None
        return finished


_GROUP: Final = (Stage.MAIL, Stage.RCPT, Stage.DATA)


def _has_utf8_header(content: bytes) -> bool:
    """Whether the header is UTF-8 beyond ASCII; one in another 8-bit code is not declared."""
    ends = (content.find(b"\r\n\r\n"), content.find(b"\n\n"))
    header = content[: min((end for end in ends if end >= 0), default=len(content))]
    if header.isascii():
        return False
    try:
        header.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
