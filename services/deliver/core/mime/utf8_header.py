"""Converts header fields with raw UTF-8 to ASCII: RFC 2047, and RFC 2231 for parameters.

The conversion is used for a server that does not offer SMTPUTF8 (RFC 6531, 3.4, RFC 6532). ASCII
fields are not changed. In unstructured text, words with non-ASCII characters become encoded words
(base64, UTF-8), and the other words are not changed. A display name is encoded as a whole, the
domain of an address becomes A-labels, and a parameter gets its extended form.

Owns: the rule that decides which fields can be written in ASCII. Does not own: the decision when a
header must be in ASCII (seven_bit.py, edge/pool/delivery.py). Guarantees: no header causes an
exception; the decoded text of each field stays the same. A field that cannot be encoded without
guessing is refused. Examples are fields with bytes that are not UTF-8, fields with non-ASCII
characters in local parts or comments, and fields whose syntax allows no encoded words. See
docs/decisions/0189-utf8-headers.md.
"""

from __future__ import annotations

import re
from base64 import b64encode
from typing import Final
from urllib.parse import quote

from services.deliver.core.mime.fields import split_fields, unfold
from shared.mail.domains import normalise

_PREFIX: Final = "=?utf-8?b?"
_SUFFIX: Final = "?="
# RFC 2047, 2: an encoded word has at most 75 characters, and its line has at most 76.
_WORD: Final = 75
_LINE: Final = 76
# A value begins on the line of its name (_folded). After a long name, its first encoded word has at
# least this length, and the line is longer than it should be.
_SHORTEST: Final = 40
# RFC 5322, 2.1.1 limits the length of a line, and a parameter is not folded.
_LONGEST: Final = 900

_NAME: Final = re.compile(r"([!-9;-~]+)[ \t]*:")
_WORDS: Final = re.compile(r"[ \t]+|[^ \t]+")
_ADDRESSES: Final = frozenset(
    {"from", "to", "cc", "bcc", "reply-to", "sender"}
    | {f"resent-{name}" for name in ("from", "to", "cc", "bcc", "reply-to", "sender")}
)
_PARAMETERS: Final = frozenset({"content-type", "content-disposition"})
# In the syntax of these fields an encoded word has no meaning.
_STRUCTURED: Final = frozenset(
    {
        "authentication-results",
        "content-id",
        "content-transfer-encoding",
        "date",
        "dkim-signature",
        "in-reply-to",
        "message-id",
        "mime-version",
        "received",
        "references",
        "return-path",
    }
)
# Matches a display name, and the address or the group after the name.
_MAILBOX: Final = re.compile(
    r'(?P<name>(?:"(?:[^"\\]|\\.)*"|[^"<>,;:()@\\])*)(?P<rest><[^<>]*>|:|[,;]|\Z)'
)
_DOMAIN: Final = re.compile(r'@([^\s<>,;:()"@\[\]]+)')
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPED: Final = re.compile(r"\\(.)")
_PARAMETER: Final = re.compile(
    r";(?P<space>[ \t]*)(?P<name>[!#$&+\-.0-9A-Z^_`a-z{|}~]+)[ \t]*=[ \t]*"
    r'(?P<value>"(?:[^"\\]|\\.)*"|[^\s;"]*)'
)


class _NotEncodable(Exception):
    pass


def ascii_header(header: bytes) -> bytes | None:
    """Convert a header that ends with CRLF to ASCII; None if that is not possible."""
    if header.isascii():
        return header
    try:
        fields = [field if field.isascii() else _encoded(field) for field in split_fields(header)]
    except (_NotEncodable, UnicodeDecodeError):
        return None
    return b"".join(field + b"\r\n" for field in fields)


def _encoded(raw: bytes) -> bytes:
    """Encode one field that has non-ASCII characters."""
    text = unfold(raw).decode("utf-8")
    found = _NAME.match(text)
    if found is None:
        raise _NotEncodable
    name, value = found[1].lower(), text[found.end() :]
    if name in _STRUCTURED or name.startswith(("list-", "arc-")):
        raise _NotEncodable
    if name in _ADDRESSES:
        value = _addresses(value, len(name) + 1)
    elif name in _PARAMETERS:
        value = _parameters(value)
    else:
        value = _text(value, len(name) + 1)
    return _folded(text[: found.end()], value).encode("ascii")


