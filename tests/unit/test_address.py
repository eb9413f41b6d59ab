"""One address: accepted and refused forms, and the normal form."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.mail import address
from shared.mail.address import (
    AddressFault,
    Fault,
    ParsedAddress,
    parse_path,
    parse_single,
)

TAKEN: list[tuple[str, str | None]] = [
    ("max@kunde.example", "max@kunde.example"),
    ("  max@kunde.example\t", "max@kunde.example"),
    ("<max@kunde.example>", "max@kunde.example"),
    ("< max@kunde.example >", "max@kunde.example"),
    ("Max <max@KUNDE.Example>", "max@kunde.example"),
    ("MAX@kunde.example", "MAX@kunde.example"),
    ("Max<max@kunde.example>", "max@kunde.example"),
    ('"Muster, Max" <max@kunde.example>', "max@kunde.example"),
    ('"a \\" b" <max@kunde.example>', "max@kunde.example"),
    ('"chef@bank.example" <max@kunde.example>', "max@kunde.example"),
    ("Dr. Max M. Muster <max@kunde.example>", "max@kunde.example"),
    ("Max Inc . <max@kunde.example>", "max@kunde.example"),
    ("max@kunde.example (Max (the one) \\) Muster)", "max@kunde.example"),
    ("(Max) max@kunde.example", "max@kunde.example"),
    ("Max (M.) <max@kunde.example> (home)", "max@kunde.example"),
    ("o'neil+shop/x=y@kunde.example", "o'neil+shop/x=y@kunde.example"),
    ("Jürgen <juergen@kunde.example>", "juergen@kunde.example"),
    ("=?utf-8?Q?J=C3=BCrgen?= <juergen@kunde.example>", "juergen@kunde.example"),
    ("=?utf-8?Q?Wei=C3=9F,_J.?= <j@kunde.example>".replace(",", "=2C"), "j@kunde.example"),
    ("=?iso-8859-1?Q?Smith=92s?= <s@kunde.example>", "s@kunde.example"),
    ("=?iso-2022-jp?B?GyRCOzNFRBsoQg==?= <y@kunde.example>", "y@kunde.example"),
    ("joerg@MÜLLER.example", "joerg@xn--mller-kva.example"),
    ("joerg@mu\u0308ller.example", "joerg@xn--mller-kva.example"),
    ("x@XN--MLLER-KVA.example", "x@xn--mller-kva.example"),
    ("jörg@müller.example", "jörg@xn--mller-kva.example"),
    ("用户@例子.example", "用户@xn--fsqu00a.example"),
    ('"max"@kunde.example', "max@kunde.example"),
    ('"m\\ax"@kunde.example', "max@kunde.example"),
    ('"max muster"@kunde.example', '"max muster"@kunde.example'),
    ('"a\\"b"@kunde.example', '"a\\"b"@kunde.example'),
    ('"a@b"@kunde.example', '"a@b"@kunde.example'),
    ("Max <" + "a" * 64 + "@kunde.example>", "a" * 64 + "@kunde.example"),
    (f"a@{'b' * 60}.{'c' * 60}.{'d' * 60}.{'e' * 61}.example", None),
]

NOT_TAKEN: list[tuple[str | bytes, Fault]] = [
    ("", Fault.EMPTY),
    (" \t ", Fault.EMPTY),
    ("<>", Fault.NO_ADDRESS),
    ("(only a comment)", Fault.NO_ADDRESS),
    ("Max Muster", Fault.NO_ADDRESS),
    ("max", Fault.NO_ADDRESS),
    ("=?utf-8?Q?max=40kunde.example?=", Fault.NO_ADDRESS),
    ("a@x.example, b@x.example", Fault.SEVERAL),
    ("a@x.example,", Fault.SEVERAL),
    (", a@x.example", Fault.SEVERAL),
    ("Muster, Max <a@x.example>", Fault.SEVERAL),
    ("<a@x.example>, <b@x.example>", Fault.SEVERAL),
    ("<a@x.example><b@x.example>", Fault.SEVERAL),
    ("<a@x.example>,", Fault.SEVERAL),
    ("a@x.example; b@x.example", Fault.GROUP),
    ("Undisclosed recipients:;", Fault.GROUP),
    ("Friends: a@x.example;", Fault.GROUP),
    ("Friends: Max <a@x.example>;", Fault.GROUP),
    ("Shop: News <a@x.example>", Fault.GROUP),
    (b"M\xfcller <a@x.example>", Fault.NOT_UTF8),
    (b"a\xff@x.example", Fault.NOT_UTF8),
    ("a@x.example\0", Fault.CONTROL),
    ("a@x.example\r\nBcc: b@x.example", Fault.CONTROL),
    ("Max \x1b$B <a@x.example>", Fault.CONTROL),
    ("Max \u2028 <a@x.example>", Fault.CONTROL),
    ("a" * 65 + "@x.example", Fault.TOO_LONG),
    ("ä" * 33 + "@x.example", Fault.TOO_LONG),
    (f"aa@{'b' * 60}.{'c' * 60}.{'d' * 60}.{'e' * 61}.example", Fault.TOO_LONG),
    ("x" * 4_090 + " <a@x.example>", Fault.TOO_LONG),
    ("<a@x.example", Fault.UNCLOSED),
    ("a@x.example>", Fault.UNCLOSED),
    (">a@x.example<", Fault.UNCLOSED),
    ('"Max <a@x.example>', Fault.UNCLOSED),
    ("(Max a@x.example", Fault.UNCLOSED),
    ("Max) a@x.example", Fault.UNCLOSED),
    ("(" * 17 + ")" * 17 + "a@x.example", Fault.UNCLOSED),
    ("a@[192.0.2.1", Fault.UNCLOSED),
    ("b@y.example <a@x.example>", Fault.OUTSIDE),
    ("<a@x.example> Max", Fault.OUTSIDE),
    ("Max \\ <a@x.example>", Fault.OUTSIDE),
    (".Max <a@x.example>", Fault.OUTSIDE),
    (" . Max <a@x.example>", Fault.OUTSIDE),
    ("(c) .Max <a@x.example>", Fault.OUTSIDE),
    ("[Max] <a@x.example>", Fault.OUTSIDE),
    ("=?utf-8?Q?a?=@x.example", Fault.ENCODED),
    ("<=?utf-8?Q?a?=@x.example>", Fault.ENCODED),
    ('"=?utf-8?Q?a?="@x.example', Fault.ENCODED),
    ("a (c) @x.example", Fault.INSIDE),
    ("a@(c)x.example", Fault.INSIDE),
    ("a @x.example", Fault.INSIDE),
    ("a@ x.example", Fault.INSIDE),
    ("a@x. example", Fault.INSIDE),
    ("<(c)a@x.example>", Fault.INSIDE),
    ("a@x.example b@y.example", Fault.INSIDE),
    ("<@relay.example:a@x.example>", Fault.ROUTE),
    ("@x.example", Fault.LOCAL_PART),
    (".a@x.example", Fault.LOCAL_PART),
    ("a.@x.example", Fault.LOCAL_PART),
    ("a..b@x.example", Fault.LOCAL_PART),
    ('""@x.example', Fault.LOCAL_PART),
    ('"a".b@x.example', Fault.LOCAL_PART),
    ('"a\tb"@x.example', Fault.LOCAL_PART),
    ("a\\@b@x.example", Fault.LOCAL_PART),
    ("a\u200bb@x.example", Fault.LOCAL_PART),
    ("a\u00a0b@x.example", Fault.LOCAL_PART),
    ("a\uff20evil.example@x.example", Fault.LOCAL_PART),
    ("jo\u0308rg@x.example", Fault.LOCAL_PART),
    ("a@[192.0.2.1]", Fault.LITERAL),
    ("a@[IPv6:2001:db8::1]", Fault.LITERAL),
    ("a@", Fault.DOMAIN),
    ("a@localhost", Fault.DOMAIN),
    ("a@x.example.", Fault.DOMAIN),
    ("a@.x.example", Fault.DOMAIN),
    ("a@x..example", Fault.DOMAIN),
    ("a@-x.example", Fault.DOMAIN),
    ("a@x_y.example", Fault.DOMAIN),
    ("a@192.0.2.1", Fault.DOMAIN),
    ("a@b@x.example", Fault.DOMAIN),
    ('a@"x".example', Fault.DOMAIN),
    ("a@" + "b" * 64 + ".example", Fault.DOMAIN),
    ("a@shop\u3002example", Fault.DOMAIN),
    ("a@sh\uff4fp.example", Fault.DOMAIN),
    ("a@sh\u00adop.example", Fault.DOMAIN),
    ("a@ban\u212a.example", Fault.DOMAIN),
    ("=?utf-8?B?AA==?= <a@x.example>", Fault.HIDDEN),
    ("=?utf-8?Q?x=0D=0ABcc=3A?= <a@x.example>", Fault.HIDDEN),
    ('"=?utf-8?Q?x=0A?=" <a@x.example>', Fault.HIDDEN),
    ("a@x.example (=?utf-8?Q?=00?=)", Fault.HIDDEN),
]


@pytest.mark.parametrize(("value", "expected"), TAKEN)
def test_one_valid_address_is_read_in_its_normal_form(value: str, expected: str | None) -> None:
    parsed = parse_single(value)
    assert isinstance(parsed, ParsedAddress)
    assert parsed.address == (value if expected is None else expected)
    assert parsed.address == f"{parsed.local}@{parsed.domain}"
    assert parse_single(value.encode()) == parsed


@pytest.mark.parametrize(("value", "fault"), NOT_TAKEN)
def test_all_else_is_refused_with_its_reason(value: str | bytes, fault: Fault) -> None:
    parsed = parse_single(value)
    assert parsed == AddressFault(fault)
    assert isinstance(parsed, AddressFault)
    assert parsed.reason == str(fault)


@pytest.mark.parametrize(
    ("path", "is_taken"),
    [
        ("max@kunde.example", True),
        ('"max muster"@kunde.example', True),
        ("max@KUNDE.example", True),
        ("<max@kunde.example>", False),
        ("Max <max@kunde.example>", False),
        (" max@kunde.example", False),
        ("max@kunde.example ", False),
        ("max@kunde.example (Max)", False),
        ("<>", False),
        ("", False),
        ("a@" + "b" * 1_000, False),
    ],
)
def test_an_envelope_address_stands_bare(path: str, is_taken: bool) -> None:
    assert isinstance(parse_path(path), ParsedAddress) is is_taken


SYNTAX = st.text(st.sampled_from(list('ab.@<>()[]",:;\\ \t=?-_1ü\u200b\0\r\n')), max_size=40)
WORDS = ("max", "Max ", "kunde.example", '"M, M" ', "(c)", "[1.2.3.4]", "ü", "=?a?q?=00?=")
PIECES = st.lists(
    st.sampled_from([*WORDS, "=?utf-8?B?AA==?=", *'<>@,:;. \t"\\']),
    max_size=9,
).map("".join)


@settings(deadline=None, max_examples=400)
@given(st.one_of(st.binary(max_size=80), SYNTAX.map(str.encode), PIECES.map(str.encode)))
@example(b"Max =?utf-8?Q?=0A?= <max@kunde.example>")
def test_the_fast_path_gives_what_the_tokens_give(value: bytes) -> None:
    fast = address._parse_plain(value)
    slow = address._parse_tokens(value)
    assert parse_single(value) == slow
    assert fast is None or fast == slow


@settings(deadline=None, max_examples=300)
@given(st.one_of(st.text(max_size=80), SYNTAX, PIECES))
def test_a_normal_form_is_its_own_normal_form(value: str) -> None:
    parsed = parse_single(value)
    if isinstance(parsed, ParsedAddress):
        assert parse_single(parsed.address) == parsed
        assert parse_single(f"Name <{parsed.address}> (c)") == parsed
        assert parse_path(parsed.address) == parsed
        assert isinstance(parse_single(f"{value}, {value}"), AddressFault)
