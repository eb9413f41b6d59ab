"""Refusals with the words of an unknown recipient that are about somebody or something else."""

from __future__ import annotations

from typing import Final

import pytest

from shared.responses.reading import understand
from shared.responses.replies.reply_rules import classify
from shared.responses.understood import ResponseKind
from shared.smtp.events import Stage
from shared.smtp.reply import make_reply
from tests.support.response_rules import RULES

# Addresses, hosts and domains of the sender; lists, records, parts of the message, logins, rates.
REFUSALS: Final = (
    "550 5.7.1 IP address was found in the block list",
    "550 5.7.1 Your address was not found in our white list",
    "554 Client IP address not found in reverse DNS",
    "550 Sending address is not recognized by this system",
    "550 PTR record was not found at ns1.r.example",
    "550 your host address could not be found",
    "550 unknown host or domain in EHLO",
    "554 5.7.1 The e-mail address of the sender was not found",
    "550 Recipient server does not accept mail, your IP is listed",
    "550 This server does not accept mail from residential hosts",
    "550 We do not accept email containing links",
    "554 The address list was not found at the filter",
    "550 5.7.0 the From address could not be found",
    "550 Message-ID not found in header",
    "554 Email rejected, attachment not found in whitelist",
    "550 mail server for your domain does not exist",
    "550 No MX record for sender.example, sender rejected",
    "550 You have no MX records",
    "554 5.7.1 recipient requires that sender is in its address book; you were not found",
    "550 The sender is no longer in the list of trusted contacts",
    "550 5.7.1 user has moved your mail to junk",
    "554 reply address no longer valid",
    "550 Your account is closed, please contact your provider",
    "550 account disabled: sender exceeded limit",
    "550 Mailbox rule: not accepting mail from sender.example",
    "550 5.4.1 mailbox is moving, try later",
    "550 User is no longer accepting newsletters",
    "550 5.7.1 No such sender",
    "550 5.7.1 unknown envelope sender domain",
    "550 no PTR, host unknown",
    "550 not existing DKIM key",
    "550 dkim selector does not exist",
    "550 DMARC record does not exist for sender.example",
    "554 SPF record not found",
    "550 certificate not found",
    "550 content not recognized by filter",
    "550 Access denied: unknown user agent",
    "550 X-Mailer header unknown, bulk mailer",
    "550 invalid address in To: header",
    "554 no valid address in header from",
    "550 invalid HELO user",
    "550 SMTP AUTH: invalid user or password",
    "535 5.7.8 user unknown or bad password",
    "550 license for this number of users exceeded",
    "550 your user quota of messages per hour exceeded",
    "550 User rate exceeded, unknown volume",
    "550 5.7.1 The account that sent this mail does not exist",
    "550 Sender does not exist",
    "550 From: user does not exist",
    "550 Reverse lookup: no such name",
    "550 The name of your machine is unknown",
    "550 mail from unknown source rejected",
    "550 no valid PTR for your address",
    "550 this host is unknown to us",
    "550 unknown network",
    "550 invalid client name",
    "550 5.7.1 Your ISP's mail server is not a valid mail server",
    "550 no such domain as the one you claim to be",
    "553 Your domain does not exist",
    "553 domain in MAIL command does not exist",
    "550 originator unknown",
    "550 unknown originator address",
    "550 originating user not found",
    "550 5.7.1 return path does not exist",
    "550 bounce address invalid",
    "550 unknown sender, recipient protected",
    "550 recipients do not accept unknown senders",
    "550 Users only receive mail from valid addresses",
    "550 account of the author is disabled",
    "550 5.7.1 The user is not allowed to receive mail from you",
    "550 5.7.1 user has disabled mail from outside",
    "550 the recipient has deactivated delivery from mailing lists",
    "550 recipient has closed the mailbox for advertising",
    "550 mailbox closed to external senders",
    "550 user does not exist on your whitelist",
    "550 recipient has no interest in your mail",
    "550 invalid DKIM signature for user",
    "554 unknown recipient limit exceeded, you are blocked",
    "550 too many unknown users from your host",
    "550 too many invalid recipients, blocked for an hour",
    "421 4.7.0 too many invalid recipients",
    "550 5.7.1 blocked because of mail to spam trap addresses that do not exist",
    "550 blocked: you send to non-existent users",
    "550 dictionary attack detected: invalid recipient count too high",
    "550 directory harvest attack, user unknown limit",
    "550 Blacklisted: bounced on unknown users",
    "550 no account is permitted to relay",
    "550 account required to send mail",
    "550 login account unknown",
    "550 Your license does not include this user",
    "550 SPF: domain owner does not list your host",
    "550 DMARC: no such policy",
    "550 domain key not found",
    "550 5.7.25 no such reverse record",
    "550 certificate of user invalid",
    "550 invalid recipient in BCC header",
    "550 header To does not exist",
    "550 Resent-From account does not exist",
    "550 unknown charset, user cannot read it",
    "550 message for user contains unknown file type",
    "550 not a valid MIME message for recipient",
    "550 address in body is not valid",
    "550 link to non-existent host in mail",
    "550 mail from dynamic address not accepted for this user",
    "550 user quota of spam reached",
    "550 5.1.1 rejected: content",
    "550 5.1.2 temporary DNS problem",
    "550 5.1.6 mailbox is being moved, retry",
)
REPORT: Final = """\
From: MAILER-DAEMON@mx.example (Mail Delivery System)
Subject: Undelivered Mail Returned to Sender
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b
Content-Type: text/plain

<anna@shop.example>: {text}
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example

Final-Recipient: rfc822; anna@shop.example
Action: failed
Status: 5.0.0
Diagnostic-Code: smtp; {reply}
--b--
"""


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_refusal_of_somebody_else_is_not_hard(refusal: str) -> None:
    reply = make_reply(int(refusal[:3]), refusal[4:])
    assert classify(RULES.replies, Stage.RCPT, reply).bounce_class != "hard"


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize(
    "text", ["{0}", "host mx.shop.example[192.0.2.9] said: {0} (in reply to RCPT TO command)"]
)
def test_a_report_of_such_a_refusal_is_not_hard(refusal: str, text: str) -> None:
    report = REPORT.format(text=text.format(refusal), reply=refusal)
    assert understand(report.encode(), RULES).kind is not ResponseKind.HARD
