"""Message content: line ends, dots, the end mark, the input buffer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.smtp.buffer import Buffer
from shared.smtp.content import decode_content, encode_content, has_longer_line, has_only_crlf
from shared.smtp.extensions import Extensions, encode_extensions, parse_extensions
from tests.support.smtp_reading import CUTS, Cut

ENCODED = [
    (b"", b".\r\n"),
    (b"a", b"a\r\n.\r\n"),
    (b"a\r\n", b"a\r\n.\r\n"),
    (b"a\nb\n", b"a\r\nb\r\n.\r\n"),
    (b"a\rb", b"a\r\nb\r\n.\r\n"),
    (b"a\n\rb", b"a\r\n\r\nb\r\n.\r\n"),
    (b"a\r\r\nb", b"a\r\n\r\nb\r\n.\r\n"),
    (b"a\r", b"a\r\n.\r\n"),
    (b".", b"..\r\n.\r\n"),
    (b".\r\n", b"..\r\n.\r\n"),
    (b"..\r\n.a\r\n", b"...\r\n..a\r\n.\r\n"),
    (b"a.b\r\n", b"a.b\r\n.\r\n"),
    # Every form of an early end becomes a stuffed dot (SMTP smuggling).
    (b"a\n.\nMAIL FROM:<x@y>\n", b"a\r\n..\r\nMAIL FROM:<x@y>\r\n.\r\n"),
    (b"a\r.\rb", b"a\r\n..\r\nb\r\n.\r\n"),
    (b"a\n.\r\nb", b"a\r\n..\r\nb\r\n.\r\n"),
    (b"a\r\n.\nb", b"a\r\n..\r\nb\r\n.\r\n"),
    (b"a\r\n.\rb", b"a\r\n..\r\nb\r\n.\r\n"),
    (b"a\r.\r\nb", b"a\r\n..\r\nb\r\n.\r\n"),
    (b"a\r\r\n.\r\r\nb", b"a\r\n\r\n..\r\n\r\nb\r\n.\r\n"),
    (b"a\r\n\0.\r\nb", b"a\r\n\0.\r\nb\r\n.\r\n"),
]


@pytest.mark.parametrize(("content", "encoded"), ENCODED)
def test_content_is_encoded_so_that_only_its_end_ends_it(content: bytes, encoded: bytes) -> None:
    assert encode_content(content) == encoded


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", True),
        (b"a", True),
        (b"\r\n", True),
        (b"a\r\n\r\nb", True),
        (b"\n", False),
        (b"\r", False),
        (b"a\r\nb\n", False),
        (b"a\r\nb\r", False),
        (b"a\r\r\n", False),
        (b"a\n\r\n", False),
        (b"\n\r", False),
        (b"\xc2\x85\xe2\x80\xa8\x0b\x0c", True),  # Unicode line ends are not line ends here
    ],
)
def test_only_crlf_passes_as_clean(content: bytes, expected: bool) -> None:
    assert has_only_crlf(content) is expected


@given(st.lists(st.sampled_from([b"\r", b"\n", b".", b"a", b"\r\n"]), max_size=30))
def test_encoded_content_has_one_end_and_gives_back_the_lines(parts: list[bytes]) -> None:
    content = b"".join(parts)
    encoded = encode_content(content)
    assert has_only_crlf(encoded)
    assert (b"\r\n" + encoded).find(b"\r\n.\r\n") == len(encoded) - 3
    expected = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    expected += b"" if expected.endswith(b"\r\n") or not expected else b"\r\n"
    assert decode_content(encoded[:-3]) == expected
    assert has_only_crlf(content) == (expected in (content, content + b"\r\n"))


@CUTS
@pytest.mark.parametrize(("content", "encoded"), ENCODED)
def test_a_buffer_gives_the_content_up_to_its_end_mark(
    cut: Cut, content: bytes, encoded: bytes
) -> None:
    for trailing in (b"", b".\r\n", b"\r\n.\r\n", b"MAIL FROM:<a@b>\r\n"):
        buffer = Buffer()
        found = None
        for part in cut(encoded + trailing):
            buffer.add(part)
            if found is None:
                found = buffer.take_content()
        assert found == encoded[:-3]
        assert len(buffer) == len(trailing)


@given(st.lists(st.sampled_from([b"\r\n", b".", b"a"]), max_size=30), st.integers(1, 40))
def test_what_a_buffer_calls_free_of_stuffed_dots_is_so(parts: list[bytes], size: int) -> None:
    content = b"".join(parts) + b"\r\n"
    encoded = encode_content(content) + b"NOOP\r\n.\r\n"
    buffer, taken = Buffer(), None
    for at in range(0, len(encoded), size):
        buffer.add(encoded[at : at + size])
        if taken is None:
            taken = buffer.take_content()
    assert taken is not None
    assert decode_content(taken) == content
    if not buffer.may_be_stuffed:
        assert taken == content
    if size > len(encoded):  # in one piece nothing is ambiguous
        assert buffer.may_be_stuffed == (taken != content)
    assert [buffer.take_line(100), buffer.take_line(100)] == [b"NOOP", b"."]


@given(st.lists(st.sampled_from([b"\r\n", b".", b"a", b"\r"]), max_size=30), st.integers(1, 7))
def test_dropping_content_never_finds_another_end(parts: list[bytes], size: int) -> None:
    encoded = encode_content(b"".join(parts))
    kept, dropping = Buffer(), Buffer()
    dropped = 0
    for at in range(0, len(encoded), size):
        kept.add(encoded[at : at + size])
        dropping.add(encoded[at : at + size])
        one, other = kept.take_content(), dropping.take_content()
        assert (one is None) == (other is None)
        if one is None:
            dropped += len(dropping.drop_content())
        elif other is not None:
            assert len(one) == len(other) + dropped


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", False),
        (b"x" * 1000, False),
        (b"x" * 1001, True),
        (b"x" * 998 + b"\r\n" + b"y" * 998 + b"\r\n", False),
        (b"x" * 999 + b"\r\n", True),
        (b"a\r\n" * 999 + b"x" * 999 + b"\r\n", True),
        (b"a\r\n" * 999 + b"x" * 998 + b"\r\n", False),
        (b"x" * 998 + b"\r\n" + b"y" * 2000, True),
    ],
)
def test_a_line_of_more_than_a_thousand_bytes_is_found(content: bytes, expected: bool) -> None:
    assert has_longer_line(content) is expected


@given(st.lists(st.integers(0, 14), max_size=20), st.booleans())
def test_longer_lines_are_those_a_split_finds(lengths: list[int], has_end: bool) -> None:
    content = b"\r\n".join(b"x" * length for length in lengths) + (b"\r\n" if has_end else b"")
    longest = max((len(line) for line in content.splitlines(keepends=True)), default=0)
    assert has_longer_line(content, 10) is (longest > 10)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mx", Extensions()),
        ("PIPELINING", Extensions()),
        ("mx\nPIPELINING\nSIZE 10240\n8bitmime", Extensions(True, True, 10240, True)),
        ("mx\nSIZE", Extensions(size=True)),
        ("mx\nSIZE x", Extensions(size=True)),
        ("mx\nSIZE " + "9" * 21, Extensions(size=True)),
        ("mx\nSIZE ²", Extensions(size=True)),
        ("mx\nSMTPUTF8\nSTARTTLS\nENHANCEDSTATUSCODES\nX-ODD 1", Extensions(
            smtputf8=True, starttls=True, enhanced_status_codes=True)),
    ],
)  # fmt: skip
def test_extensions_are_read_from_the_text_of_an_ehlo_reply(
    text: str, expected: Extensions
) -> None:
    assert parse_extensions(text) == expected


def test_extensions_are_read_back_as_written() -> None:
    for offered in (Extensions(), Extensions(True, True, 7, True, True, True, True)):
        assert parse_extensions("\n".join(["mx", *encode_extensions(offered)])) == offered
