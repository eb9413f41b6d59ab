"""The enhanced status codes (RFC 3463, RFC 5248) of refusals by the rules.

Owns: the codes and their meanings. Does not own: the codes of remote servers' replies.
"""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """Permanent failures of a submission."""

    BAD_RECIPIENT = "5.1.3"  # bad destination mailbox address syntax
    TOO_BIG = "5.3.4"  # message too big for system
    BAD_HEADER = "5.5.4"  # invalid arguments: the attributes sent with the message
    BAD_MESSAGE = "5.6.0"  # media error: the message is malformed
    NOT_AUTHORISED = "5.7.1"  # delivery not authorised, message refused
