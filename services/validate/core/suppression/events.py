"""The event of a suppressed message: a stable word as its rule, and a sentence. Pure."""

from __future__ import annotations

from typing import Final

from shared.submission.attribution import unsent_event
from shared.topics.records import Envelope, MailEvent, Violation
from shared.topics.suppressions import BLOCKED, SuppressionReason

SENTENCES: Final[dict[str, str]] = {
    BLOCKED: "The recipient is on the block list of {}",
    SuppressionReason.COMPLAINT: "The recipient complained about mail of {}",
    SuppressionReason.UNSUBSCRIBED: "The recipient unsubscribed from mail of {}",
    SuppressionReason.MANUAL: "The recipient was suppressed by hand for {}",
    SuppressionReason.IMPORTED: "The recipient is on a list that was imported for {}",
    SuppressionReason.HARD_BOUNCES: "Mail of {} to the recipient bounced too often (hard bounces)",
    SuppressionReason.SOFT_BOUNCES: (
        "Mail of {} to the recipient bounced too often in a row (soft bounces)"
    ),
}


def suppressed_event(
    envelope: Envelope, word: str, now_ms: int, detail: str = "", *, owner: str = ""
) -> MailEvent:
    """Return the event of a suppressed message; `word` is a SuppressionReason or BLOCKED.

    `owner`: the client whose list it is on, if that is a parent of the message's client.
    """
    owner = owner or envelope.client
    sentence = SENTENCES[word].format(owner)
    if owner != envelope.client:
        sentence += f", from which {envelope.client} inherits"
    reason = f"{sentence}: {detail}" if detail else sentence
    rules = (Violation(word, sentence, found=detail),)
    return unsent_event(envelope, reason, now_ms, rules)
