import pytest
from msgspec.structs import replace

from services.ingest.core.intake.submission import Refusal, Submission, accept
from services.validate.core.batch import assemble, judge_all
from services.validate.core.lanes import Lanes
from services.validate.core.quotas import enforces
from services.validate.core.verdict import Passed, Policy, Refused, Suppressed, judge
from shared.mail.headers import scan
from shared.registry.client import Client, Code, OverQuota
from shared.registry.removal import MailChoice, Removal
from shared.topics.intake_fields import CODE
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


def test_a_message_carries_the_pool_of_sources_that_its_client_names_now() -> None:
    plain = judge(envelope(), CLIENT, POLICY, 5)
    pooled = judge(replace(envelope(), pool="old"), replace(CLIENT, pool="bulk"), POLICY, 5)
    assert isinstance(plain, Passed)
    assert isinstance(pooled, Passed)
    assert (plain.envelope.pool, pooled.envelope.pool) == ("", "bulk")


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
    # The header is not read again: the events of deliver take the code from the envelope.
    assert verdict.envelope.code == ("SPRING" if extra else "")


def test_a_refusal_carries_the_code_and_what_the_platform_gave_with_the_message() -> None:
    given = replace(
        envelope("Cc: c@example.com\r\nX-bm-mailing: SPRING\r\n"),
        submission_key="order-7",
        submission_source="/shop",
        metadata={"order": "7"},
    )
    verdict = judge(given, CLIENT, POLICY, 5)
    assert isinstance(verdict, Refused)
    event = verdict.event
    assert (event.submission_id, event.submission_source) == ("order-7", "/shop")
    assert (event.code, event.metadata) == ("SPRING", {"order": "7"})


def test_the_code_in_an_event_is_bounded() -> None:
    verdict = judge(envelope("X-bm-mailing: " + "x" * 900 + "\r\n"), CLIENT, POLICY, 5)
    assert isinstance(verdict, Refused)
    assert len(verdict.event.code) <= CODE.max_octets


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


@pytest.mark.parametrize(
    ("beside", "extra", "mailing"),
    [
        ("SPRING", "", ("spring", "de")),
        ("SPRING", "X-bm-mailing: SPRING\r\n", ("spring", "de")),
    ],
)
def test_a_code_given_beside_the_message_counts_as_its_headers(
    beside: str, extra: str, mailing: tuple[str, str]
) -> None:
    verdict = judge(replace(envelope(extra), code=beside), CLIENT, POLICY, 5)
    assert isinstance(verdict, Passed)
    assert (verdict.envelope.mailing_id, verdict.envelope.sub_client) == mailing


@pytest.mark.parametrize(
    ("beside", "extra"),
    [
        ("OLD", ""),
        ("NOBODY", ""),
        ("SPRING", "X-bm-mailing: OLD\r\n"),
        ("OLD", "X-bm-mailing: \r\n"),
    ],
)
def test_a_code_that_is_not_active_or_not_the_headers_breaks_r8_for_the_standard_mailing(
    beside: str, extra: str
) -> None:
    verdict = judge(replace(envelope(extra), code=beside), CLIENT, POLICY, 5)
    assert isinstance(verdict, Refused)
    assert [rule.rule for rule in verdict.event.rules] == ["R8"]
    assert (verdict.event.mailing_id, verdict.event.sub_client) == ("standard", "")


def test_a_sender_given_beside_the_message_is_judged_against_from() -> None:
    verdict = judge(replace(envelope(), sender="b@news.shop.example"), CLIENT, POLICY, 5)
    assert isinstance(verdict, Refused)
    assert [rule.rule for rule in verdict.event.rules] == ["R9"]


@pytest.mark.parametrize(
    ("due_at_ms", "expires_ms", "wanted"),
    [
        (0, 0, RECEIVED + 60_000),
        (RECEIVED + 1_000, 0, RECEIVED + 61_000),
        (RECEIVED - 1_000, 0, RECEIVED + 60_000),
        (RECEIVED + 1_000, RECEIVED + 2_000, RECEIVED + 2_000),
    ],
)
def test_a_message_expires_at_its_own_time_or_so_long_after_it_may_begin(
    due_at_ms: int, expires_ms: int, wanted: int
) -> None:
    given = replace(envelope(), due_at_ms=due_at_ms, expires_at_ms=expires_ms)
    verdict = judge(given, CLIENT, POLICY, 5)
    assert isinstance(verdict, Passed)
    assert verdict.envelope.expires_at_ms == wanted


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


