"""Messages with 8-bit text, and the checks for a message that is converted to 7 bits."""

from __future__ import annotations

from email import message_from_bytes
from email.message import Message

from services.deliver.core.mime.seven_bit import to_seven_bit
from shared.smtp.content import has_longer_line, with_crlf

PLAIN = "Content-Type: text/plain; charset=utf-8"
MIXED = 'Content-Type: multipart/mixed; boundary="b 1"'
UMLAUTS = "Grüße aus Köln, und noch viel mehr Text in ASCII"


def message(header: str, body: str) -> bytes:
    text = f"From: a@b.example\nMIME-Version: 1.0\n{header}\n\n{body}"
    return text.replace("\n", "\r\n").encode()


def leaves(content: bytes) -> list[tuple[str, str | None, bytes]]:
    """Return the type, charset and decoded content of every part without parts."""
    return [
        (part.get_content_type(), part.get_content_charset(), decoded(part))
        for part in message_from_bytes(content).walk()
        if not part.is_multipart()
    ]


def decoded(part: Message) -> bytes:
    found = part.get_payload(decode=True)
    assert isinstance(found, bytes)
    return found


def encodings(content: bytes) -> list[str]:
    return [part["content-transfer-encoding"] for part in message_from_bytes(content).walk()]


def converted(content: bytes) -> bytes:
    """Return the converted content, after the checks for every converted message."""
    found = to_seven_bit(content)
    assert isinstance(found, bytes)
    assert found.isascii()
    if not content.isascii():  # ASCII is not changed
        assert with_crlf(found) == found
        assert not has_longer_line(found)
    assert leaves(with_crlf(found)) == leaves(with_crlf(content))
    return found


def parts(*each: str, before: str = "", after: str = "") -> str:
    inner = "".join(f"--b 1\n{part}\n" for part in each)
    return f"{before}{inner}--b 1--\n{after}"
