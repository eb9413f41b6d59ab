"""Defines the meaning of a returned message: its kind, and the recipients in its report.

This module owns the values that describe this meaning. The message is read in reading.py. This
module does not own the consequences (counters, suppressions, forwarding).
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class ResponseKind(StrEnum):
    """The kind of a returned message, or the kind of its report about one recipient."""

    HARD = "hard"  # A hard bounce: the address or domain does not exist, or has moved.
    SOFT = "soft"  # A soft bounce: the delivery failed, but a later message may arrive.
    POLICY = "policy"  # A policy bounce is due to the sender's reputation or recipient's rules.
    CONTENT = "content"  # A content bounce is due to the content of the message.
    AUTO_REPLY = "auto-reply"
    REPLY = "reply"  # A message that a person wrote.
    COMPLAINT = "complaint"
    UNSUBSCRIBE = "unsubscribe"
    UNKNOWN = "unknown"


class ReportedRecipient(Struct, frozen=True):
    """A recipient in the report of a returned message.

    If `is_final` is False, the reporting system is still trying to deliver the message. Only the
    bounce classes hard and soft are counted against a recipient. A network fault has the kind soft
    but the class network, so it is not counted. `aliases` are the other addresses that the report
    contains for the same recipient.
    """

    address: str  # The address in its normal form, or "" if the message has none.
    kind: ResponseKind
    status: str = ""  # The enhanced status code (RFC 3463); "" if it is not known.
    diagnostic: str = ""  # The reason in the report, at most 500 characters.
    is_final: bool = True
    bounce_class: str = ""  # hard, soft, policy, content, authentication, network; "" if unknown.
    aliases: tuple[str, ...] = ()


class Understood(Struct, frozen=True):
    """The meaning of a returned message. `rule` is the name of the rule that decided it."""

    kind: ResponseKind
    rule: str
    recipients: tuple[ReportedRecipient, ...] = ()
