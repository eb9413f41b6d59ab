"""The client side of a session, without I/O: encodes transactions and parses replies.

Use a ClientSession after the greeting and EHLO. `send_transaction()` returns the bytes to write.
Pass each read to `receive()`. It returns events: the next bytes to write, and the end of the
transaction. Call `send_transaction()` again only after the end of the transaction.

If the server offers PIPELINING, [RSET] MAIL RCPT DATA are sent in one write (RFC 2920). If the
recipient is refused but the server answers DATA with 354, the client sends only a single dot, so
nobody gets a message. If the server offers CHUNKING, the content is sent as one BDAT chunk (RFC
3030) after the recipient has been accepted. If BDAT were sent with RCPT and the connection broke
before a reply, the result would be unknown. A server that offers CHUNKING but does not know BDAT
has not accepted the message (`is_chunking_refused`). BDAT is not answered with 354, so another
positive reply could be mistaken for the reply to the content. So `chunking` is only for trusted
servers. RSET is sent before the next MAIL if a transaction is still open. The parameters SIZE,
BODY=8BITMIME and SMTPUTF8 are sent if they are needed and offered. In three cases, the result is
Unsendable and nothing is written: 8-bit content without 8BITMIME (RFC 6152, 3), raw UTF-8 in the
header without SMTPUTF8 (RFC 6531, 3.4), and content above the server's SIZE (RFC 1870, 6.1). The
caller converts content if possible (see `takes`).

This module assigns replies to commands. It does not own time limits, TLS, and the meaning of a
reply for the message. An unexpected reply raises RemoteProtocolError, and then the connection must
be closed. No part of an address or of the content can become a command. An outcome is final when
its reply has arrived. Further bytes after this reply close the session (`is_closing`), but do not
change the outcome. If the connection breaks after a refusal, `decided` is the outcome. The reply to
the content is parsed leniently (reply.py).

A second reply to the same content may arrive after the next MAIL, and then looks like the reply to
MAIL. So after earlier content, a refusal of MAIL is valid only if the following replies are as
expected. If a reply is unexpected, the message has no result. Without PIPELINING, RSET is sent
after each message, because the reply to RSET shows whether there was a second reply.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from shared.smtp.content import END_MARK
from shared.smtp.errors import LocalProtocolError, RemoteProtocolError
from shared.smtp.events import ClientEvent, Finished, Send, Stage
from shared.smtp.extensions import (
    Extensions,
    Unsendable,
    encode_for,
    has_utf8_header,
    mail_parameters,
)
from shared.smtp.grammar import is_mailbox
from shared.smtp.reply import Reply, ReplyParser

_SHUTTING_DOWN: Final = 421  # A server may send 421 at any time (RFC 5321, 3.8).
_START_INPUT: Final = 354
# These codes refuse the command, not the message (RFC 5321, 4.2.4).
_UNKNOWN_COMMAND: Final = range(500, 505)
_GROUP: Final = (Stage.MAIL, Stage.RCPT, Stage.DATA)
_ENVELOPE: Final = (Stage.MAIL, Stage.RCPT)
_LONE_DOT: Final = Send(END_MARK, is_content=False)


class ClientSession:
    """The dialog of one connection after EHLO."""

    __slots__ = (
        "_content",
        "_decided",
        "_expected",
        "_extensions",
        "_has_sent_content",
        "_is_open",
        "_is_suspect",
        "_mail",
        "_parser",
        "_rcpt",
        "_sender",
        "_sender_path",
        "is_answered",
        "is_chunking_refused",
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
        self._is_open = False  # True if RSET must be sent before the next MAIL.
        self._has_sent_content = False  # True if an earlier transaction sent content.
        self._is_suspect = False  # True if the refusal of MAIL may be a reply to earlier content.
        self._sender, self._sender_path = "", b"<>"
        self.is_answered = False  # True if MAIL or RCPT of the last transaction was answered.
        self.is_content_sent = False  # True if the whole content of the last transaction was sent.
        self.is_chunking_refused = False  # True if the server offers CHUNKING but not BDAT.
        self.is_closing = False  # True if the server announced that it closes the connection.

    @property
    def decided(self) -> Finished | None:
        """Return the refusal that decided the open transaction, or None if it is not decided."""
        return None if self._is_suspect else self._decided

    @property
    def waiting_for(self) -> Stage | None:
        """Return the step whose reply is expected next. Return None between transactions."""
        return self._expected[0] if self._expected else None

    @property
    def takes_eight_bit(self) -> bool:
        """Return True if 8-bit content may be sent. SMTPUTF8 implies 8BITMIME (RFC 6531, 3.1)."""
        return self._extensions.eight_bit_mime or self._extensions.smtputf8

    def takes(self, content: bytes) -> bool:
        """Return True if the server accepts the bytes of this content. The size is not checked."""
        if self._extensions.smtputf8 or content.isascii():
            return True
        return self._extensions.eight_bit_mime and not has_utf8_header(content)

    def send_transaction(self, sender: str, recipient: str, content: bytes) -> bytes | Unsendable:
        """Begin a transaction. Return the bytes to write. The null sender is "".

        Raises LocalProtocolError during another transaction, and after a 421 of the server.
        """
        if self._expected or self.is_closing:
            raise LocalProtocolError("the session is not ready for a transaction")
        fault = self._set_sender(sender)
        if fault is None and not is_mailbox(recipient):
            fault = Unsendable.RECIPIENT
        is_utf8 = not (sender.isascii() and recipient.isascii())
        if fault is None and is_utf8 and not self._extensions.smtputf8:
            fault = Unsendable.SMTPUTF8
        if fault is None and not self.takes(content):
            fault = Unsendable.EIGHT_BIT_HEADER if self.takes_eight_bit else Unsendable.EIGHT_BIT
        if fault is not None:
            return fault
        encoded, size_bytes = encode_for(self._extensions, content)
        if 0 < self._extensions.size_limit_bytes < size_bytes:
            return Unsendable.TOO_LARGE
        self._content = encoded
        self._decided = None
        self._has_sent_content |= self.is_content_sent
        self._is_suspect = self.is_answered = self.is_content_sent = False
        parameters = mail_parameters(self._extensions, content, size_bytes, is_utf8)
        mail = b"MAIL FROM:%b%b\r\n" % (self._sender_path, parameters)
        rcpt = b"RCPT TO:<%b>\r\n" % recipient.encode()
        reset = b""
        if self._is_open:
            self._is_open, reset = False, b"RSET\r\n"
            self._expected.append(Stage.RSET)
        if self._extensions.pipelining:
            if self._extensions.chunking:
                self._expected += _ENVELOPE
                return reset + mail + rcpt
            self._expected += _GROUP
            return b"%b%b%bDATA\r\n" % (reset, mail, rcpt)
        self._mail, self._rcpt = mail, rcpt
        if reset:
            return reset
        self._expected.append(Stage.MAIL)
        return mail

    def receive(self, data: bytes) -> list[ClientEvent]:
        """Process received data. Raises RemoteProtocolError."""
        events: list[ClientEvent] = []
        try:
            self._receive(data, events)
        except RemoteProtocolError:
            if not any(isinstance(event, Finished) for event in events):
                if any(isinstance(event, Send) and event.is_content for event in events):
                    self.is_content_sent = False  # The caller will not write the content.
                raise
            self._expected.clear()
            self.is_closing = True
        return events

    def _receive(self, data: bytes, events: list[ClientEvent]) -> None:
        event: ClientEvent | None = None
        self._parser.add(data)
        while (reply := self._parser.next_reply()) is not None:
            # The caller has not written the bytes of a Send yet, so only a 421 can follow here.
            if isinstance(event, Send) and reply.code != _SHUTTING_DOWN:
                raise RemoteProtocolError(f"an answer before the command: {reply}")
            event = self._take(reply)
            if event is not None:
                events.append(event)
        # A read may end within a 421. In this case, the replies before the 421 must not be lost.
        if not (self._expected or self.is_closing or self._parser.may_become(b"421")):
            raise RemoteProtocolError("bytes that answer no command")

    def quit(self) -> bytes:
        """Begin QUIT, which is allowed between transactions. Return the bytes to write."""
        if self._expected:
            raise LocalProtocolError("a transaction is under way")
        self._expected.append(Stage.QUIT)
        return b"QUIT\r\n"

    def _set_sender(self, sender: str) -> Unsendable | None:
        if sender == self._sender:
            return None
        if sender and not is_mailbox(sender):
            return Unsendable.SENDER
        self._sender, self._sender_path = sender, f"<{sender}>".encode()
        return None

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
            raise self._out_of_step(stage, reply)
        match stage:
            case Stage.MAIL | Stage.RCPT:
                return self._envelope_answered(stage, reply)
            case Stage.DATA:
                return self._data_answered(reply)
            case Stage.CONTENT:
                self._parser.is_lenient = False
                self._is_open = not self._extensions.pipelining
                if self._extensions.chunking and code in _UNKNOWN_COMMAND:
                    self.is_content_sent, self.is_chunking_refused = False, True
                    raise RemoteProtocolError(f"it offers CHUNKING and refuses BDAT: {reply}")
                return self._finish(self._decided or Finished(stage, reply))
            case Stage.RSET:
                return self._reset_answered(reply)
            case _:
                self.is_closing = True
                return None

    def _out_of_step(self, stage: Stage, reply: Reply) -> RemoteProtocolError:
        if self._has_sent_content:
            self._decided = None
        return RemoteProtocolError(f"out of step, to {stage.value}: {reply}")

    def _shut_down(self, stage: Stage, reply: Reply) -> ClientEvent | None:
        self.is_closing = True
        self._expected.clear()
        if stage is Stage.QUIT:
            return None
        if stage is Stage.MAIL or stage is Stage.RCPT:
            self.is_answered = True
        return self._finish(self.decided or Finished(stage, reply))

    def _envelope_answered(self, stage: Stage, reply: Reply) -> ClientEvent | None:
        self.is_answered = True
        is_positive = 200 <= reply.code < 300  # The same as Reply.is_positive, but without a call.
        if not is_positive:
            if self._decided is None:
                self._decided = Finished(stage, reply)
            self._is_suspect = stage is Stage.MAIL and self._has_sent_content
        elif stage is Stage.MAIL:
            self._is_open = True
        is_pipelining, is_chunking = self._extensions.pipelining, self._extensions.chunking
        if is_pipelining and (stage is Stage.MAIL or not is_chunking):
            return None
        if self._decided is not None:
            if self._is_suspect and is_positive:
                raise self._out_of_step(stage, reply)
            self._is_suspect = False
            return self._finish(self._decided)
        if stage is Stage.MAIL:
            return self._next(Stage.RCPT, self._rcpt)
        return self._send_content() if is_chunking else self._next(Stage.DATA, b"DATA\r\n")

    def _data_answered(self, reply: Reply) -> ClientEvent:
        if reply.code != _START_INPUT:
            if self._is_suspect:
                raise self._out_of_step(Stage.DATA, reply)
            return self._finish(self._decided or Finished(Stage.DATA, reply))
        self._is_suspect = False
        if self._decided is not None:
            self._expected.append(Stage.CONTENT)
            return _LONE_DOT
        return self._send_content()

    def _send_content(self) -> Send:
        self._expected.append(Stage.CONTENT)
        self.is_content_sent = self._parser.is_lenient = True
        return Send(self._content, is_content=True)

    def _reset_answered(self, reply: Reply) -> ClientEvent | None:
        if not reply.is_positive:
            raise self._out_of_step(Stage.RSET, reply)
        return None if self._extensions.pipelining else self._next(Stage.MAIL, self._mail)

    def _next(self, stage: Stage, line: bytes) -> ClientEvent:
        self._expected.append(stage)
        return Send(line, is_content=False)

    def _finish(self, finished: Finished) -> Finished:
        self._content = b""
        self._decided = None
        return finished
