"""The enhanced status codes (RFC 3463, RFC 5248) that refusals by the rules carry.

Owns: the codes and what each means. Does not own: the codes of remote servers' replies.
"""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """Permanent failures of a submission."""

    BAD_RECIPIENT = "5.1.3"  # bad destination mailbox address syntax
    TOO_BIG = "5.3.4"  # message too big for system
    BAD_HEADER = "5.5.4"  # invalid arguments: what was said beside the message
    BAD_MESSAGE = "5.6.0"  # media error: the message is not as it has to be
    NOT_AUTHORISED = "5.7.1"  # delivery not authorised, message refused
