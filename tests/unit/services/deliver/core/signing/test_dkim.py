"""DKIM: canonicalisation, the form of the field, and signatures checked by another verifier."""

from __future__ import annotations

import base64

import pytest
from dkim.canonicalization import Relaxed
from hypothesis import given
from hypothesis import strategies as st

from services.deliver.core.mime.fields import split
from services.deliver.core.signing.dkim import (
    OVERSIGNED,
    SIGNED,
    BodyForm,
    Identity,
    Signable,
    canonical_body,
    canonical_fields,
)
from shared.smtp.content import END_MARK, decode_content, encode_content, with_crlf
from tests.messages import Sample, load
from tests.support.dkim_verifying import (
    ALGORITHMS,
    CONTENT,
    SELECTOR,
    is_verified,
    signer_of,
    tag,
)

ACCEPTED = tuple(sample for sample in load() if sample.accepted)

# RFC 6376, 3.4.5, with the canonical forms of 3.4.2 and 3.4.4.
RFC_EXAMPLE = b"A: X\r\nB : Y\t\r\n\tZ  \r\n\r\n C \r\nD \t E\r\n\r\n\r\n"

BODIES = [
    ("the example of RFC 6376, 3.4.5", b" C \r\nD \t E\r\n\r\n\r\n", b" C\r\nD E\r\n"),
    ("empty", b"", b""),
    ("one empty line", b"\r\n", b""),
    ("empty lines only", b"\r\n\r\n\r\n", b""),
    ("white space only", b" \t\r\n\t\r\n \r\n", b""),
    ("one line", b"a\r\n", b"a\r\n"),
    ("trailing empty lines", b"a\r\n\r\n\r\n", b"a\r\n"),
    ("trailing lines of white space", b"a\r\n \t \r\n\t\r\n", b"a\r\n"),
    ("empty lines inside are kept", b"\r\n\r\na\r\n \r\nb\r\n", b"\r\n\r\na\r\n\r\nb\r\n"),
    ("white space at a line's start is kept as one", b"\t \ta\r\n", b" a\r\n"),
    ("runs of every length", b"a  b   c    d     e\r\n", b"a b c d e\r\n"),
    ("other white space is none", b"a\x0b\x0c \xa0 b\r\n", b"a\x0b\x0c \xa0 b\r\n"),
    ("dots are as before stuffing", b".\r\n..\r\n", b".\r\n..\r\n"),
]

SIMPLE_BODIES = [
    ("the example of RFC 6376, 3.4.5", b" C \r\nD \t E\r\n\r\n\r\n", b" C \r\nD \t E\r\n"),
    ("empty", b"", b"\r\n"),
    ("empty lines only", b"\r\n\r\n\r\n", b"\r\n"),
    ("white space only", b" \r\n\r\n", b" \r\n"),
    ("empty lines inside are kept", b"\r\n\r\na\r\n\r\n", b"\r\n\r\na\r\n"),
]

HEADERS = [
    ("the example of RFC 6376, 3.4.5", b"A: X\r\nB : Y\t\r\n\tZ  \r\n", [b"a:X", b"b:Y Z"]),
    ("no field", b"", []),
    ("folded", b"Subject: a\r\n b\r\n\t c\r\n", [b"subject:a b c"]),
    ("folded at the colon", b"Subject:\r\n a\r\n", [b"subject:a"]),
    ("folded with a line of white space", b"A: b\r\n \r\n\tc\r\nD: e\r\n", [b"a:b c", b"d:e"]),
    ("empty value", b"Subject: \r\n", [b"subject:"]),
    ("colons in the value", b"Date:12:00:00 +0000\r\n", [b"date:12:00:00 +0000"]),
    ("8-bit", b"SUBJECT:  \xc3\xa4\r\n", [b"subject:\xc3\xa4"]),
]

LINE_ENDS = [
    (b"", b""),
    (b"a", b"a\r\n"),
    (b"a\r\n", b"a\r\n"),
    (b"a\n\nb\n", b"a\r\n\r\nb\r\n"),
    (b"a\rb\r", b"a\r\nb\r\n"),
    (b"a\n\r\nb\r\n\r", b"a\r\n\r\nb\r\n\r\n"),
]


def field_of(content: bytes, domain: str = "shop.example") -> bytes:
    identity = Identity("rsa-sha256", domain, SELECTOR)
    message = Signable(with_crlf(content))
    return message.signature_field(identity, 1_700_000_000, lambda data: b"\xff" * 256)