def _text(value: str, before: int) -> str:
    """Encode unstructured text: runs of words with non-ASCII characters become encoded words.

    `before` is the length of the name and the colon.
    """
    pieces = _WORDS.findall(value)
    written: list[str] = []
    at = 0
    while at < len(pieces):
        if pieces[at].isascii():
            written.append(pieces[at])
            at += 1
            continue
        end = _run_end(pieces, at)
        text = "".join(pieces[at:end])
        # Mail programs do not show the space between two encoded words, so the new encoded word
        # includes this space.
        if len(written) > 1 and _is_encoded_word(written[-2]):
            text = written[-1] + text
        if end + 1 < len(pieces) and _is_encoded_word(pieces[end + 1]):
            text += pieces[end]
        # Only a first word cannot begin on a line of its own.
        used = before + sum(map(len, written)) if not any(map(str.strip, written)) else 1
        written.append(_encoded_words(text, used))
        at = end
    return "".join(written)


def _run_end(pieces: list[str], at: int) -> int:
    """Return the end of the run of non-ASCII words and spaces that begins at index `at`."""
    end = at + 1
    while end + 1 < len(pieces) and not pieces[end + 1].isascii():
        end += 2
    return end


def _is_encoded_word(word: str) -> bool:
    return word.startswith("=?") and word.endswith("?=")


def _encoded_words(text: str, used: int) -> str:
    """Return as many encoded words as the text needs; no character is split between two words.

    `used` is the number of characters before the first word on its line.
    """
    words, part = [], b""
    room = _octets(max(_SHORTEST, _LINE - used))
    for char in text:
        octets = char.encode()
        if len(part) + len(octets) > room:
            words.append(part)
            part, room = b"", _octets(_WORD)
        part += octets
    words.append(part)
    return " ".join(f"{_PREFIX}{b64encode(word).decode()}{_SUFFIX}" for word in words)


def _octets(length: int) -> int:
    """Return the number of bytes that an encoded word of this length can contain."""
    return (min(length, _WORD) - len(_PREFIX) - len(_SUFFIX)) // 4 * 3


def _addresses(value: str, before: int) -> str:
    """Encode a list of addresses: the display names and the names of groups.

    `before` is the length of the name and the colon.
    """
    written, at = [], 0
    while at < len(value):
        found = _MAILBOX.match(value, at)
        if found is None or found.end() == at:
            # The text here is a comment, an address without brackets, or no address at all.
            end = next((i for i in range(at, len(value)) if value[i] in ",;"), len(value)) + 1
            written.append(_address(value[at:end]))
            at = end
            continue
        is_name = found["rest"][:1] in {"<", ":"}
        used = 1 if written else before
        name = found["name"] if not is_name else _display_name(found["name"], used)
        written.append(_address(name + found["rest"]))
        at = found.end()
    return "".join(written)


def _address(text: str) -> str:
    """Return an address with its domain in A-labels (RFC 5891). Its local part must be ASCII."""
    return _ascii(_DOMAIN.sub(lambda found: "@" + _a_labels(found[1]), text))


def _a_labels(domain: str) -> str:
    found = domain if domain.isascii() else normalise(domain)
    if not found:
        raise _NotEncodable
    return found


def _display_name(name: str, used: int) -> str:
    if name.isascii():
        return name
    if "=?" in name:
        raise _NotEncodable  # some words of the name are encoded already
    text = _QUOTED.sub(lambda quoted: _ESCAPED.sub(r"\1", quoted[1]), name)
    before = name[: len(name) - len(name.lstrip())]
    after = name[len(name.rstrip()) :]
    return before + _encoded_words(text.strip(), used + len(before)) + after


def _parameters(value: str) -> str:
    """Encode the parameters in the value of Content-Type or Content-Disposition."""

    def extended(found: re.Match[str]) -> str:
        name, text = found["name"], found["value"]
        if found[0].isascii():
            return found[0]
        if name.endswith("*") or name.lower() in {"boundary", "charset"}:
            raise _NotEncodable
        if text.startswith('"'):
            text = _ESCAPED.sub(r"\1", text[1:-1])
        octets = quote(text, safe="")
        if len(octets) > _LONGEST:
            raise _NotEncodable
        return f";{found['space']}{name}*=utf-8''{octets}"

    return _ascii(_PARAMETER.sub(extended, value))


def _ascii(text: str) -> str:
    if not text.isascii():
        raise _NotEncodable
    return text


def _folded(name: str, value: str) -> str:
    """Return the field, folded at its spaces where a line would be too long."""
    lines, line = [], name
    for piece in re.findall(r"[ \t]*[^ \t]+|[ \t]+\Z", value):
        is_word = piece.strip(" \t") != ""
        # Some mail programs end the header at a line that has only spaces. So a value begins on the
        # first line.
        if is_word and piece[0] in " \t" and line != name and len(line) + len(piece) > _LINE:
            lines.append(line)
            line = piece
        else:
            line += piece
    return "\r\n".join([*lines, line])
