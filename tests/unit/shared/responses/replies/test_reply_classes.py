"""The meaning of a server's refusal: the examples of the table, and critical cases."""

from __future__ import annotations

import pytest

from services.deliver.core.attempt.results import Bounced, ConnectionInfo, Deferred, Delivered
from services.deliver.core.attempt.verdicts import answered
from shared.responses.replies.reply_rules import CLASSES, ReplyRule, classify, parse_rules
from shared.smtp.events import Stage
from shared.smtp.reply import Reply, make_reply
from tests.support.response_rules import REPLY_RULES


def reply(text: str) -> Reply:
    return make_reply(int(text[:3]), text[4:])


def stages(rule: ReplyRule) -> list[Stage]:
    return sorted(rule.stages) or [Stage.RCPT, Stage.CONTENT]


@pytest.mark.parametrize("rule", REPLY_RULES, ids=lambda rule: rule.example)
def test_each_rule_matches_its_example_and_decides_it(rule: ReplyRule) -> None:
    for stage in stages(rule):
        assert rule.matches(stage, reply(rule.example))
        assert classify(REPLY_RULES, stage, reply(rule.example)).bounce_class == rule.bounce_class


@pytest.mark.parametrize("rule", REPLY_RULES, ids=lambda rule: rule.counter)
def test_each_rule_leaves_its_counter_example_alone(rule: ReplyRule) -> None:
    for stage in stages(rule):
        assert not rule.matches(stage, reply(rule.counter))


@pytest.mark.parametrize(
    ("stage", "text", "is_permanent", "bounce_class"),
    [
        (Stage.RCPT, "550 5.1.1 No such user", True, "hard"),
        (Stage.RCPT, "550 5.1.1 <a@spamfighter.example> unknown, see our policy", True, "hard"),
        (Stage.RCPT, "550 Not today", True, "policy"),
        (Stage.RCPT, "554 Not today", True, "policy"),
        (Stage.RCPT, "550 5.1.8 Sender domain not found", True, "policy"),
        (Stage.RCPT, "550 5.4.1 Recipient address rejected: Access denied", True, "hard"),
        (Stage.RCPT, "550 5.7.1 Recipient address rejected: blocked", True, "policy"),
        (Stage.RCPT, "552 5.2.2 Over quota", True, "soft"),
        (Stage.RCPT, "552 Exceeded storage allocation", True, "soft"),
        (Stage.RCPT, "550-Verification failed for <a@news.example.com>", True, "policy"),
        (Stage.RCPT, "550 Sender verify failed", True, "policy"),
        (Stage.RCPT, "504 5.5.2 <mx-out>: Helo command rejected: need FQDN", True, "policy"),
        (Stage.RCPT, '550 "JunkMail rejected - ... is in an RBL', True, "policy"),
        (Stage.RCPT, "550 relay not permitted", True, "policy"),
        (Stage.RCPT, "550 Reverse DNS lookup failed", True, "policy"),
        (Stage.RCPT, "550 mailbox over its quota", True, "soft"),
        (Stage.RCPT, "554 sorry, no mailbox here by that name (#5.1.1)", True, "hard"),
        (Stage.RCPT, "550 <policy@r.example>: no such user", True, "hard"),
        (Stage.RCPT, "550 5.1.1 <dmarc@r.example>: User unknown", True, "hard"),
        (Stage.CONTENT, "554 dd This user doesn't have a yahoo.example account", True, "hard"),
        (Stage.CONTENT, "550 Requested action not taken: mailbox unavailable", True, "content"),
        (Stage.CONTENT, "552 5.3.4 Message too big", True, "content"),
        (Stage.CONTENT, "552 Exceeded storage allocation", True, "soft"),
        (Stage.CONTENT, "550 5.7.1 Refused as spam", True, "policy"),
        (Stage.CONTENT, "550 5.7.26 Not authenticated", True, "authentication"),
        (Stage.CONTENT, "554 Transaction failed", True, "content"),
        (Stage.DATA, "554 Transaction failed", True, "policy"),
        (Stage.MAIL, "550 User unknown", True, "policy"),
        (Stage.CONNECT, "554 5.7.1 blocked", False, "policy"),
        (Stage.EHLO, "550 who?", False, "policy"),
        (Stage.RCPT, "451 4.7.1 Greylisted", False, "policy"),
        (Stage.RCPT, "452 4.2.2 Mailbox full", False, "soft"),
        (Stage.RCPT, "450 4.1.1 User unknown for now", False, "hard"),
        (Stage.CONTENT, "421 Service closing", False, "soft"),
        (Stage.RCPT, "499 what", False, "soft"),
    ],
)
def test_a_refusal_has_its_class(
    stage: Stage, text: str, is_permanent: bool, bounce_class: str
) -> None:
    meaning = classify(REPLY_RULES, stage, reply(text))
    assert (meaning.is_permanent, meaning.bounce_class) == (is_permanent, bounce_class)


def test_no_4xx_is_ever_final_and_no_5xx_before_a_recipient_counts_against_one() -> None:
    texts = [rule.example[4:] for rule in REPLY_RULES] + [rule.counter[4:] for rule in REPLY_RULES]
    for text in texts:
        for stage in Stage:
            assert not classify(REPLY_RULES, stage, make_reply(450, text)).is_permanent
        for stage in (Stage.CONNECT, Stage.EHLO, Stage.MAIL):
            meaning = classify(REPLY_RULES, stage, make_reply(550, text))
            assert meaning.bounce_class not in ("hard", "soft")
            assert meaning.bounce_class in CLASSES


@pytest.mark.parametrize(
    ("stage", "text", "kind", "dispatched"),
    [
        (Stage.CONTENT, "250 2.0.0 Ok", Delivered, True),
        (Stage.RCPT, "550 5.1.1 unknown", Bounced, True),
        (Stage.RCPT, "450 later", Deferred, True),
        (Stage.CONNECT, "554 no", Deferred, False),
    ],
)
def test_an_answer_becomes_an_outcome_that_says_the_way(
    stage: Stage, text: str, kind: type, dispatched: bool
) -> None:
    where = ConnectionInfo("mx.example", "192.0.2.1", "TLSv1.3")
    outcome = answered(REPLY_RULES, stage, reply(text), dispatched, where)
    assert isinstance(outcome, kind)
    assert outcome.reply == text
    assert (outcome.site, outcome.source, outcome.tls) == ("mx.example", "192.0.2.1", "TLSv1.3")
    if not isinstance(outcome, Delivered):
        assert (outcome.dispatched, outcome.in_doubt) == (dispatched, False)


@pytest.mark.parametrize(
    "text",
    [
        '[[rule]]\nclass = "odd"\nstatus = ["1."]\nexample = "a"\ncounter = "b"',
        '[[rule]]\nclass = "hard"\nexample = "a"\ncounter = "b"',
        '[[rule]]\nclass = "hard"\nstatus = ["1."]\nstages = ["odd"]\nexample = "a"\ncounter = "b"',
    ],
)
def test_a_wrong_row_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"rule 1|odd"):
        parse_rules(text)
