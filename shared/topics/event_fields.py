"""What each field of an event means, for the contract with the platforms and its page."""

from __future__ import annotations

from typing import Final

MEANINGS: Final[dict[str, str]] = {
    "client": "The client's name",
    "mailing_id": "The mailing ID to which the message belongs",
    "sub_client": "The sub-client that is billed; empty if the code names none",
    "recipient": "The recipient's address",
    "message_id": "The Message-ID with its angle brackets; empty if there is no valid one",
    "at_ms": "When it happened, in Unix milliseconds",
    "received_at_ms": "When the submission arrived, in Unix milliseconds",
    "attempt": "The attempts made so far, this one included; 0 if there was none",
    "first_dispatch": "Whether a destination server answered MAIL or RCPT for the first time; such "
    "an attempt is billed",
    "first_dispatched_at_ms": "When that was, in Unix milliseconds; 0 if not yet",
    "reply": "The answer of the destination server, or of the last attempt",
    "enhanced": "Its enhanced status code (RFC 3463), or that of the first violated rule",
    "bounce_class": "hard, soft, policy, content, authentication or network; empty for what an "
    "operator ended",
    "reason": "A sentence for people; its wording may change",
    "rules": "The violated rules of a refusal, or the reason word of a suppression",
    "lane": "The lane in which the message was sent",
    "site": "The mail servers of the destination, or the server of a route override",
    "source": "Our address from which it was sent",
    "tls": "The TLS version of the connection; empty without TLS",
    "size_bytes": "The size of the message",
    "next_attempt_at_ms": "When a deferred or scheduled message is due, in Unix milliseconds",
    "origin": "Where the submission came from: topic, partition, offset, or the SMTP peer",
    "first_mail_id": "Of a duplicate: the mail id of the first submission",
    "tls_fault": "Why there was no TLS although the server offers it",
    "author": "The operator whose order this follows; empty for everything else",
    "submission_id": "The platform's own id of the submission (`ce_id`)",
    "submission_source": "The source of that id (`ce_source`)",
    "code": "The mailing code, from the header of the message or the attribute",
    "metadata": "The names and values that the platform gave with the message (`ce_metadata`)",
    "response": "Of returned mail: its kind: hard, soft, policy, content, auto-reply, reply, "
    "complaint, unsubscribe or unknown",
    "response_rule": "Of returned mail: the rule that decided its kind",
    "return_id": "Of returned mail: its own id, that of its record on `mail.returned`",
    "tls_policy": "What the connection had to keep to: opportunistic, required, verified, mta-sts,"
    " mta-sts-testing or dane",
    "provider": "The mailbox provider of the destination, as the shaping rules name it; empty for"
    " all others",
    "held": "Of a message in doubt: it is held until an operator sends or drops it",
    "mail_class": "The kind of mail of the client: marketing or transactional",
    "versions": "Short hashes of what was in force when the message ended: the submission rules "
    "(`rules`) and the client's entry in the registry (`registry`) when it was judged, the shaping "
    "rules (`shaping`) of the process that sent it",
}
