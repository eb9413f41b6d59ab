"""Builds messages byte by byte, so that every Python version writes the same files.

Owns: encodings, parts and the header lines shared by all letters. Does not own: the letters.
"""

from __future__ import annotations

import base64
import binascii
import random
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

DATE: Final = "Tue, 03 Mar 2026 09:15:00 +0100"
SHOP: Final = '"Shop Example" <newsletter@news.shop.example>'
BANK: Final = "Bank Example <statements@mail.bank.example>"
MAX: Final = "Max Muster <max.muster@kunde.example>"


class Letter(Struct, frozen=True):
    """One file of the set: its name, its bytes, and the rules it breaks."""

    name: str
    content: bytes
    rules: tuple[str, ...] = ()
    client: str = "shop"
    envelope_from: str = ""
    rcpt: str = ""
    code: str = ""
    note: str = ""


class Body(Struct, frozen=True):
    """The MIME header lines of a part, and the content after the empty line."""

    header: str
    octets: bytes


def crlf(text: str) -> str:
    """The text with CRLF line ends."""
    return text.replace("\n", "\r\n")


def quoted_printable(octets: bytes) -> bytes:
    """RFC 2045, 6.7, with CRLF line ends."""
    lines = octets.replace(b"\r\n", b"\n").split(b"\n")
    encoded = [binascii.b2a_qp(line, istext=False, quotetabs=False) for line in lines]
    return b"\r\n".join(line.replace(b"\n", b"\r\n") for line in encoded)


def base64_lines(octets: bytes) -> bytes:
    """RFC 2045, 6.8: lines of 76."""
    text = base64.b64encode(octets)
    return b"".join(text[at : at + 76] + b"\r\n" for at in range(0, len(text), 76))


def word(text: str, charset: str = "utf-8", encoding: str = "B") -> str:
    """RFC 2047 encoded words, as many as necessary, folded."""
    words: list[str] = []
    piece = ""
    for letter in text:
        if piece and len(_word(piece + letter, charset, encoding)) > 75:
            words.append(_word(piece, charset, encoding))
            piece = ""
        piece += letter
    words.append(_word(piece, charset, encoding))
    return "\r\n ".join(words)


def _word(text: str, charset: str, encoding: str) -> str:
    octets = text.encode(charset)
    if encoding == "B":
        body = base64.b64encode(octets).decode()
    else:
        plain = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/"
        body = "".join(
            "_" if octet == 32 else chr(octet) if octet in plain else f"={octet:02X}"
            for octet in octets
        )
    return f"=?{charset}?{encoding}?{body}?="


def text_body(
    text: str, charset: str = "utf-8", encoding: str = "quoted-printable", kind: str = "plain"
) -> Body:
    """One text part; encoding is 7bit, 8bit, quoted-printable or base64."""
    octets = crlf(text).encode(charset)
    header = (
        f'Content-Type: text/{kind}; charset="{charset}"\nContent-Transfer-Encoding: {encoding}'
    )
    match encoding:
        case "base64":
            octets = base64_lines(octets)
        case "quoted-printable":
            octets = quoted_printable(octets)
        case _:
            pass
    return Body(header, octets)


def file_body(kind: str, name: str, octets: bytes, content_id: str = "") -> Body:
    """An attached file, or a picture shown in the page if it has a content ID."""
    place = "inline" if content_id else "attachment"
    header = (
        f'Content-Type: {kind}; name="{name}"\nContent-Transfer-Encoding: base64\n'
        f'Content-Disposition: {place}; filename="{name}"'
    )
    if content_id:
        header += f"\nContent-ID: <{content_id}>"
    return Body(header, base64_lines(octets))


def multipart(kind: str, boundary: str, parts: Sequence[Body], preamble: str = "") -> Body:
    """Parts between boundaries; kind is mixed, alternative or related."""
    octets = crlf(preamble).encode()
    for part in parts:
        octets += f"--{boundary}\r\n{crlf(part.header)}\r\n\r\n".encode() + part.octets
        octets += b"" if part.octets.endswith(b"\r\n") else b"\r\n"
    octets += f"--{boundary}--\r\n".encode()
    return Body(f'Content-Type: multipart/{kind};\n boundary="{boundary}"', octets)


def html(title: str, text: str, rows: int = 6) -> str:
    """A page like those of newsletters: tables, inline style, a picture, links."""
    offers = "".join(
        f'<tr><td style="padding:8px;font-family:Arial,sans-serif;font-size:14px">'
        f'<a href="https://www.shop.example/p/{4711 + row}?utm_source=newsletter">'
        f"{title} {row}</a></td><td align=3D>{19 + row * 7 % 80},95 &euro;</td></tr>\n".replace(
            "align=3D", 'align="right"'
        )
        for row in range(1, rows + 1)
    )
    return (
        '<!DOCTYPE html>\n<html><head><meta charset="utf-8">\n'
        f"<title>{title}</title>\n<style>td {{ color: #222 }}</style></head>\n"
        f'<body bgcolor="#ffffff"><h1>{title}</h1>\n<p>{text}</p>\n'
        f'<table width="600" cellpadding="0" cellspacing="0">\n{offers}</table>\n'
        '<p><a href="https://www.shop.example/abmelden">Abmelden</a></p>\n</body></html>\n'
    )


def dkim_line(domain: str, selector: str, seed: int) -> str:
    """A DKIM-Signature line, folded as signers do; the signature itself is random."""
    noise = random.Random(seed)
    body_hash = base64.b64encode(noise.randbytes(32)).decode()
    signature = base64.b64encode(noise.randbytes(256)).decode()
    folded = "\n\t ".join(signature[at : at + 64] for at in range(0, len(signature), 64))
    return (
        f"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d={domain}; s={selector};\n"
        "\th=from:to:subject:date:message-id:mime-version:content-type;\n"
        f"\tbh={body_hash};\n\tb={folded}"
    )


def lines(*parts: str) -> str:
    """Join header lines, or groups of them."""
    return "\n".join(part for part in parts if part)


def message(header: str, body: Body) -> bytes:
    """A whole message: header lines as written, MIME-Version and the body's lines, the body."""
    head = crlf(header.strip("\n") + "\nMIME-Version: 1.0\n" + body.header).encode()
    # Lines folded by word() already contain CR.
    return head.replace(b"\r\r\n", b"\r\n") + b"\r\n\r\n" + body.octets


def standard(subject: str, number: int, sender: str = SHOP, to: str = MAX) -> str:
    """The lines of nearly every message; the Message-ID is made of the sender and the number."""
    domain = sender.rpartition("@")[2].partition(" ")[0].rstrip(">")
    return (
        f"Date: {DATE}\nFrom: {sender}\nTo: {to}\n"
        f"Message-ID: <20260303081500.{number:05d}@{domain}>\nSubject: {subject}"
    )