def as_received(content: bytes) -> bytes:
    """The message as a server has it after DATA."""
    return decode_content(encode_content(content).removesuffix(END_MARK))


@pytest.mark.parametrize(("body", "expected"), [c[1:] for c in BODIES], ids=[c[0] for c in BODIES])
def test_a_body_is_made_canonical(body: bytes, expected: bytes) -> None:
    assert canonical_body(body) == expected


@pytest.mark.parametrize(
    ("body", "expected"), [c[1:] for c in SIMPLE_BODIES], ids=[c[0] for c in SIMPLE_BODIES]
)
def test_a_body_in_simple_form_loses_its_last_empty_lines_only(
    body: bytes, expected: bytes
) -> None:
    assert canonical_body(body, BodyForm.SIMPLE) == expected


@pytest.mark.parametrize(
    ("header", "expected"), [c[1:] for c in HEADERS], ids=[c[0] for c in HEADERS]
)
def test_header_fields_are_made_canonical(header: bytes, expected: list[bytes]) -> None:
    assert [field for _, field in canonical_fields(header)] == expected


def test_the_example_of_the_rfc_is_split_and_made_canonical() -> None:
    header, body = split(RFC_EXAMPLE)
    assert canonical_fields(header) == [(b"a", b"a:X"), (b"b", b"b:Y Z")]
    assert canonical_body(body) == b" C\r\nD E\r\n"


@pytest.mark.parametrize(("content", "expected"), LINE_ENDS)
def test_line_ends_become_crlf_with_one_at_the_end(content: bytes, expected: bytes) -> None:
    assert with_crlf(content) == expected


pieces = st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"a", b"From: a@b.example", b" ", b"\t"])


@given(st.lists(pieces, max_size=12).map(b"".join))
def test_what_is_signed_is_what_a_server_reads(content: bytes) -> None:
    signed = signer_of("ed25519-sha256").sign(content, "shop.example")
    assert as_received(signed) == signed
    assert as_received(content) == with_crlf(content)


@given(st.lists(pieces, max_size=12).map(b"".join))
def test_canonical_forms_are_those_of_the_verifier(body: bytes) -> None:
    ours = canonical_body(with_crlf(body))
    assert ours == Relaxed.canonicalize_body(with_crlf(body))
    assert canonical_body(ours) == ours


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("sample", ACCEPTED, ids=lambda sample: sample.name)
def test_a_foreign_verifier_accepts_the_signature(sample: Sample, algorithm: str) -> None:
    domain = sample.client.sending_domain
    signed = signer_of(algorithm).sign(sample.content, domain)
    assert signed.endswith(with_crlf(sample.content))
    assert is_verified(as_received(signed), algorithm, domain)


FIELDS = [line.partition(b":")[0] for line in CONTENT.splitlines() if line[:1].isupper()]
# One byte of each signed part: the value of each field, the body, the tags of the signature.
CHANGED = [
    *(b"\r\n%b: " % name for name in FIELDS if name != b"X-Other"),
    b"\r\n\r\n.",
    b"last lin",
    b"; c=",
    b"t=1",
    b"h=from",
    b"\tb=",
]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("before", CHANGED)
def test_one_changed_byte_breaks_the_signature(before: bytes, algorithm: str) -> None:
    signed = signer_of(algorithm).sign(CONTENT, "shop.example")
    assert is_verified(signed, algorithm, "shop.example")
    place = signed.rindex(before) + len(before)
    changed = b"%b%c%b" % (signed[:place], signed[place] ^ 1, signed[place + 1 :])
    assert not is_verified(changed, algorithm, "shop.example")


# Fields that a reader is shown, or that change how the body reads.
RELEVANT = [
    b"From: x@y.example",
    b"fRoM:x@y.example",
    b"To: x@y.example",
    b"Cc: x@y.example",
    b"Subject: Your account",
    b"Date: Tue, 2 Jan 2024 00:00:00 +0000",
    b"Message-ID: <2@y.example>",
    b"Reply-To: x@y.example",
    b"MIME-Version: 1.0",
    b"Content-Type: text/html",
    b"Content-Transfer-Encoding: base64",
    b"List-Unsubscribe: <https://y.example/u>",
    b"List-Unsubscribe-Post: List-Unsubscribe=One-Click",
    b"Feedback-ID: 9:9:9:9",
]


