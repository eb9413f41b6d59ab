"""Replies: read whole, byte by byte, and with bytes behind them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.smtp.errors import LocalProtocolError, RemoteProtocolError
from shared.smtp.reply import (
    MAX_BUFFERED_BYTES,
    MAX_LINE_BYTES,
    MAX_REPLY_LINES,
    Reply,
    ReplyParser,
    encode_reply,
)
from tests.unit.smtp_reading import CUTS, Cut

GOOD = [
    (b"250 2.1.0 Ok\r\n", Reply(250, "2.1.0", "Ok")),
    (b"250 Ok\r\n", Reply(250, "", "Ok")),
    (b"250\r\n", Reply(250)),
    (b"250 \r\n", Reply(250)),
    (b"250 2.1.5\r\n", Reply(250, "2.1.5", "")),
    (b"354 End data with <CR><LF>.<CR><LF>\r\n", Reply(354, "", "End data with <CR><LF>.<CR><LF>")),
    (b"550 5.7.26 no DMARC\r\n", Reply(550, "5.7.26", "no DMARC")),
    (b"550-5.1.1 No such\r\n550 5.1.1 user here\r\n", Reply(550, "5.1.1", "No such\nuser here")),
    (b"250-mx\r\n250-SIZE 10\r\n250 8BITMIME\r\n", Reply(250, "", "mx\nSIZE 10\n8BITMIME")),
    # A status whose class is not the code's is text (RFC 2034, 4).
    (b"550 4.1.1 odd\r\n", Reply(550, "", "4.1.1 odd")),
    (b"250 2.0.0x\r\n", Reply(250, "", "2.0.0x")),
    (b"451 4.7.1234 x\r\n", Reply(451, "", "4.7.1234 x")),
    (b"550 caf\xe9 \xc3\xa9\r\n", Reply(550, "", "caf\ufffd é")),
    (b"550 a\rb\r\n", Reply(550, "", "a\rb")),
]
BAD = [
    (b"250 Ok\n", "carriage return"),
    (b"\r\n", "not a reply"),
    (b"25 Ok\r\n", "not a reply"),
    (b"150 Ok\r\n", "not a reply"),
    (b"650 Ok\r\n", "not a reply"),
    (b"2500 Ok\r\n", "not a reply"),
    (b"250_Ok\r\n", "not a reply"),
    (b"\xb2\xb5\xb0 Ok\r\n", "not a reply"),
    (b"HTTP/1.1 400 Bad Request\r\n", "not a reply"),
    (b"250-Ok\r\n251 Ok\r\n", "goes on with 251"),
    (b"250 " + b"x" * MAX_LINE_BYTES + b"\r\n", "longer than the limit"),
    (b"250 " + b"x" * MAX_LINE_BYTES, "longer than the limit"),
    (b"250-x\r\n" * (MAX_REPLY_LINES + 1), "lines or"),
    ((b"250-" + b"x" * 2000 + b"\r\n") * 20, "lines or"),
]


def read(cut: Cut, data: bytes) -> tuple[list[Reply], ReplyParser]:
    parser = ReplyParser()
    found = []
    for part in cut(data):
        parser.add(part)
        while (reply := parser.next_reply()) is not None:
            found.append(reply)
    return found, parser


@CUTS
@pytest.mark.parametrize(("data", "reply"), GOOD)
def test_a_reply_is_read(cut: Cut, data: bytes, reply: Reply) -> None:
    found, parser = read(cut, data)
    assert found == [reply]
    assert parser.is_empty


@CUTS
@pytest.mark.parametrize(("data", "reply"), GOOD)
def test_what_follows_a_reply_stays(cut: Cut, data: bytes, reply: Reply) -> None:
    found, parser = read(cut, data + b"250-and ")
    assert found == [reply]
    assert not parser.is_empty
    found, parser = read(cut, data + data)
    assert found == [reply, reply]


@CUTS
@pytest.mark.parametrize(("data", "words"), BAD)
def test_what_is_no_reply_ends_the_session(cut: Cut, data: bytes, words: str) -> None:
    with pytest.raises(RemoteProtocolError, match=words):
        read(cut, data)
    with pytest.raises(RemoteProtocolError, match=words):
        read(cut, data + b"250 Ok\r\n")


def test_replies_nobody_takes_are_bounded() -> None:
    parser = ReplyParser()
    with pytest.raises(RemoteProtocolError, match="at once"):
        parser.add(b"250 x\r\n" * MAX_BUFFERED_BYTES)


def test_a_reply_cannot_be_written_with_a_line_break_in_it() -> None:
    for text in ("a\rb", "a\r\nb", "a\0b"):
        with pytest.raises(LocalProtocolError):
            encode_reply(Reply(250, "", text))


_TEXT = st.text(st.characters(exclude_characters="\r\n\0", codec="utf-8"), max_size=80)


@given(
    st.integers(200, 599),
    st.lists(_TEXT, min_size=1, max_size=5),
    st.booleans(),
)
def test_a_written_reply_is_read_back(code: int, lines: list[str], has_status: bool) -> None:
    text = "\n".join(f"- {line}" for line in lines)
    enhanced = f"{code // 100}.7.12" if has_status and code // 100 in (2, 4, 5) else ""
    reply = Reply(code, enhanced, text)
    parser = ReplyParser()
    parser.add(encode_reply(reply))
    assert parser.next_reply() == reply


@given(st.binary(max_size=200))
def test_any_bytes_are_a_reply_an_error_or_incomplete(data: bytes) -> None:
    parser = ReplyParser()
    parser.add(data)
    try:
        while parser.next_reply() is not None:
            pass
    except RemoteProtocolError:
        pass
