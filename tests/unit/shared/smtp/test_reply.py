"""Replies: read whole, byte by byte, and with trailing bytes."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.smtp.errors import LocalProtocolError, RemoteProtocolError
from shared.smtp.remote_text import MAX_TEXT_BYTES, clean_text
from shared.smtp.reply import (
    MAX_LINE_BYTES,
    MAX_REPLY_BYTES,
    MAX_REPLY_LINES,
    Reply,
    ReplyParser,
    encode_reply,
)
from tests.support.smtp_reading import CUTS, Cut

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
    (b"550 a\rb\r\n", Reply(550, "", "a b")),
    # RFC 5321, 2.3.8 forbids a bare LF; some servers send it.
    (b"250 Ok\n", Reply(250, "", "Ok")),
    (b"250\n", Reply(250)),
    (b"250-mx\n250-SIZE 10\n250 8BITMIME\n", Reply(250, "", "mx\nSIZE 10\n8BITMIME")),
    (b"550-5.1.1 No such\n550 5.1.1 user here\r\n", Reply(550, "5.1.1", "No such\nuser here")),
    (b"250 a\r\r\n", Reply(250, "", "a ")),
    (b"550 \x1b[31mred\x1b[0m\0\r\n", Reply(550, "", " [31mred [0m ")),
    (b"421 \xb7\xfe\xce\xf1\r\n", Reply(421, "", "\ufffd" * 4)),
    (b"250\tOk\r\n", Reply(250, "", "Ok")),
]
BAD = [
    (b"\r\n", "not a reply"),
    (b"\n", "not a reply"),
    (b"250 Ok\n\n", "not a reply"),
    (b"250-Ok\n251 Ok\n", "continues with 251"),
    (b"25 Ok\r\n", "not a reply"),
    (b"150 Ok\r\n", "not a reply"),
    (b"650 Ok\r\n", "not a reply"),
    (b"2500 Ok\r\n", "not a reply"),
    (b"250_Ok\r\n", "not a reply"),
    (b"\xb2\xb5\xb0 Ok\r\n", "not a reply"),
    (b"HTTP/1.1 400 Bad Request\r\n", "not a reply"),
    (b"250-Ok\r\n251 Ok\r\n", "continues with 251"),
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
        parser.add(b"250 x\r\n" * MAX_REPLY_BYTES)


def test_a_reply_cannot_be_written_with_a_line_break_in_it() -> None:
    for text in ("a\rb", "a\r\nb", "a\0b"):
        with pytest.raises(LocalProtocolError):
            encode_reply(Reply(250, "", text))


_TEXT = st.text(st.characters(codec="utf-8"), max_size=80).map(clean_text)
_LINE = _TEXT.map(lambda text: text.replace("\n", " "))


@given(
    st.integers(200, 599),
    st.lists(_LINE, min_size=1, max_size=5),
    st.booleans(),
)
def test_a_written_reply_is_read_back(code: int, lines: list[str], has_status: bool) -> None:
    text = "\n".join(f"- {line}" for line in lines)
    enhanced = f"{code // 100}.7.12" if has_status and code // 100 in (2, 4, 5) else ""
    reply = Reply(code, enhanced, text)
    parser = ReplyParser()
    parser.add(encode_reply(reply))
    assert parser.next_reply() == reply


_PLAIN_LINES = st.from_regex(rb"[2-5][0-9]{2} ([245]\\.[0-9]\\.[0-9]+ )?[ -~]*", fullmatch=True)


@given(st.lists(_PLAIN_LINES, min_size=1, max_size=4), st.booleans())
@example(lines=[b"250 Ok", b"250  two blanks before the text"], is_lenient=True)
@example(lines=[b"250 Ok", b"250 - no line of several"], is_lenient=True)
def test_replies_that_come_in_one_read_are_those_that_come_byte_by_byte(
    lines: list[bytes], is_lenient: bool
) -> None:
    data = b"".join(line + b"\r\n" for line in lines)
    found = []
    for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
        parser, replies = ReplyParser(), []
        for piece in pieces:
            parser.add(piece)
            # Whether a parser is lenient is known only once the reply before was taken.
            while (reply := parser.next_reply()) is not None:
                parser.is_lenient = is_lenient
                replies.append(reply)
        assert parser.is_empty
        found.append(replies)
    assert found[0] == found[1]
    assert len(found[0]) == len(lines)


def test_a_parser_with_replies_left_holds_bytes_and_begins_no_other_reply() -> None:
    parser = ReplyParser()
    parser.add(b"250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n")
    assert parser.next_reply() == Reply(250, "2.1.0", "Ok")
    assert not parser.is_empty
    assert not parser.may_become(b"250")
    parser.add(b"354 Go\r\n")
    assert parser.next_reply() == Reply(250, "2.1.5", "Ok")
    assert parser.next_reply() == Reply(354, "", "Go")
    assert parser.is_empty
    assert parser.may_become(b"250")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_reply_an_error_or_incomplete(data: bytes) -> None:
    parser = ReplyParser()
    parser.add(data)
    try:
        while parser.next_reply() is not None:
            pass
    except RemoteProtocolError:
        pass


# Replies to DATA observed from real servers, and their meaning.
ODD_BUT_CLEAR = [
    (b"250 2.0.0 queued as 1\n", Reply(250, "2.0.0", "queued as 1")),
    (b"250-queued\r\nas number 1\r\n250 bye\r\n", Reply(250, "", "queued\nas number 1\nbye")),
    (b"250-one\r\n251 two\r\n", Reply(251, "", "one\ntwo")),
    (b"250-one\r\n550 5.6.0 two\r\n", Reply(550, "", "one\n5.6.0 two")),
    (b"250\n", Reply(250)),
    (b"550-a\n550 b\r\n", Reply(550, "", "a\nb")),
    (b"250 2.0.0 ok\r\n", Reply(250, "2.0.0", "ok")),
    (b"250\tqueued\r\n", Reply(250, "", "queued")),
    (b"250: queued\r\n", Reply(250, "", "queued")),
    (b"250OK\r\n", Reply(250, "", "OK")),
    (b" 250 queued\r\n", Reply(250, "", "queued")),
    (b"\r\n\n250 2.0.0 queued\r\n", Reply(250, "2.0.0", "queued")),
    (b"\x00250 queued\r\n", Reply(250, "", "queued")),
    (b"\xef\xbb\xbf250 queued\r\n", Reply(250, "", "queued")),
    (b"150 wait\r\n150-still\r\n250 queued\r\n", Reply(250, "", "queued")),
    (b"250-a\r\n150 b\r\n550 c\r\n", Reply(550, "", "a\n150 b\nc")),
]
# What is no reply even if it answers the content.
UNCLEAR = [
    b"queued\r\n",
    b"25 ok\r\n",
    b"2500 ok\r\n",
    b"650 ok\r\n",
    b"000 ok\r\n",
    b"550MB free, queued\r\n",
    b"\r\nqueued\r\n",
    b"150 wait\r\nqueued\r\n",
    "250 ok\r\n".encode("utf-16-le"),
]


@CUTS
@pytest.mark.parametrize(("data", "reply"), ODD_BUT_CLEAR)
def test_an_odd_reply_to_the_content_is_read_where_its_code_is_clear(
    cut: Cut, data: bytes, reply: Reply
) -> None:
    parser = ReplyParser()
    parser.is_lenient = True
    found = []
    for part in cut(data):
        parser.add(part)
        while (one := parser.next_reply()) is not None:
            found.append(one)
    assert found == [reply]
    assert parser.is_empty


@CUTS
@pytest.mark.parametrize("data", UNCLEAR)
def test_words_before_any_code_are_no_reply_to_the_content(cut: Cut, data: bytes) -> None:
    parser = ReplyParser()
    parser.is_lenient = True

    def read_it() -> None:
        for part in cut(data + b"250 ok\r\n"):
            parser.add(part)
            parser.next_reply()

    with pytest.raises(RemoteProtocolError, match="not a reply"):
        read_it()


@pytest.mark.parametrize("is_lenient", [False, True])
@pytest.mark.parametrize(
    "data",
    [
        b"550-x\r\n" * (10 * MAX_REPLY_LINES) + b"550 end\r\n",
        b"550 " + b"x" * (20 * MAX_LINE_BYTES) + b"\r\n",
        b"550 " + b"x" * (20 * MAX_LINE_BYTES) + b"\n",
        (b"550-" + b"x" * 2_000 + b"\r\n") * 400 + b"550 end\r\n",
    ],
    ids=["many lines", "a long line", "a long line with a bare LF", "many long lines"],
)
def test_a_reply_that_is_too_long_is_read_to_its_end_and_cut(data: bytes, is_lenient: bool) -> None:
    parser = ReplyParser()
    parser.is_lenient = is_lenient
    parser.add(data)
    reply = parser.next_reply()
    assert reply is not None
    assert (reply.code, len(reply.text.encode()) <= MAX_TEXT_BYTES) == (550, True)
    assert parser.is_empty


@pytest.mark.parametrize("is_lenient", [False, True])
@pytest.mark.parametrize(
    "data",
    [b"550-x\r\n", b"x" * 1_000, b"\r\n" * 1_000],
    ids=["lines", "a line", "empty lines"],
)
def test_a_reply_without_an_end_is_an_error_and_never_held_whole(
    data: bytes, is_lenient: bool
) -> None:
    parser = ReplyParser()
    parser.is_lenient = is_lenient

    def read_on() -> None:
        for _ in range(2 * MAX_REPLY_BYTES // len(data)):
            parser.add(data)
            parser.next_reply()

    with pytest.raises(RemoteProtocolError):
        read_on()


@pytest.mark.parametrize(
    "data",
    [b"hello\r\n", b"2500 x\r\n", b"x" * (MAX_REPLY_BYTES + 1)],
    ids=["no code", "four digits", "endless"],
)
def test_a_reply_to_the_content_without_a_clear_code_is_an_error(data: bytes) -> None:
    parser = ReplyParser()
    parser.is_lenient = True

    def read_it() -> None:
        parser.add(data)
        parser.next_reply()

    with pytest.raises(RemoteProtocolError):
        read_it()
