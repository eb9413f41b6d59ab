"""When the front door stops reading a connection, and that no data is lost meanwhile."""

from __future__ import annotations

import asyncio
from typing import cast

from services.ingest.edge.smtp_server.transport import SLICE_BYTES, SmtpTransport
from services.ingest.edge.writing.mail_ids import MailIds
from shared.smtp.events import Mail, ServerEvent
from shared.smtp.reply import Reply
from shared.smtp.server.dialog import ServerOptions
from shared.smtp.server.session import ServerSession
from shared.topics.ids import ID_CHARS

OK = Reply(250, "2.0.0", "Ok")
MAIL = b"MAIL FROM:<a@news.example>\r\n"
RCPT = b"RCPT TO:<b@r.example>\r\n"


class Transport:
    """Records the calls."""

    def __init__(self) -> None:
        self.written = b""
        self.is_paused = False

    def write(self, data: bytes) -> None:
        self.written += data

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def is_closing(self) -> bool:
        return False

    def set_write_buffer_limits(self, high: int) -> None:
        pass


class Dialog:
    """A greeted session that answers MAIL later and everything else immediately."""

    def __init__(self) -> None:
        self.session = ServerSession(ServerOptions(host="mx.example", max_idle_commands=10_000))
        self.transport = Transport()
        self.wire = SmtpTransport(self.session, self._run)
        self.wire.attach(cast(asyncio.Transport, self.transport))
        self.events: list[ServerEvent] = []
        self.session.greet(Reply(220, "", "mx.example"))
        self.wire.receive(b"EHLO client.example\r\n")
        self.transport.written = b""

    def _run(self) -> None:
        while (event := self.session.next_event()) is not None:
            self.events.append(event)
            if isinstance(event, Mail):
                break
            self.session.answer(OK)
        self.wire.write()

    def answer_mail(self) -> None:
        self.session.answer(OK)
        self.wire.resume()


def test_a_peer_that_waits_for_its_reply_is_not_paused() -> None:
    dialog = Dialog()
    dialog.wire.receive(MAIL)
    assert not dialog.transport.is_paused
    dialog.answer_mail()
    assert not dialog.transport.is_paused
    assert dialog.transport.written == b"250 2.0.0 Ok\r\n"


def test_what_is_sent_ahead_of_a_reply_pauses_reading_and_is_carried_out_after_it() -> None:
    dialog = Dialog()
    dialog.wire.receive(MAIL)
    dialog.wire.receive(RCPT)
    assert dialog.transport.is_paused
    assert dialog.transport.written == b""
    dialog.answer_mail()
    assert not dialog.transport.is_paused
    assert dialog.transport.written == b"250 2.0.0 Ok\r\n" * 2


def test_reading_goes_on_only_after_the_last_of_many_commands_sent_ahead() -> None:
    dialog = Dialog()
    again = MAIL + b"RSET\r\n"
    count = 2 * SLICE_BYTES // len(again)
    dialog.wire.receive(again * count)
    assert dialog.transport.is_paused
    for answered in range(1, count + 1):
        dialog.answer_mail()
        assert dialog.transport.written.count(b"\n") == 2 * answered
    assert not dialog.transport.is_paused


def test_a_peer_that_does_not_read_is_not_read_from_until_it_does() -> None:
    dialog = Dialog()
    dialog.wire.pause_writing()
    assert dialog.transport.is_paused
    dialog.wire.resume_writing()
    assert not dialog.transport.is_paused


def test_mail_ids_differ_from_each_other_and_follow_the_time() -> None:
    mail_ids = MailIds()
    made = [mail_ids.make(1_795_000_000_000) for _ in range(1_000)]
    assert len(set(made)) == len(made)
    assert {len(mail_id) for mail_id in made} == {ID_CHARS}
    assert mail_ids.make(1_795_000_000_001) > max(made)
