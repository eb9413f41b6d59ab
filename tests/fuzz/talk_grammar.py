"""Generates SMTP input of a client and of a server, and the records of an intake.

Each input starts with four bytes that select how it is read: options, policy and the splits.
"""

from __future__ import annotations

import json
from base64 import b64encode
from random import Random
from typing import Final

from tests.fuzz import mail_grammar

HEAD_BYTES: Final = 4
# Between the parts of a record: value, then name and value of each header.
PART: Final = b"\xff\xfe"
NO_VALUE: Final = b"\xfd"

_HELLOS: Final = (b"EHLO me", b"HELO me", b"EHLO [127.0.0.1]", b"EHLO", b"ehlo a b", b"EHLO \xff")
_PARAMETERS: Final = (
    *(
        "",
        "",
        "",
        " SIZE=10",
        " SIZE=999999",
        " BODY=8BITMIME",
        " SMTPUTF8",
        " SIZE=x",
        " RET=HDRS",
    ),
    *(" AUTH=<>", " BODY=8BITMIME SMTPUTF8 SIZE=1", " =", " SIZE=1 SIZE=1", " NOTIFY=NEVER"),
)
_OTHERS: Final = (
    *(b"RSET", b"NOOP", b"NOOP x", b"VRFY x", b"HELP", b"QUIT", b"STARTTLS", b"STARTTLS x", b""),
    *(
        b"BDAT 10",
        b"EXPN x",
        b"GET / HTTP/1.1",
        b"XYZZY",
        b"DATA now",
        b"NO\0OP",
        b"\xff",
        b" NOOP",
    ),
    *(b"A" * 3_000, b"NOOP " + b"x" * 600, b"TURN", b"AUTH", b"AUTH FOO", b"AUTH PLAIN =", b"*"),
)
_LINES: Final = (
    *(b"Subject: x", b"", b".", b"..", b".x", b"hello", b"\xc3\xbc", b"\0", b"x" * 1_100, b"QUIT"),
    *(b".\r", b"a\nb", b"a\rb", b"\n.\n", b"\r.\r", b"MAIL FROM:<x@y.example>", b". "),
)


def head(random: Random) -> bytes:
    return random.randbytes(HEAD_BYTES)


def _envelope(random: Random) -> bytes:
    sender = random.choice(("", "a@b.example", mail_grammar.address(random)))
    lines = [f"MAIL FROM:<{sender}>{random.choice(_PARAMETERS)}"]
    for _ in range(random.choice((0, 1, 1, 1, 2, 4))):
        to = random.choice(("c@d.example", "postmaster", mail_grammar.address(random)))
        lines.append(f"RCPT TO:<{to}>{random.choice(_PARAMETERS) if random.random() < 0.1 else ''}")
    return "\r\n".join(lines).encode("utf-8", "surrogatepass")


def _content(random: Random) -> bytes:
    lines = [random.choice(_LINES) for _ in range(random.choice((0, 1, 2, 3, 30)))]
    return b"\r\n".join([b"DATA", *lines, random.choice((b".", b".", b".", b"..", b"x"))])


def _login(random: Random) -> bytes:
    kind = random.choice((b"PLAIN", b"LOGIN", b"SCRAM-SHA-256"))
    first = random.choice(
        (b"\0acme\0pw", b"n,,n=acme,r=abc", b"acme", b"n,a=x,n=y,r=", b"\xff", b"")
    )
    lines = [b"AUTH %b %b" % (kind, b64encode(first))]
    lines += [
        random.choice((b64encode(b"pw"), b"*", b"=", b"!!!", b64encode(b"c=biws,r=x,p=AAAA")))
        for _ in range(random.randrange(3))
    ]
    return b"\r\n".join(lines)


def session(random: Random) -> bytes:
    """The input from a client, from its first command on."""
    parts = [random.choice(_HELLOS[:2]) if random.random() < 0.9 else random.choice(_HELLOS)]
    for _ in range(random.randrange(5)):
        match random.randrange(5):
            case 0 | 1:
                parts += [_envelope(random), _content(random)]
            case 2:
                parts.append(_envelope(random))
            case 3:
                parts.append(_login(random))
            case _:
                parts.append(random.choice(_OTHERS))
    end = b"\r\n" if random.random() < 0.97 else b"\n"
    return head(random) + end.join(parts) + end


def _reply(random: Random) -> bytes:
    code = random.choice((250, 250, 250, 354, 354, 550, 451, 421, 220, 334, 999, 0, 25))
    body = random.choice(("", " ok", " 2.1.0 ok", " 5.1.1 no", " \xff", " x" * 1_000, "-", "\0"))
    lines = [f"{code}-{body}" for _ in range(random.choice((0, 0, 0, 1, 3, 130)))]
    end = "\r\n" if random.random() < 0.97 else "\n"
    return (end.join([*lines, f"{code}{body}"]) + end).encode("latin-1")


def replies(random: Random) -> bytes:
    """The replies of a server to a client's transactions."""
    plain = (b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n", b"250 2.0.0 done\r\n")
    spoilt = [_reply(random) if random.random() < 0.2 else reply for reply in plain]
    again = plain * random.choice((0, 0, 1, 2))
    return head(random) + b"".join([*spoilt, *again, *[_reply(random)] * random.choice((0, 0, 1))])


_FIELDS: Final = (
    *("specversion", "id", "type", "source", "datacontenttype", "time", "subject"),
    *("code", "sender", "notbefore", "expires", "X", "data", "data_base64"),
)
_RECORD_VALUES: Final = (
    *(
        "1.0",
        "0.3",
        "m-1",
        "mail.submitted",
        "/shop",
        "message/rfc822",
        "application/json",
        "SPRING26",
    ),
    *(
        f"a@{mail_grammar.OURS}",
        "2026-03-02T10:00:00Z",
        "1772445600000",
        "x" * 300,
        "",
        "\x07",
        "ü",
    ),
)
_HEADER_NAMES: Final = (
    *("ce_specversion", "ce_id", "ce_type", "ce_source", "ce_time", "ce_", "CE_ID", "content-type"),
    *("sluice-code", "sluice-sender", "sluice-not-before", "sluice-expires", "ce_code", "sluice-x"),
    *("Content-Type", "traceparent", "", "ce_expires"),
)
_TYPES: Final = (
    "application/cloudevents+json",
    "message/rfc822",
    "application/cloudevents-batch+json",
)


def record(random: Random) -> bytes:
    """One record: value and headers, as parts."""
    content = mail_grammar.message(random)
    parts = [content]
    for _ in range(random.randrange(6)):
        octets = random.choice(_RECORD_VALUES).encode()
        parts += [random.choice(_HEADER_NAMES).encode(), random.choice((octets, octets, NO_VALUE))]
    if random.random() < 0.5:
        required = (("specversion", "1.0"), ("id", "m-1"), ("type", "t"), ("source", "/s"))
        for name, value in required:
            parts += [b"ce_" + name.encode(), value.encode()]
    if random.random() < 0.4:
        event: dict[str, object] = {
            random.choice(_FIELDS): random.choice((*_RECORD_VALUES, 1, None, True, {}, 10**20))
            for _ in range(random.randrange(6))
        }
        event |= {"specversion": "1.0", "id": "m", "type": "t", "source": "/s"}
        event["data_base64"] = b64encode(content).decode()
        parts[0] = json.dumps(event).encode()
        parts += [b"content-type", random.choice(_TYPES[:1] * 4 + _TYPES).encode()]
    return head(random) + PART.join(parts)
