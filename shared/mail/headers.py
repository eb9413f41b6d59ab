"""Scans a message's header once for the facts that the rules R1 to R12 need (RFC 5322, 2.2).

The accepted forms are listed in docs/rules.md. The syntax of addresses is in address.py, the rules
are in shared/submission/rules.py, and the conversion to CRLF is in shared/smtp/content.py.

The scan never raises an exception. A defect does not end the scan. Every line that any mail program
might read as one of these headers is still counted, so a defect cannot hide a header. The time is
linear and bounded by `max_header_bytes`. The body is only searched for NUL bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from functools import lru_cache
from typing import Final

from shared.mail import encoded_words
from shared.mail.address import Parsed, ParsedAddress, parse_single
from shared.mail.domains import domain_of as split_domain
from shared.smtp.content import with_crlf
from shared.topics.records import Facts

__all__ = ["CODE_HEADER", "MAX_HEADER_BYTES", "Defect", "scan", "split_domain"]

CODE_HEADER: Final = b"x-bm-mailing"
MAX_HEADER_BYTES: Final = 262_144
MAX_HEADER_LINES: Final = 2_000  # A real header has fewer than 200 lines. A line costs an object.
RAW_CHARS: Final = 200  # A value is cut to this length when it is shown in a refusal.
MAX_MESSAGE_ID_OCTETS: Final = 995  # A Message-ID must fit into a line of 998 octets.


class Defect(StrEnum):
    """The reason why bytes cannot be parsed as a message. The text can follow a colon."""

    EMPTY = "it is empty"
    NO_HEADER = "it begins with an empty line, so it has no header"
    NO_END = "no empty line ends its header"
    TOO_LARGE = "its header is larger than {limit} bytes"
    TOO_MANY = f"its header has more than {MAX_HEADER_LINES} lines"
    NUL = "its header contains a NUL byte"
    NUL_BODY = "its body contains a NUL byte"
    CONTROL = "its header contains a control character"
    BARE_CR = "its header contains a carriage return without a line feed"
    MIXED = "its header ends some lines with CRLF and some with LF"
    FOLD_FIRST = "its first line begins with white space"
    FOLD_BLANK = "its header has a line with only white space"
    NO_COLON = "a line of its header is not of the form Name: value"
    NAME = "the name of a header contains a character that is not allowed"
    SPACE = "there is white space between the name of a header and its colon"


# The kinds of header lines. Values are kept for all kinds except _OTHER.
_OTHER: Final = 0

_FROM, _TO, _CC, _BCC, _SUBJECT, _MESSAGE_ID, _REPLY_TO, _RETURN_PATH, _CODE, _DATE = range(1, 11)

_RULED: Final = {
    b"from": _FROM,
    b"to": _TO,
    b"cc": _CC,
    b"bcc": _BCC,
    b"subject": _SUBJECT,
    b"message-id": _MESSAGE_ID,
    b"reply-to": _REPLY_TO,
    b"return-path": _RETURN_PATH,
    b"date": _DATE,
}

# Header names in their usual spellings need only one look-up. Other spellings are parsed. The table
# is fixed, because a sender could fill a cache with names of 256 KB.
_USUAL: Final = (
    b"From To Cc Bcc CC BCC Subject Message-ID Message-Id Message-id Reply-To Return-Path Date "
    b"Received DKIM-Signature DomainKey-Signature Authentication-Results ARC-Seal "
    b"ARC-Message-Signature ARC-Authentication-Results MIME-Version Mime-Version Content-Type "
    b"Content-Transfer-Encoding Content-Language Content-Disposition Content-ID "
    b"List-Unsubscribe List-Unsubscribe-Post List-Id List-ID List-Help List-Owner Sender "
    b"Precedence Feedback-ID References In-Reply-To Thread-Topic Thread-Index X-Mailer "
    b"User-Agent X-Priority Importance Auto-Submitted X-Auto-Response-Suppress Errors-To "
    b"Organization Require-Recipient-Valid-Since X-CSA-Complaints X-Report-Abuse "
    b"from to cc bcc subject message-id reply-to return-path date content-type mime-version"
).split()

_Values = list[list[bytes]]

_NAME: Final = re.compile(rb"[!-9;-~]+")  # RFC 5322, 3.6.8

_NOT_IN_NAMES: Final = bytes({*range(256)} - {*range(0x21, 0x7F)}) + b":"

_ANY_LINE_END: Final = re.compile(rb"\r\n|\n|\r")

_ANY_HEADER_END: Final = re.compile(rb"\n\r?\n")

# Tab, CR and LF are checked elsewhere. ESC is not included, because ISO-2022-JP uses it.
_CONTROLS: Final = bytes(sorted({*range(32), 127} - set(b"\t\r\n\x1b")))

_ATEXT: Final = rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"

_DOT_ATOM: Final = _ATEXT + rb"++(?:\." + _ATEXT + rb"++)*+"

_MESSAGE_ID_FORM: Final = re.compile(
    rb"<" + _DOT_ATOM + rb"@(?:" + _DOT_ATOM + rb"|\[[!-Z^-~]++\])>"
)

_CACHED_SENDERS: Final = 1_024

_MAX_CACHED_OCTETS: Final = 512


def scan(
    content: bytes, code_header: bytes = CODE_HEADER, max_header_bytes: int = MAX_HEADER_BYTES
) -> Facts:
    """Return the facts of a message. `code_header` is the lower-case header name of rule R8."""
    first = content.find(b"\n", 0, max_header_bytes)
    is_crlf = first > 0 and content[first - 1] == 13
    end = content.find(b"\r\n\r\n", first - 1, max_header_bytes) if is_crlf else -1
    head = content[:end] if end > 0 else b""
    lines = head.split(b"\r\n")
    breaks = len(lines) - 1
    defect, header_bytes = "", end + 4
    # If all CR and LF are parts of CRLF, every program finds the end of the header at this place.
    whole = end > 0 and head.count(b"\n") == breaks == head.count(b"\r")
    if not whole or not lines[0]:
        lines, header_bytes, defect = _split_odd(content, max_header_bytes)
        head = content[:header_bytes]
    if len(head.translate(None, _CONTROLS)) != len(head):
        defect = defect or (Defect.NUL if b"\0" in head else Defect.CONTROL)
    if len(lines) > MAX_HEADER_LINES:
        defect, lines = defect or Defect.TOO_MANY, lines[:MAX_HEADER_LINES]
    values: _Values = [[], [], [], [], [], [], [], [], [], [], []]
    line_defect = _sort(lines, code_header, values)
    defect = defect or line_defect
    if not defect and b"\0" in content:
        # RFC 5322, 2.1 forbids NUL. If a server drops it, a line with one dot may remain
        # (smuggling).
        defect = Defect.NUL_BODY
    return _facts(len(content), header_bytes, str(defect), values)


def header_end(content: bytes) -> int:
    """Return the position after the last field and its line end, or 0 if there is no header.

    The header ends before the first empty line, which may end with only LF. If there is no empty
    line, the header ends with the message. Callers search only the header for a field, because a
    search of a whole message of 10 KB takes 0.2 ms. All other work takes the same time.
    """
    if content.startswith((b"\n", b"\r\n")):
        return 0
    found = content.find(b"\n\r\n")
    other = content.find(b"\n\n", 0, found + 1 if found >= 0 else len(content))
    first = other if other >= 0 else found
    return first + 1 if first >= 0 else len(content)


def scan_normal_form(content: bytes, scan: Callable[[bytes], Facts]) -> tuple[Facts, bytes]:
    """Return the facts and the bytes of a message's normal form, whose lines all end with CRLF.

    The same message may arrive with LF by Kafka and with CRLF by SMTP, and it is sent with CRLF. So
    the normal form is measured (R1), compared with earlier messages with the same key, and
    processed further. The original bytes are scanned first, because the conversion would hide a
    bare CR or mixed line ends in a header. A message with a defect is not converted.
    """
    facts = scan(content)
    if facts.defect:
        return facts, content
    normal = with_crlf(content)
    return (facts, content) if normal is content else (scan(normal), normal)


def _split_odd(content: bytes, limit: int) -> tuple[list[bytes], int, str]:
    """Return the lines, length and defect of a header in which not all lines end with CRLF."""
    if not content:
        return [], 0, Defect.EMPTY
    if content[0] in b"\r\n":
        return [], 2 if content.startswith(b"\r\n") else 1, Defect.NO_HEADER
    end = content.find(b"\n\n", 0, limit)
    if end > 0 and b"\r" not in (head := content[:end]):
        return head.split(b"\n"), end + 2, ""
    window = content[:limit]
    found = _ANY_HEADER_END.search(window)
    if found is None:
        cut = len(content) > limit
        defect = Defect.TOO_LARGE.format(limit=limit) if cut else Defect.NO_END
        return _lines(window), len(window), defect
    head = window[: found.end()]
    bare_cr = b"\r" in head.replace(b"\r\n", b"")
    return _lines(head), found.end(), Defect.BARE_CR if bare_cr else Defect.MIXED


def _lines(head: bytes) -> list[bytes]:
    return [line for line in _ANY_LINE_END.split(head) if line]


@lru_cache(16)
def _usual_kinds(code_header: bytes) -> dict[bytes, int]:
    kinds = {name: _RULED.get(name.lower(), _OTHER) for name in _USUAL}
    kinds[code_header] = kinds[code_header.title()] = _CODE
    if code_header == CODE_HEADER:
        kinds[b"X-bm-mailing"] = _CODE
    return kinds


def _sort(lines: list[bytes], code_header: bytes, values: _Values) -> str:
    """Add the unfolded values of headers that have a rule to `values`. Return a defect or None."""
    defect = ""
    kinds = _usual_kinds(code_header)
    kind = -1
    for line in lines:
        if line[0] == 32 or line[0] == 9:
            if kind > 0:
                values[kind][-1] += line
            if kind < 0 or not line.strip(b" \t"):
                defect = defect or (Defect.FOLD_FIRST if kind < 0 else Defect.FOLD_BLANK)
            continue
        name, colon, value = line.partition(b":")
        found = kinds.get(name)
        if found is None or not colon:
            found, odd = _read_name(name, colon, code_header)
            defect = defect or odd
        kind = found
        if kind:
            values[kind].append(value)
    return defect


def _read_name(name: bytes, colon: bytes, code_header: bytes) -> tuple[int, str]:
    """Return the kind and the defect of a line. Malformed names are recognised, too."""
    if not colon:
        return _OTHER, Defect.NO_COLON
    defect = ""
    if not _NAME.fullmatch(name):
        bare = name.rstrip(b" \t")
        defect = Defect.SPACE if _NAME.fullmatch(bare) else Defect.NAME
        name = name.translate(None, _NOT_IN_NAMES)
    lower = name.lower()
    return _CODE if lower == code_header else _RULED.get(lower, _OTHER), defect


def _facts(size_bytes: int, header_bytes: int, defect: str, values: _Values) -> Facts:
    message_ids, tos, froms = values[_MESSAGE_ID], values[_TO], values[_FROM]
    subjects, codes = values[_SUBJECT], values[_CODE]
    # The arguments are positional, because keyword arguments take eight times as long.
    return Facts(
        size_bytes,
        header_bytes,
        len(message_ids),
        _message_id(message_ids),
        _shown(message_ids),
        len(tos),
        _address(parse_single(tos[0])) if len(tos) == 1 else "",
        _shown(tos),
        len(froms),
        _sender(froms[0]) if len(froms) == 1 else "",
        _shown(froms),
        len(values[_CC]),
        len(values[_BCC]),
        len(subjects),
        not subjects or any(map(encoded_words.is_blank, subjects)),
        len(values[_REPLY_TO]),
        len(values[_RETURN_PATH]),
        len(codes),
        _shown(codes),
        defect,
        len(values[_DATE]),
    )


def _message_id(values: list[bytes]) -> str:
    if len(values) != 1:
        return ""
    value = values[0].strip(b" \t")
    if len(value) > MAX_MESSAGE_ID_OCTETS or not _MESSAGE_ID_FORM.fullmatch(value):
        return ""
    return value.decode("ascii")


def _address(parsed: Parsed) -> str:
    # type() is used, because isinstance() takes five times as long for a Struct.
    return parsed.address if type(parsed) is ParsedAddress else ""


def _sender(value: bytes) -> str:
    """Return the From address. The result is cached, because From addresses recur."""
    if len(value) > _MAX_CACHED_OCTETS:
        return _address(parse_single(value))
    return _cached_sender(value)


@lru_cache(_CACHED_SENDERS)
def _cached_sender(value: bytes) -> str:
    return _address(parse_single(value))


def _shown(values: list[bytes]) -> str:
    """Return the first value as a short text that can always be encoded as UTF-8."""
    if not values:
        return ""
    octets = values[0].strip(b" \t")[: 4 * RAW_CHARS]
    return octets.decode("utf-8", "backslashreplace")[:RAW_CHARS]
