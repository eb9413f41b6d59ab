import pytest

from services.ingest.core.submission import Submission, accept
from services.validate.core.batch import judge_batch
from services.validate.core.lanes import Lanes
from services.validate.core.verdict import Passed, Policy, Refused, Suppressed, judge
from shared.mail.headers import scan
from shared.registry.client import Client, Code
from shared.topics.records import Envelope, EventType, Message, Origin

CLIENT = Client(
    name="shop",
    sending_domain="news.shop.example",
    forwarding_address="returns@owner.example",
    mailing_id="standard",
    codes={"SPRING": Code("spring", "de"), "OLD": Code("old", "at", active=False)},
    block_list=("*@blocked.example",),
    max_age_s=60,
)
POLICY = Policy(307_200, Lanes({"gmail": ["gmail.com"]}))
RECEIVED = 1_700_000_000_000


def message(
    extra: str = "", to: str = "b@example.com", sender: str = "news.shop.example"
) -> Message:
    content = (
        f"From: a@{sender}\r\nTo: {to}\r\nSubject: hello\r\nMessage-ID: <1@shop>\r\n{extra}\r\nx"
    ).encode()
    made = accept(
        Submission("shop", Origin("mail.intake.shop", 0, 1), RECEIVED, content), CLIENT, scan, 5
    )
    assert isinstance(made, Message)
    return made


def envelope(
    extra: str = "", to: str = "b@example.com", sender: str = "news.shop.example"
) -> Envelope:
    return message(extra, to, sender).envelope


@pytest.mark.parametrize(("to", "lane"), [("b@gmail.com", "gmail"), ("b@example.com", "default")])
def test_a_message_that_keeps_the_rules_passes_to_its_lane_with_an_expiry(
    to: str, lane: str
) -> None:
    verdict = judge(envelope(to=to), CLIENT, POLICY, 5)
    assert isinstance(verdict, Passed)
    assert verdict.envelope.lane == lane
    assert verdict.envelope.expires_at_ms == RECEIVED + 60_000
    assert verdict.envelope.mailing_id == "standard"


@pytest.mark.parametrize(
    ("extra", "mailing"),
    [
        ("", ("standard", "")),
        ("X-bm-mailing: SPRING\r\n", ("spring", "de")),
    ],
)
def test_the_code_names_the_mailing_and_who_is_billed(extra: str, mailing: tuple[str, str]) -> None:
    verdict = judge(envelope(extra), CLIENT, POLICY, 5)
    assert isinstance(verdict, Passed)
    assert (verdict.envelope.mailing_id, verdict.envelope.sub_client) == mailing


@pytest.mark.parametrize(
    ("extra", "sender", "broken"),
    [
        ("Cc: c@example.com\r\n", "news.shop.example", ["R5"]),
        ("X-bm-mailing: OLD\r\n", "news.shop.example", ["R8"]),
        ("X-bm-mailing: NOBODY\r\nBcc: \r\n", "news.shop.example", ["R5", "R8"]),
        ("", "other.example", ["R4", "R10"]),
    ],
)
def test_every_broken_rule_is_told_and_the_message_goes_to_the_standard_mailing(
    extra: str, sender: str, broken: list[str]
) -> None:
    verdict = judge(envelope(extra, sender=sender), CLIENT, POLICY, 5)
    assert isinstance(verdict, Refused)
    assert [rule.rule for rule in verdict.event.rules] == broken
    assert verdict.event.mailing_id == "standard"
    assert all(rule.rule in verdict.event.reason for rule in verdict.event.rules)


def test_a_blocked_recipient_is_suppressed_with_the_pattern() -> None:
    verdict = judge(envelope(to="b@blocked.example"), CLIENT, POLICY, 5)
    assert isinstance(verdict, Suppressed)
    assert "*@blocked.example" in verdict.event.reason


def test_a_refusal_comes_before_a_suppression() -> None:
    verdict = judge(envelope("Cc: x@y.example\r\n", to="b@blocked.example"), CLIENT, POLICY, 5)
    assert isinstance(verdict, Refused)


def test_a_client_removed_meanwhile_has_its_mail_refused() -> None:
    verdict = judge(envelope(), None, POLICY, 5)
    assert isinstance(verdict, Refused)
    assert verdict.event.rules[0].rule == "unregistered"


def test_every_message_of_a_batch_has_one_fate_and_is_counted_once() -> None:
    messages = [
        message(),
        message("X-bm-mailing: SPRING\r\n"),
        message("Cc: x@y.example\r\n"),
        message(to="b@blocked.example"),
        message(to="b@gmail.com"),
    ]
    batch = judge_batch(messages, lambda name: CLIENT, POLICY, 5)
    assert sorted(kind for kind, _, _ in batch.events) == [
        EventType.REFUSED,
        EventType.SUPPRESSED,
    ]
    assert {lane: len(part) for lane, part in batch.passed.items()} == {"default": 2, "gmail": 1}
    assert batch.received == {("shop", "standard", ""): 4, ("shop", "spring", "de"): 1}
