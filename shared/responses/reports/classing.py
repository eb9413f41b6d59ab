"""Decides the kind of each statement of a report.

This module owns the order of the rules, and the evidence that the class hard requires. It does not
own the rules (shared/responses/rules/reasons.toml, shared/responses/replies). Only a permanent
failure is hard. Filters refuse the content of a message with the same words that report an unknown
user. Therefore such words in a quoted reply lead to the class hard only with more evidence: a
status about the address, the step RCPT, or a reporting system that checks recipients itself. If no
rule recognises a failure, its kind is unknown. If no rule recognises a server's refusal, its kind
is policy, as in the deliver service. This module does no I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from shared.responses.replies.refusal_text import Refusal, read_refusal
from shared.responses.reports.statement import (
    Statement,
    Words,
    is_permanent,
    stage_of,
    status_of,
    words_of,
)
from shared.responses.rules.model import ReasonRule, Rules
from shared.responses.understood import ReportedRecipient, ResponseKind
from shared.smtp.events import Stage
from shared.smtp.remote_text import clean_text
from shared.smtp.reply import Reply

MAX_DIAGNOSTIC_CHARS: Final = 500

_HARD: Final = ResponseKind.HARD.value
_KINDS: Final = {
    "hard": ResponseKind.HARD,
    "soft": ResponseKind.SOFT,
    "policy": ResponseKind.POLICY,
    "authentication": ResponseKind.POLICY,
    "content": ResponseKind.CONTENT,
    "network": ResponseKind.SOFT,
}
_ABOUT_US: Final = frozenset({Stage.MAIL, Stage.EHLO, Stage.CONNECT})
_REFUSES_US: Final = frozenset({"policy", "authentication"})
# RFC 3463, 3.2: a status X.1.Y is about the address, so it confirms words about an unknown user.
_NAMES_ADDRESS: Final = "1."
# RFC 3463, 3.3: X.2.Y means that the mailbox exists, so it contradicts words about an unknown user.
_NAMES_MAILBOX: Final = "2."
# The code 551 answers RCPT (RFC 5321, 4.3.2).
_NOT_LOCAL: Final = 551
# In every language, the rules for words about an unknown recipient have names with this beginning.
_WEAK_REASON: Final = "unknown-recipient"


class Judged(Struct, frozen=True):
    """A recipient with its kind, and the name of the rule that decided the kind."""

    recipient: ReportedRecipient
    rule: str


class _Found(Struct, frozen=True):
    """A bounce class and the rule that decided this class. Both are "" if no rule matched."""

    bounce_class: str = ""
    rule: str = ""
    is_quoted: bool = False  # The words are a quoted reply.


_NOTHING: Final = _Found()


def judge(rules: Rules, statement: Statement) -> Judged:
    """Judge a statement. Return its recipient with the kind, and the rule that decided the kind."""
    words = words_of(statement)
    status = status_of(statement, words)
    stage = stage_of(statement)
    found = _search(rules, stage, words, status)
    code = next((one.code for one in words if one.code), 0)
    if code == _NOT_LOCAL:
        stage = stage or Stage.RCPT
    if found.bounce_class == _HARD and not _is_proved(found, stage, status, statement):
        found = _Found("soft", f"{found.rule}/unproved")
    is_final = statement.action != "delayed"
    if not (is_final and is_permanent(statement, words, status)):
        found = _passing(found)
    if not found.bounce_class and code:
        found = _Found("policy", "unrecognised-refusal")
    said = statement.diagnostic or next((one.text for one in words if one.code), words[0].text)
    recipient = ReportedRecipient(
        statement.address,
        _KINDS.get(found.bounce_class, ResponseKind.UNKNOWN),
        status,
        clean_text(" ".join(said.split()))[:MAX_DIAGNOSTIC_CHARS],
        is_final,
        found.bounce_class,
        statement.aliases,
    )
    return Judged(recipient, found.rule or "no-reason")


def _passing(found: _Found) -> _Found:
    """Return the class of a failure that is not permanent. This class is never hard."""
    if found.bounce_class == _HARD:
        return _Found("soft", f"{found.rule}/transient")
    return found if found.bounce_class else _Found("soft", "transient")


def _search(rules: Rules, stage: Stage | None, words: Sequence[Words], status: str) -> _Found:
    step = stage or Stage.RCPT
    if step is Stage.CONTENT and status[2:].startswith(_NAMES_ADDRESS):
        # With PIPELINING, the reply to RCPT may arrive while DATA is sent. Then a report may
        # mention DATA instead of RCPT.
        step = Stage.RCPT
    for one in words:
        found = _classify(rules, step, read_refusal(Reply(550, one.status or status, one.text)))
        if found.bounce_class:
            return _Found(found.bounce_class, found.rule, bool(one.code))
    return _NOTHING


def _classify(rules: Rules, step: Stage, refusal: Refusal) -> _Found:
    """Return the class of one text. A refusal of our system takes precedence over a hard reason."""
    by_reply: _Found | None = None
    for reason in rules.reasons:
        if reason.is_fallback or not reason.applies(step, refusal):
            continue
        if reason.kind is ResponseKind.HARD and not reason.is_certain:
            by_reply = by_reply or _by_reply_rules(rules, step, refusal)
            if by_reply.bounce_class in _REFUSES_US:
                continue
        return _by_reason(reason, step)
    by_reply = by_reply or _by_reply_rules(rules, step, refusal)
    if by_reply.bounce_class:
        return by_reply
    for reason in rules.reasons:
        if reason.is_fallback and reason.applies(step, refusal):
            return _by_reason(reason, step)
    return _NOTHING


def _by_reply_rules(rules: Rules, step: Stage, refusal: Refusal) -> _Found:
    for number, rule in enumerate(rules.replies, 1):
        if rule.applies(step, refusal):
            is_about_recipient = rule.bounce_class in ("hard", "soft")
            is_ours = step in _ABOUT_US and is_about_recipient
            return _Found("policy" if is_ours else rule.bounce_class, f"replies-{number}")
    return _NOTHING


def _by_reason(reason: ReasonRule, step: Stage) -> _Found:
    if reason.name.startswith("network"):
        return _Found("network", reason.name)
    is_ours = step in _ABOUT_US and reason.kind is ResponseKind.HARD
    return _Found("policy" if is_ours else reason.kind.value, reason.name)


def _is_proved(found: _Found, stage: Stage | None, status: str, statement: Statement) -> bool:
    """Return True if the evidence for an unknown recipient is sufficient.

    Words alone are not sufficient, because filters use the same words.
    """
    if not statement.can_be_hard:
        return False
    is_weak = found.rule.startswith("replies-") or found.rule.startswith(_WEAK_REASON)
    if not is_weak and not statement.is_doubtful:
        return True
    is_quoted = found.is_quoted or statement.is_doubtful
    if not is_quoted or stage is Stage.RCPT:
        return True
    if statement.is_trusted:
        return not status[2:].startswith(_NAMES_MAILBOX)
    return status[2:].startswith(_NAMES_ADDRESS)
