"""8-bit text for 7-bit servers: what is converted, judged by the standard library, and what not."""

from __future__ import annotations

from email import message_from_bytes, policy

import pytest

from services.deliver.core.mime.seven_bit import MAX_DEPTH, to_seven_bit
from shared.smtp.content import with_crlf
from shared.smtp.extensions import Unsendable
from tests.messages import Sample, load
from tests.support.seven_bit import MIXED, PLAIN, UMLAUTS, converted, encodings, message, parts

EIGHT_BIT = tuple(sample for sample in load() if sample.accepted and not sample.content.isascii())
# Messages of the set whose header is not ASCII.
RAW_HEADERS = frozenset(
    sample.name
    for sample in EIGHT_BIT
    if not with_crlf(sample.content).partition(b"\r\n\r\n")[0].isascii()
)


@pytest.mark.parametrize("sample", EIGHT_BIT, ids=lambda sample: sample.name)
def test_a_message_of_the_set_is_converted_to_the_same_text(sample: Sample) -> None:
    if sample.name == "headers-latin1-elsewhere.eml":  # its header is not UTF-8
        assert to_seven_bit(sample.content) is Unsendable.EIGHT_BIT_HEADER
        return
    found = message_from_bytes(converted(sample.content), policy=policy.default)
    if sample.name in RAW_HEADERS:
        before = message_from_bytes(sample.content, policy=policy.SMTPUTF8)
        assert str(found["subject"]) == str(before["subject"])


def test_the_set_has_messages_of_both_kinds() -> None:
    assert RAW_HEADERS
    assert len(EIGHT_BIT) > len(RAW_HEADERS) + 2


GREEK = "Καλημέρα κόσμε"


BODY_CONVERTED: list[str | None] = ["7bit", "quoted-printable"]
BODY = f"--B\n{PLAIN}\nContent-Transfer-Encoding: 8bit\n\n{UMLAUTS}\n--B--\n"

# What it is; the message; the encodings of all its parts, from the outside in.
CONVERTED: list[tuple[str, bytes, list[str | None]]] = [
    (
        "mostly ASCII becomes quoted-printable",
        message(f"{PLAIN}\nContent-Transfer-Encoding: 8bit", UMLAUTS),
        ["quoted-printable"],
    ),
    (
        "other scripts become base64",
        message(f"{PLAIN}\nContent-Transfer-Encoding: 8bit", GREEK),
        ["base64"],
    ),
    ("an encoding is added where there is none", message(PLAIN, UMLAUTS), ["quoted-printable"]),
    (
        "a wrong 7bit is replaced",
        message(f"Content-Transfer-Encoding: 7BIT\n{PLAIN}", UMLAUTS),
        ["quoted-printable"],
    ),
    (
        "a message without MIME fields gets them",
        f"From: a@b.example\r\n\r\n{UMLAUTS}\r\n".encode(),
        ["quoted-printable"],
    ),
    ("a message without a header", f"\r\n{UMLAUTS}\r\n".encode(), ["quoted-printable"]),
    (
        "spaces at the ends of lines stay",
        message(PLAIN, f"{UMLAUTS} \n\t\n.\n"),
        ["quoted-printable"],
    ),
    ("bare line feeds", f"{PLAIN}\n\n{UMLAUTS}\n.\n\nend".encode(), ["quoted-printable"]),
    ("lines beyond the limit", message(PLAIN, UMLAUTS * 90), ["quoted-printable"]),
    (
        "other content than text becomes base64",
        message("Content-Type: application/x-y\nContent-Transfer-Encoding: binary", UMLAUTS),
        ["base64"],
    ),
    (
        "only the parts with 8-bit text are encoded",
        message(
            f"{MIXED}\nContent-Transfer-Encoding: 8bit",
            parts(f"{PLAIN}\n\n{UMLAUTS}", "\nASCII", f"{PLAIN}\n\n{GREEK}\n"),
        ),
        ["7bit", "quoted-printable", None, "base64"],
    ),
    (
        "an ASCII part that claims 8bit is declared as 7bit",
        message(MIXED, parts("Content-Transfer-Encoding: 8bit\n\nASCII", f"{PLAIN}\n\n{UMLAUTS}")),
        ["7bit", "7bit", "quoted-printable"],
    ),
    (
        "what stands around the parts",
        message(
            MIXED, parts(f"{PLAIN}\n\n{UMLAUTS}", before="für alte\n", after="Ende für alte\n")
        ),
        ["7bit", "quoted-printable"],
    ),
    (
        "a boundary in the middle of a line that has to be folded there",
        message(MIXED, parts(f"{PLAIN}\n\n€ {'a' * 60}--b 1--b 1")),
        ["7bit", "base64"],
    ),
    (
        "an empty part, and one without a header",
        message(MIXED, parts("", f"\n{UMLAUTS}")),
        ["7bit", None, "quoted-printable"],
    ),
    (
        "parts without an end",
        message(MIXED, f"--b 1\n{PLAIN}\n\n{UMLAUTS}\n"),
        ["7bit", "quoted-printable"],
    ),
    (
        "a boundary like another parameter's text",
        message(
            'Content-Type: multipart/mixed; x="; boundary=no"; Boundary="b 1"',
            parts(f"{PLAIN}\n\n{UMLAUTS}"),
        ),
        ["7bit", "quoted-printable"],
    ),
    (
        "multiparts in multiparts",
        message(
            MIXED,
            parts(
                "Content-Type: multipart/alternative; boundary=in\n\n"
                f"--in\n{PLAIN}\n\n{UMLAUTS}\n--in\n\nASCII\n--in--",
                "\nASCII",
            ),
        ),
        ["7bit", "7bit", "quoted-printable", None, None],
    ),
    (
        "a message in a message",
        message(
            MIXED,
            parts(f"Content-Type: message/rfc822\n\nSubject: x\n{PLAIN}\n\n{UMLAUTS}\n"),
        ),
        ["7bit", "7bit", "quoted-printable"],
    ),
    (
        "the messages of a digest",
        message(
            "Content-Type: multipart/digest; boundary=in",
            f"--in\n\nSubject: x\n{PLAIN}\n\n{UMLAUTS}\n\n--in--",
        ),
        ["7bit", "7bit", "quoted-printable"],
    ),
    *(
        (
            f"Content-Type: {value}",
            message(f"Content-Type: {value}\nContent-Transfer-Encoding: 8bit (text)", BODY),
            BODY_CONVERTED,
        )
        for value in (
            "multipart/alternative (a comment); boundary=B",
            'multipart/alternative; boundary*0="B"',
            "multipart/alternative; boundary*1*=; boundary*0*=us-ascii'en'%42",
            "multipart/alternative; boundary*=us-ascii''B",
        )
    ),
]