def without(name: bytes) -> bytes:
    """The message without any field of this name."""
    lines = CONTENT.replace(b"\n two", b" two").split(b"\n")
    return b"\n".join(line for line in lines if not line.lower().startswith(name.lower() + b":"))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("added", RELEVANT)
def test_a_field_added_to_one_of_its_name_breaks_the_signature(
    added: bytes, algorithm: str
) -> None:
    name = added.partition(b":")[0]
    signed = signer_of(algorithm).sign(added + b"\n" + without(name), "shop.example")
    assert is_verified(signed, algorithm, "shop.example")
    assert not is_verified(added + b"\r\n" + signed, algorithm, "shop.example")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("added", RELEVANT[2:])
def test_a_field_added_where_there_was_none_of_its_name_breaks_the_signature(
    added: bytes, algorithm: str
) -> None:
    signed = signer_of(algorithm).sign(without(added.partition(b":")[0]), "shop.example")
    assert is_verified(signed, algorithm, "shop.example")
    assert not is_verified(added + b"\r\n" + signed, algorithm, "shop.example")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_relays_do_keeps_the_signature(algorithm: str) -> None:
    signed = signer_of(algorithm).sign(CONTENT, "shop.example")
    relayed = b"Received: by r.example\r\n" + signed.replace(
        b"Subject: one\r\n two", b"SUBJECT:one two"
    )
    assert is_verified(relayed + b"\r\n\r\n", algorithm, "shop.example")


SELECTIONS = [
    ("every field but Cc", CONTENT, [name for name in SIGNED if name != b"cc"]),
    ("From alone", b"From: a@b.example\n\n", [b"from"]),
    (
        "odd spelling",
        b"from : a@b.example\nFEEDBACK-id: 1\n\n",
        [b"from", b"feedback-id"],
    ),
    (
        "fields of relays and of the body are left out",
        b"Cc: c@d.example\nReceived: x\nFrom: a@b.example\n\nTo: not@a.field\n",
        [b"from", b"cc"],
    ),
    (
        "two of one name",
        b"To: 1@b.example\nFrom: a@b.example\nTo: 2@b.example\n\n",
        [b"from", b"to", b"to"],
    ),
    ("empty", b"", []),
    ("no header", b"\nFrom: a@in.the.body\n\n", []),
]


@pytest.mark.parametrize(
    ("content", "names"), [c[1:] for c in SELECTIONS], ids=[c[0] for c in SELECTIONS]
)
def test_the_fields_that_are_there_are_signed_and_the_relevant_ones_once_more(
    content: bytes, names: list[bytes]
) -> None:
    field = field_of(content)
    assert tag(field, b"h") == b":".join([*names, *OVERSIGNED])
    assert field.count(b": ") == 1  # h= contains no spaces


def test_of_fields_of_one_name_the_last_is_signed_first() -> None:
    seen: list[bytes] = []

    def sign(data: bytes) -> bytes:
        seen.append(data)
        return b""

    content = b"To: 1@b.example\r\nFrom: a@b.example\r\nTo: 2@b.example\r\n\r\n"
    field = Signable(content).signature_field(Identity("rsa-sha256", "b.example", "s"), 0, sign)
    assert seen[0].split(b"\r\n")[:3] == [b"from:a@b.example", b"to:2@b.example", b"to:1@b.example"]
    assert canonical_fields(field) == [(b"dkim-signature", seen[0].split(b"\r\n")[3])]


@pytest.mark.parametrize("domain", ["b.example", "a-rather-long-name.of-a-client.shop.example"])
@pytest.mark.parametrize("content", [CONTENT, b"From: a@b.example\n\n"])
def test_the_field_is_folded_below_78_characters(content: bytes, domain: str) -> None:
    field = field_of(content, domain)
    first, *others = field.removesuffix(b"\r\n").split(b"\r\n")
    assert first.startswith(b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;")
    assert others
    assert all(line.startswith(b"\t") and line.strip() for line in others)
    assert max(len(line) for line in (first, *others)) < 78
    assert (tag(field, b"d"), tag(field, b"s")) == (domain.encode(), SELECTOR.encode())
    assert (tag(field, b"t"), tag(field, b"b")) == (b"1700000000", base64.b64encode(b"\xff" * 256))
