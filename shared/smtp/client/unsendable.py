"""Why a message cannot be offered to a server: RFC 5321, 1870, 6152 and 6531."""

from __future__ import annotations

from enum import StrEnum


class Unsendable(StrEnum):
    """The reason why a message cannot be offered to this server, as a text for the sender."""

    SENDER = "The sender's address cannot be written in SMTP"
    RECIPIENT = "The recipient's address cannot be written in SMTP"
    SMTPUTF8 = "The address is not ASCII, and the server does not offer SMTPUTF8"
    TOO_LARGE = "The message is larger than the server accepts (SIZE)"
    EIGHT_BIT = "The message has 8-bit text, and the server does not offer 8BITMIME"
    EIGHT_BIT_HEADER = (
        "A header field is not ASCII and was not encoded, and the server does not offer SMTPUTF8"
    )
    SIGNED_PARTS = (
        "The message has 8-bit text in a signed part (multipart/signed), which cannot be converted"
        " without breaking its signature, and the server does not offer 8BITMIME"
    )
    NOT_CONVERTIBLE = (
        "The message has 8-bit text in a part that cannot be converted, and the server does not"
        " offer 8BITMIME"
    )