def removed(choice: MailChoice) -> Client:
    return replace(CLIENT, removal=Removal(choice, RECEIVED + 1, RECEIVED + 2))


@pytest.mark.parametrize("choice", [MailChoice.HOLD, MailChoice.DELIVER])
def test_accepted_mail_of_a_removed_client_is_judged_as_before(choice: MailChoice) -> None:
    for sent in (envelope(), envelope(to="b@blocked.example"), envelope("Cc: x@y.example\r\n")):
        assert judge(sent, removed(choice), POLICY, 5) == judge(sent, CLIENT, POLICY, 5)


def test_accepted_mail_of_a_client_removed_with_refuse_is_refused_for_its_mailing() -> None:
    for sent in (envelope("X-bm-mailing: SPRING\r\n"), envelope(to="b@blocked.example")):
        verdict = judge(sent, removed(MailChoice.REFUSE), POLICY, 5)
        assert isinstance(verdict, Refused)
        assert [each.rule for each in verdict.event.rules] == ["removed"]
        assert "was removed" in verdict.event.reason
        assert verdict.event.mailing_id in ("spring", "standard")


def test_a_quota_holds_no_mail_of_a_removed_client() -> None:
    held = replace(CLIENT, monthly_quota=1, over_quota=OverQuota.HOLD)
    assert enforces(held)
    assert not enforces(replace(held, removal=removed(MailChoice.DELIVER).removal))


@pytest.mark.parametrize("choice", list(MailChoice))
def test_what_a_removed_client_publishes_is_refused(choice: MailChoice) -> None:
    submitted = Submission("shop", Origin("mail.intake.shop", 0, 1), RECEIVED, b"From: a@b\r\n\r\n")
    found = accept(submitted, removed(choice), scan, 5)
    assert isinstance(found, Refusal)
    assert [each.rule for each in found.event.rules] == ["removed"]
    assert (found.event.client, found.event.mailing_id) == ("shop", "standard")


def test_a_message_before_its_earliest_time_waits_on_a_retry_topic_and_one_after_it_does_not() -> (
    None
):
    hour = 3_600_000
    late, early = (
        Message(replace(envelope(), due_at_ms=RECEIVED + ahead), b"x") for ahead in (0, hour)
    )
    judged = judge_all([late, early], lambda name: CLIENT, POLICY, RECEIVED)
    batch = assemble(judged, {}, RECEIVED)
    assert [message.envelope.due_at_ms for message in batch.passed["default"]] == [RECEIVED]
    ((step, waiting),) = batch.waiting
    ((kind, mail_id, event),) = batch.events
    assert (kind, mail_id) == (EventType.SCHEDULED, waiting.envelope.mail_id)
    assert event.next_attempt_at_ms == RECEIVED + hour
    assert step == "15m"
    assert waiting.envelope.not_before_ms == RECEIVED + hour
    assert waiting.envelope.due_at_ms == RECEIVED + hour // 4
    assert waiting.envelope.lane == "default"
    ids = [each.envelope.mail_id for each in (late, early)]
    assert batch.received == {("shop", "standard", ""): ids}


def test_every_message_of_a_batch_has_one_fate_and_is_counted_once() -> None:
    messages = [
        message(),
        message("X-bm-mailing: SPRING\r\n"),
        message("Cc: x@y.example\r\n"),
        message(to="b@blocked.example"),
        message(to="b@gmail.com"),
    ]
    batch = assemble(judge_all(messages, lambda name: CLIENT, POLICY, 5), {}, 5)
    assert sorted(kind for kind, _, _ in batch.events) == [
        EventType.REFUSED,
        EventType.SUPPRESSED,
    ]
    assert {lane: len(part) for lane, part in batch.passed.items()} == {"default": 2, "gmail": 1}
    ids = [each.envelope.mail_id for each in messages]
    assert batch.received == {
        ("shop", "standard", ""): [ids[0], *ids[2:]],
        ("shop", "spring", "de"): [ids[1]],
    }
