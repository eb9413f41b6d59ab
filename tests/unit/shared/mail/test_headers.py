"""The header scan: the kind of each line, bytes that are no message; nothing can be hidden.

The header ends at the same place for all line ends.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.mail.headers import MAX_HEADER_LINES, Defect, header_end, scan, split_domain
from shared.topics.codec import decode_pack, encode_pack
from shared.topics.records import Envelope, Facts, Message, Origin
from tests.support.header_forms import SLOTS
from tests.support.header_lines import GOOD, with_line, without_sizes

EMPTY_LINE = re.compile(rb"\n\r?\n")
BEGINS_EMPTY = re.compile(rb"\r?\n")


def test_a_plain_message_gives_all_facts() -> None:
    assert scan(with_line(b"X-bm-mailing: SPRING26")) == Facts(
        size_bytes=len(GOOD) + 24,
        header_bytes=len(GOOD) + 24 - len(b"Hello\r\n"),
        message_id_count=1,
        message_id="<1@shop.example>",
        message_id_raw="<1@shop.example>",
        to_count=1,
        to_address="max@kunde.example",
        to_raw="max@kunde.example",
        from_count=1,
        from_address="news@shop.example",
        from_raw="News <news@shop.example>",
        subject_count=1,
        subject_empty=False,
        code_count=1,
        code="SPRING26",
    )


DEFECTS = [
    (b"", Defect.EMPTY),
    (b"\r\n", Defect.NO_HEADER),
    (b"\nHello", Defect.NO_HEADER),
    (b"\r\n" + GOOD, Defect.NO_HEADER),
    (b"Hello", Defect.NO_END),
    (b"From: a@b.example\r\n", Defect.NO_END),
    (b"From: a@b.example\r\nHello", Defect.NO_END),
    (b"From: a@b.example\r\nHello\r\n", Defect.NO_END),
    (b"From: a@b.example\n", Defect.NO_END),
    (b"\xff\xd8\xff\xe0 binary", Defect.NO_END),
    (GOOD.replace(b"Order", b"Or\0der"), Defect.NUL),
    (GOOD.replace(b"Hello", b"Hel\0lo"), Defect.NUL_BODY),
    (GOOD + b"\0.\r\n", Defect.NUL_BODY),
    (GOOD.replace(b"Order", b"Or\x0bder"), Defect.CONTROL),
    (GOOD.replace(b"Order", b"Or\x7fder"), Defect.CONTROL),
    (GOOD.replace(b"Order", b"Or\rder"), Defect.BARE_CR),
    (GOOD.replace(b"Order\r\n", b"Order\r\r\n"), Defect.BARE_CR),
    (GOOD.replace(b"\r\n", b"\r"), Defect.NO_END),
    (GOOD.replace(b"Order", b"Or\nX: der"), Defect.MIXED),
    (GOOD.replace(b"Order\r\n", b"Order\n"), Defect.MIXED),
    (GOOD.replace(b"Order\r\n\r\n", b"Order\r\n\n"), Defect.MIXED),
    (GOOD.replace(b"Order\r\n\r\n", b"Order\n\r\n"), Defect.MIXED),
    (b" " + GOOD, Defect.FOLD_FIRST),
    (with_line(b" \t"), Defect.FOLD_BLANK),
    (with_line(b"No colon here"), Defect.NO_COLON),
    (with_line(b"\xefX: y"), Defect.NAME),
    (with_line(b": y"), Defect.NAME),
    (with_line(b"Two words: y"), Defect.NAME),
    (b"\xef\xbb\xbf" + GOOD, Defect.NAME),
    (b"From x Mon Mar  2 10:00:00 2026\r\n" + GOOD, Defect.NAME),
    (with_line(b"X-Name : y"), Defect.SPACE),
    (with_line(b"X-Name\t: y"), Defect.SPACE),
    (with_line(b"X: y\r\n" * MAX_HEADER_LINES), Defect.TOO_MANY),
]


@pytest.mark.parametrize(("content", "defect"), DEFECTS)
def test_what_is_no_message_has_a_defect(content: bytes, defect: Defect) -> None:
    assert scan(content).defect == str(defect)


def test_a_header_beyond_the_limit_is_a_defect() -> None:
    content = with_line(b"X: " + b"y" * 1_000)
    assert scan(content, max_header_bytes=len(content)).defect == ""
    assert scan(content, max_header_bytes=500).defect == "its header is larger than 500 bytes"


@pytest.mark.parametrize(
    "content",
    [
        GOOD.replace(b"\r\n", b"\n"),
        GOOD.replace(b"Hello\r\n", b"a\nb\rc\r\n"),
        with_line(b"X-Name: \xff\xfe"),
        with_line(b"X-Name:"),
        with_line(b"!#$%&'*+-./09;<=>?@AZ[\\]^_`az{|}~: y"),
        with_line(b"X-Japanese: \x1b$B=U\x1b(B"),
        with_line(b"X-Folded: a\r\n b\r\n\tc"),
        GOOD.replace(b"\r\n", b"\n").replace(b"Hello", b"Hel\r\n\r\nlo"),
    ],
)
def test_what_is_a_message_has_none(content: bytes) -> None:
    facts = scan(content)
    assert facts.defect == ""
    assert facts.to_address == "max@kunde.example"
    end = content[: facts.header_bytes]
    assert end.endswith((b"\r\n\r\n", b"\n\n"))
    assert not end[:-2].endswith((b"\r\n\r\n", b"\n\n"))


@pytest.mark.parametrize("name", SLOTS)
@pytest.mark.parametrize(
    "spelling",
    [
        "{}:y@z.example",
        "{}: y@z.example",
        "{} : y@z.example",
        "{}\t: y@z.example",
        "{}:",
        "{}:\r\n y@z.example",
        "\ufeff{}: y",
        "\u00a0{}: y",
        "X: y\n{}: y",
        "X: y\r{}: y",
        "X: y\r\n \r\n{}: y",
        "{}\x00: y",
        "(c){}: y",
    ],
)
def test_no_spelling_hides_a_header(name: str, spelling: str) -> None:
    for written in name, name.upper(), name.lower(), name.swapcase():
        count = getattr(scan(GOOD), SLOTS[name])
        facts = scan(with_line(spelling.format(written).encode()))
        if spelling.startswith("(c)"):
            assert facts == scan(with_line(b"X" * (3 + len(name)) + b": y"))
        else:
            assert getattr(facts, SLOTS[name]) == count + 1


@pytest.mark.parametrize("name", ["X-To", "Tos", "To-", "Resent-To", "Resent-Cc", "Message-IDs"])
def test_other_names_are_not_taken_for_a_ruled_header(name: str) -> None:
    facts = scan(with_line(f"{name}: y@z.example".encode()))
    assert without_sizes(facts) == without_sizes(scan(GOOD))


def test_the_name_of_the_code_header_is_a_setting() -> None:
    content = with_line(b"X-Campaign: A1\r\nX-bm-mailing: B2")
    assert scan(content).code == "B2"
    assert scan(content, b"x-campaign").code == "A1"
    assert scan(content.replace(b"X-Camp", b"x-CAMP"), b"x-campaign").code_count == 1


@pytest.mark.parametrize(
    ("value", "message_id"),
    [
        ("<a@b>", "<a@b>"),
        ("\r\n <a@b>\t", "<a@b>"),
        ("<1.2.a$b=c+d_e@mail-1.x_y.example>", "<1.2.a$b=c+d_e@mail-1.x_y.example>"),
        ("<a@[192.0.2.1]>", "<a@[192.0.2.1]>"),
        ("", ""),
        ("a@b", ""),
        ("<ab>", ""),
        ("<@b>", ""),
        ("<a@>", ""),
        ("<a@b@c>", ""),
        ("<a@b", ""),
        ("a@b>", ""),
        ("<<a@b>>", ""),
        ("<a b@c>", ""),
        ("< a@b>", ""),
        ("<a@b >", ""),
        ("<a@b> <c@d>", ""),
        ("<a@b>, <c@d>", ""),
        ("<a@b> (c)", ""),
        ("(c) <a@b>", ""),
        ("<a..b@c>", ""),
        ("<.a@c>", ""),
        ("<a@c.>", ""),
        ('<"a"@b>', ""),
        ("<ä@b>", ""),
        ("<a@b>\r\n <c@d>", ""),
        ("<a@\r\n b>", ""),
        ("=?utf-8?Q?<a@b>?=", ""),
        ("<" + "a" * 995 + "@b>", ""),
    ],
)
def test_a_message_id_has_the_form_left_at_right(value: str, message_id: str) -> None:
    content = GOOD.replace(b"<1@shop.example>", value.encode())
    facts = scan(content)
    assert (facts.message_id_count, facts.message_id) == (1, message_id)


@pytest.mark.parametrize("name", ["From", "To", "Message-ID"])
def test_a_doubled_header_has_no_value_but_shows_its_first(name: str) -> None:
    first = scan(GOOD)
    facts = scan(GOOD.replace(b"\r\n\r\n", f"\r\n{name}: <x@y.example>\r\n\r\n".encode(), 1))
    field = name.lower().replace("-", "_")
    value = field if field == "message_id" else f"{field}_address"
    assert getattr(facts, value) == ""
    assert getattr(facts, f"{field}_raw") == getattr(first, f"{field}_raw")
    assert getattr(facts, f"{field}_count") == 2


def test_what_is_shown_is_cut_and_can_be_carried() -> None:
    content = GOOD.replace(b"max@kunde.example", b"\xff" + "ü".encode() * 900)
    facts = scan(content)
    assert len(facts.to_raw) == 200
    envelope = Envelope("m", "c", "", "", "", 0, Origin(), facts)
    value, headers = encode_pack([Message(envelope, content)])
    assert decode_pack(value, headers)[0].envelope.facts == facts


def test_the_domain_of_an_address_is_split_off() -> None:
    assert split_domain('"a@b"@c.example') == "c.example"


@pytest.mark.parametrize(
    ("content", "header"),
    [
        (b"A: 1\r\nB: 2\r\n\r\nbody\r\n", b"A: 1\r\nB: 2\r\n"),
        (b"A: 1\nB: 2\n\nbody\n\r\n", b"A: 1\nB: 2\n"),
        (b"A: 1\n\r\nbody\n\n", b"A: 1\n"),
        (b"A: 1\r\n\nbody\r\n\r\n", b"A: 1\r\n"),
        (b"A: 1\r\n", b"A: 1\r\n"),
        (b"A: 1", b"A: 1"),
        (b"\r\nbody: no field\r\n\r\n", b""),
        (b"\nbody: no field\n\n", b""),
        (b"", b""),
    ],
)
def test_the_header_ends_before_the_first_empty_line(content: bytes, header: bytes) -> None:
    assert content[: header_end(content)] == header


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"x", b"A: 1"])).map(b"".join))
def test_any_bytes_have_the_header_that_a_reader_of_lines_finds(content: bytes) -> None:
    found = EMPTY_LINE.search(content)
    expected = found.start() + 1 if found is not None else len(content)
    assert header_end(content) == (0 if BEGINS_EMPTY.match(content) else expected)
