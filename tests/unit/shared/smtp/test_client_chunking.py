"""CHUNKING: the content follows an accepted recipient as one BDAT chunk (RFC 3030)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.smtp.client.session import ClientSession
from shared.smtp.content import with_crlf
from shared.smtp.errors import RemoteProtocolError
from shared.smtp.events import ClientEvent, Finished, Send, Stage
from shared.smtp.extensions import Extensions, Unsendable, encode_extensions, parse_extensions
from shared.smtp.reply import Reply
from tests.support.client_session import CONTENT, OK, finished
from tests.support.smtp_reading import CUTS, Cut

CHUNKING = Extensions(pipelining=True, chunking=True)
ONE_BY_ONE = Extensions(chunking=True)
ENVELOPE = b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"
CHUNK = Send(b"BDAT %d LAST\r\n%b" % (len(CONTENT), CONTENT), is_content=True)
ACCEPTED = Finished(Stage.CONTENT, Reply(250, "2.0.0", "ok"))

# The replies to envelope and chunk, the events, the bytes before the next MAIL.
DIALOGS: list[tuple[list[bytes], list[ClientEvent], bytes]] = [
    ([OK + OK, OK], [CHUNK, ACCEPTED], b""),
    ([OK + OK, b"552 too big\r\n"], [CHUNK, finished(Stage.CONTENT, 552, "too big")], b""),
    ([OK + OK, b"451 no\r\n"], [CHUNK, finished(Stage.CONTENT, 451)], b""),
    ([OK + b"550 no\r\n"], [finished(Stage.RCPT, 550)], b"RSET\r\n"),
    ([b"550 no\r\n503 x\r\n"], [finished(Stage.MAIL, 550)], b""),
    ([b"451 no\r\n250 x\r\n"], [finished(Stage.MAIL, 451)], b""),
]


def begin(extensions: Extensions = CHUNKING) -> ClientSession:
    session = ClientSession(extensions)
    session.send_transaction("a@b", "c@d", CONTENT)
    return session


def feed(session: ClientSession, cut: Cut, replies: list[bytes]) -> list[ClientEvent]:
    parts = [part for reply in replies for part in cut(reply)]
    return [event for part in parts for event in session.receive(part)]


def test_the_envelope_leaves_in_one_write_and_without_data() -> None:
    assert ClientSession(CHUNKING).send_transaction("a@b", "c@d", CONTENT) == ENVELOPE


@CUTS
@pytest.mark.parametrize(("replies", "events", "reset"), DIALOGS)
def test_no_content_is_sent_before_the_recipient_is_accepted(
    cut: Cut, replies: list[bytes], events: list[ClientEvent], reset: bytes
) -> None:
    session = begin()
    assert feed(session, cut, replies) == events
    assert session.waiting_for is None
    assert session.send_transaction("a@b", "c@d", CONTENT) == reset + ENVELOPE
    again = [(OK if reset else b"") + OK + OK, OK]
    assert feed(session, cut, again) == [CHUNK, ACCEPTED]


@CUTS
def test_without_pipelining_each_step_waits_for_the_one_before(cut: Cut) -> None:
    session = begin(ONE_BY_ONE)
    rcpt = Send(b"RCPT TO:<c@d>\r\n", is_content=False)
    assert feed(session, cut, [OK, OK, OK]) == [rcpt, CHUNK, ACCEPTED]


@CUTS
@pytest.mark.parametrize("code", [500, 501, 502, 503, 504])
def test_a_server_that_does_not_know_bdat_has_not_taken_the_message(cut: Cut, code: int) -> None:
    session = begin()
    with pytest.raises(RemoteProtocolError):
        feed(session, cut, [OK + OK, b"%d what\r\n" % code])
    assert session.is_chunking_refused
    assert session.is_answered
    assert not session.is_content_sent


@pytest.mark.parametrize("answer", [b"354 go\r\n", b"hello\r\n"])
def test_an_answer_to_bdat_that_is_none_leaves_the_message_in_doubt(answer: bytes) -> None:
    session = begin()
    session.receive(OK + OK)
    with pytest.raises(RemoteProtocolError):
        session.receive(answer)
    assert session.is_content_sent
    assert not session.is_chunking_refused


def test_a_reply_before_the_chunk_is_written_is_out_of_step() -> None:
    session = begin()
    with pytest.raises(RemoteProtocolError):
        session.receive(OK + OK + OK)
    assert not session.is_content_sent


@given(st.text("a.\r\n", max_size=30).map(str.encode))
def test_the_chunk_has_the_size_it_names_and_dots_as_they_are(content: bytes) -> None:
    session = ClientSession(CHUNKING)
    session.send_transaction("a@b", "c@d", content)
    [event] = session.receive(OK + OK)
    assert isinstance(event, Send)
    line, _, chunk = event.data.partition(b"\r\n")
    assert line == b"BDAT %d LAST" % len(chunk)
    assert chunk == with_crlf(content)


def test_a_chunk_above_the_limit_of_the_server_is_not_sent() -> None:
    limited = Extensions(chunking=True, size=True, size_limit_bytes=len(CONTENT) - 1)
    assert ClientSession(limited).send_transaction("a@b", "c@d", CONTENT) is Unsendable.TOO_LARGE


def test_the_keyword_is_read_and_written() -> None:
    assert parse_extensions("mx\nPIPELINING\nchunking") == CHUNKING
    assert encode_extensions(CHUNKING) == ["PIPELINING", "CHUNKING"]