@pytest.mark.parametrize(
    ("content", "expected"), [c[1:] for c in CONVERTED], ids=[c[0] for c in CONVERTED]
)
def test_each_part_gets_the_encoding_that_it_needs(
    content: bytes, expected: list[str | None]
) -> None:
    found = converted(content)
    assert encodings(found) == expected
    assert message_from_bytes(found)["mime-version"] == "1.0"


SIGNED = 'Content-Type: multipart/signed; protocol="application/pgp-signature"; boundary="b 1"'
DEEP = "".join(
    f"Content-Type: multipart/mixed; boundary=b{level}x\n\n--b{level}x\n"
    for level in range(MAX_DEPTH + 2)
)
REFUSED = [
    ("a header field", message("Message-ID: <Grüße>", "a"), Unsendable.EIGHT_BIT_HEADER),
    (
        "the header field of a part",
        message(MIXED, parts("Content-ID: <Grüße>\n\na")),
        Unsendable.EIGHT_BIT_HEADER,
    ),
    (
        "the header of a message in a message",
        message("Content-Type: message/rfc822", "Message-ID: <Grüße>\n\na"),
        Unsendable.EIGHT_BIT_HEADER,
    ),
    ("a signed part", message(SIGNED, parts(f"\n{UMLAUTS}")), Unsendable.SIGNED_PARTS),
    (
        "8-bit text that claims to be encoded",
        message(f"{PLAIN}\nContent-Transfer-Encoding: base64", UMLAUTS),
        Unsendable.NOT_CONVERTIBLE,
    ),
    (
        "a multipart without a boundary",
        message("Content-Type: multipart/mixed", UMLAUTS),
        Unsendable.NOT_CONVERTIBLE,
    ),
    (
        "a multipart whose type does not parse",
        message("Content-Type: multipart/mixed boundary=B", BODY),
        Unsendable.NOT_CONVERTIBLE,
    ),
    ("a multipart without parts", message(MIXED, UMLAUTS), Unsendable.NOT_CONVERTIBLE),
    (
        "a piece of a message",
        message("Content-Type: message/partial; id=1; number=1", f"\n{UMLAUTS}"),
        Unsendable.NOT_CONVERTIBLE,
    ),
    (
        "a part whose header is none",
        message(MIXED, parts(f"no field\n\n{UMLAUTS}")),
        Unsendable.NOT_CONVERTIBLE,
    ),
    (
        "parts in parts without an end",
        DEEP.replace("\n", "\r\n").encode() + f"\r\n{UMLAUTS}".encode(),
        Unsendable.NOT_CONVERTIBLE,
    ),
]


@pytest.mark.parametrize(
    ("content", "expected"), [c[1:] for c in REFUSED], ids=[c[0] for c in REFUSED]
)
def test_what_cannot_be_converted_is_refused_with_its_reason(
    content: bytes, expected: Unsendable
) -> None:
    assert to_seven_bit(content) is expected


@pytest.mark.parametrize("content", [b"", b"a: b\n\nASCII", message(MIXED, parts("\nASCII"))])
def test_ascii_stays_byte_by_byte(content: bytes) -> None:
    assert to_seven_bit(content) is content


def test_fields_and_ascii_parts_stay_byte_by_byte() -> None:
    part = "Content-Type:   text/PLAIN;\n\tcharset = us-ascii\n\nASCII =  \n"
    found = converted(message(f"Subject:  a\n\t b\n{MIXED}", parts(part, f"{PLAIN}\n\n{UMLAUTS}")))
    assert b"Subject:  a\r\n\t b\r\n" in found
    assert part.replace("\n", "\r\n").encode() in found


def test_text_behind_the_end_of_the_parts_that_looks_like_parts_is_not_changed() -> None:
    for end in ("\n--b 1\n--b 1--", "x\n--b 1--"):
        content = message(MIXED, parts(f"{PLAIN}\n\n{end}", f"{PLAIN}\n\n{UMLAUTS}"))
        assert to_seven_bit(content) is Unsendable.NOT_CONVERTIBLE
