"""The rules R1 to R12: what breaks each, and how a broken rule affects the others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from shared.mail.domains import organisational_domain
from shared.mail.headers import scan
from shared.submission.rules import MAX_SIZE_BYTES, RULES, UNREADABLE, Submission, judge
from shared.topics.records import Facts
from tests.messages import load

OURS = "news.shop.example"
CODES = frozenset({"SPRING26", "WINTER25"})
SENT = Submission(OURS, codes=CODES)
GOOD = Facts(
    size_bytes=1_000,
    header_bytes=300,
    message_id_count=1,
    message_id="<1@news.shop.example>",
    message_id_raw="<1@news.shop.example>",
    to_count=1,
    to_address="max@kunde.example",
    to_raw="Max <max@kunde.example>",
    from_count=1,
    from_address="a@news.shop.example",
    from_raw="a@news.shop.example",
    subject_count=1,
    subject_empty=False,
)


def broken(facts: Facts, submission: Submission = SENT) -> list[str]:
    return [one.rule for one in judge(facts, submission)]


def by_envelope(sender: str = "", recipient: str = "") -> Submission:
    return Submission(OURS, sender, recipient, CODES)


def from_is(address: str, count: int = 1, raw: str = "x") -> Facts:
    return replace(GOOD, from_count=count, from_address=address, from_raw=raw)


def to_is(address: str, count: int = 1, raw: str = "x") -> Facts:
    return replace(GOOD, to_count=count, to_address=address, to_raw=raw)


CASES: list[tuple[str, Facts, Submission, list[str]]] = [
    ("nothing", GOOD, SENT, []),
    ("R1 at the limit", replace(GOOD, size_bytes=MAX_SIZE_BYTES), SENT, []),
    ("R1 beyond", replace(GOOD, size_bytes=MAX_SIZE_BYTES + 1), SENT, ["R1"]),
    ("R1 set lower", GOOD, Submission(OURS, max_size_bytes=999), ["R1"]),
    ("R2 none", replace(GOOD, message_id_count=0, message_id=""), SENT, ["R2"]),
    ("R2 two", replace(GOOD, message_id_count=2, message_id=""), SENT, ["R2"]),
    ("R2 form", replace(GOOD, message_id=""), SENT, ["R2"]),
    ("R3 none", to_is("", 0), SENT, ["R3"]),
    ("R3 two headers", to_is("", 2), SENT, ["R3"]),
    ("R3 no address", to_is(""), SENT, ["R3"]),
    ("R3 no address, envelope", to_is(""), by_envelope("", "max@kunde.example"), ["R3"]),
    ("R3 envelope alike", GOOD, by_envelope("", "max@KUNDE.example"), []),
    ("R3 envelope quoted", GOOD, by_envelope("", '"max"@kunde.example'), []),
    ("R3 envelope differs", GOOD, by_envelope("", "erika@kunde.example"), ["R3"]),
    ("R3 envelope in other case", GOOD, by_envelope("", "Max@kunde.example"), ["R3"]),
    ("R3 envelope no address", GOOD, by_envelope("", "max"), ["R3"]),
    ("R3 envelope with a name", GOOD, by_envelope("", "Max <max@kunde.example>"), ["R3"]),
    ("R4 none", from_is("", 0), SENT, ["R4"]),
    ("R4 two headers", from_is("", 2), SENT, ["R4"]),
    ("R4 no address", from_is(""), SENT, ["R4"]),
    ("R4 no address, envelope right", from_is(""), by_envelope(f"a@{OURS}"), ["R4", "R9"]),
    ("R4 sub-domain", from_is("a@x.news.shop.example"), SENT, ["R4", "R10"]),
    ("R4 parent", from_is("a@shop.example"), SENT, ["R4", "R10"]),
    ("R4 and envelope right", from_is("a@shop.example"), by_envelope(f"a@{OURS}"), ["R4", "R9"]),
    ("R4 local part like a domain", from_is(f'"a@{OURS}"@x.example'), SENT, ["R4", "R10"]),
    ("R5 Cc", replace(GOOD, cc_count=1), SENT, ["R5"]),
    ("R5 Bcc", replace(GOOD, bcc_count=2), SENT, ["R5"]),
    ("R6 none", replace(GOOD, subject_count=0, subject_empty=True), SENT, ["R6"]),
    ("R6 empty", replace(GOOD, subject_empty=True), SENT, ["R6"]),
    ("R6 two", replace(GOOD, subject_count=2), SENT, ["R6"]),
    ("R7 one", replace(GOOD, reply_to_count=1), SENT, []),
    ("R7 two", replace(GOOD, reply_to_count=2), SENT, ["R7"]),
    ("R8 active", replace(GOOD, code_count=1, code="SPRING26"), SENT, []),
    ("R8 unknown", replace(GOOD, code_count=1, code="SPRING27"), SENT, ["R8"]),
    ("R8 other case", replace(GOOD, code_count=1, code="spring26"), SENT, ["R8"]),
    ("R8 empty", replace(GOOD, code_count=1), SENT, ["R8"]),
    ("R8 two", replace(GOOD, code_count=2, code="SPRING26"), SENT, ["R8"]),
    ("R8 none registered", replace(GOOD, code_count=1, code="X"), Submission(OURS), ["R8"]),
    ("R8 beside, active", GOOD, replace(SENT, code="SPRING26"), []),
    ("R8 beside, unknown", GOOD, replace(SENT, code="NONE"), ["R8"]),
    ("R8 both", replace(GOOD, code_count=1, code="WINTER25"), replace(SENT, code="WINTER25"), []),
    (
        "R8 both differ",
        replace(GOOD, code_count=1, code="WINTER25"),
        replace(SENT, code="SPRING26"),
        ["R8"],
    ),
    ("R8 empty, beside", replace(GOOD, code_count=1), replace(SENT, code="SPRING26"), ["R8"]),
    (
        "R8 two, beside",
        replace(GOOD, code_count=2, code="SPRING26"),
        replace(SENT, code="SPRING26"),
        ["R8"],
    ),
    ("R9 alike", GOOD, by_envelope("a@NEWS.shop.example"), []),
    ("R9 differs", GOOD, by_envelope("b@news.shop.example"), ["R9"]),
    ("R9 other case", GOOD, by_envelope("A@news.shop.example"), ["R9"]),
    ("R9 null sender", GOOD, by_envelope("<>"), ["R9", "R10", "R11"]),
    ("R9 no address", GOOD, by_envelope("a"), ["R9", "R10", "R11"]),
    ("R9 nothing to compare", from_is(""), by_envelope("<>"), ["R4", "R9", "R10"]),
    ("R9 From is none", from_is("", 0), by_envelope(f"a@{OURS}"), ["R4", "R9"]),
    ("R9 two From", from_is("", 2, f"a@{OURS}"), by_envelope(f"a@{OURS}"), ["R4"]),
    ("R9 two other From", from_is("", 2, f"b@{OURS}"), by_envelope(f"a@{OURS}"), ["R4", "R9"]),
    ("R9 alike, no addresses", from_is("", raw="a@b"), by_envelope("a@b"), ["R4", "R10"]),
    ("R10 sub-domain", GOOD, by_envelope("a@b.news.shop.example"), ["R9", "R10"]),
    ("R10 without From", from_is("", 0), by_envelope("a@x.example"), ["R4", "R9", "R10"]),
    ("R11 other organisation", GOOD, by_envelope("a@mailer.example"), ["R9", "R10", "R11"]),
    ("R11 a look-alike", GOOD, by_envelope("a@xshop.example"), ["R9", "R10", "R11"]),
    ("R12", replace(GOOD, return_path_count=1), SENT, ["R12"]),
]


@pytest.mark.parametrize(("facts", "submission", "rules"), [case[1:] for case in CASES])
def test_each_breach_is_reported_and_nothing_else(
    facts: Facts, submission: Submission, rules: list[str]
) -> None:
    assert broken(facts, submission) == rules


def test_every_rule_is_broken_and_reported_in_order() -> None:
    facts = Facts(
        size_bytes=400_000,
        to_count=2,
        from_count=1,
        from_address="a@x.example",
        cc_count=1,
        reply_to_count=2,
        return_path_count=1,
        code_count=1,
    )
    found = judge(facts, by_envelope("b@y.example"))
    assert [one.rule for one in found] == [f"R{number}" for number in range(1, 13)]
    for one, rule in zip(found, RULES, strict=True):
        assert one.reason.startswith(rule.reason)
        assert one.status == rule.status
        assert one.found


def test_bytes_that_are_no_message_are_unreadable_and_judged_as_far_as_can_be() -> None:
    found = [one.rule for one in judge(scan(b"\0\1"), SENT)]
    assert found == [UNREADABLE, "R2", "R3", "R4", "R6"]
    assert broken(replace(GOOD, defect="it holds", cc_count=1)) == [UNREADABLE, "R5"]


@pytest.mark.parametrize(
    ("to", "words"),
    [
        ("a@x.example, b@x.example", "it contains more than one address, or a list"),
        ("Undisclosed recipients:;", "it contains a group, which is not an address"),
        ("a@x.example.", "the part after the @ is not a fully qualified domain"),
        ("", "it is empty"),
    ],
)
def test_the_reason_says_what_is_wrong_with_the_address(to: str, words: str) -> None:
    (one,) = judge(to_is("", raw=to), SENT)
    assert one.reason.endswith(words)
    assert one.found == f"To: {to}"


def test_a_sending_domain_given_in_another_form_is_the_same_domain() -> None:
    facts = from_is("a@xn--mller-kva.example")
    assert broken(facts, Submission("Müller.example")) == []
    assert broken(from_is("a@x.example"), Submission("")) == ["R4", "R10"]


def test_all_words_are_one_line_a_customer_can_read() -> None:
    assert [rule.id for rule in RULES] == [f"R{number}" for number in range(1, 13)]
    for rule in RULES:
        assert re.fullmatch(r"5\.\d\.\d+", rule.status)
        for words in rule.title, rule.reason, rule.fix:
            assert re.fullmatch(r"[A-Z][ -~]{10,100}", words)
            assert words[-1] != "."


def test_the_page_about_the_rules_says_what_the_table_says() -> None:
    page = (Path(__file__).parents[4] / "docs" / "rules.md").read_text("utf-8")
    for rule in RULES:
        assert f"| {rule.id} | {rule.title} | {rule.reason} | `{rule.status}` |" in page
        assert f"| {rule.id} | {rule.fix} |" in page


COUNT = st.integers(0, 3)
ADDRESS = st.sampled_from(
    ["", f"a@{OURS}", f"b@{OURS}", "a@shop.example", "a@x.co.uk", "a@y.co.uk", "<>", "no", "@"]
)
FACTS = st.builds(
    Facts,
    size_bytes=st.sampled_from([0, 307_200, 307_201]),
    message_id_count=COUNT,
    message_id=st.sampled_from(["", "<a@b>"]),
    to_count=COUNT,
    to_address=ADDRESS.filter(lambda text: text != "<>"),
    from_count=COUNT,
    from_address=st.sampled_from(["", f"a@{OURS}", "a@shop.example", "a@x.co.uk"]),
    cc_count=COUNT,
    bcc_count=COUNT,
    subject_count=COUNT,
    subject_empty=st.booleans(),
    reply_to_count=COUNT,
    return_path_count=COUNT,
    code_count=COUNT,
    code=st.sampled_from(["", "SPRING26", "NONE"]),
    defect=st.sampled_from(["", "broken"]),
)


@settings(deadline=None, max_examples=500)
@given(FACTS, ADDRESS, ADDRESS)
def test_what_passes_keeps_every_rule(facts: Facts, sender: str, recipient: str) -> None:
    submission = by_envelope(sender, recipient)
    if judge(facts, submission):
        return
    assert facts.size_bytes <= MAX_SIZE_BYTES
    assert facts.message_id_count == facts.to_count == facts.from_count == 1
    assert facts.message_id
    assert facts.to_address
    assert recipient in {"", facts.to_address}
    assert facts.from_address.endswith(f"@{OURS}")
    assert sender in {"", facts.from_address}
    assert not facts.cc_count + facts.bcc_count + facts.return_path_count
    assert facts.subject_count == 1
    assert not facts.subject_empty
    assert facts.reply_to_count <= 1
    assert not facts.code_count or (facts.code_count == 1 and facts.code in CODES)
    assert not facts.defect


@settings(deadline=None)
@given(st.sampled_from([one.content for one in load() if len(one.content) < 20_000]), st.data())
def test_an_added_line_breaks_its_rule_wherever_it_stands(
    content: bytes, data: st.DataObject
) -> None:
    line, rule = data.draw(
        st.sampled_from(
            [
                (b"Cc: x@y.example", "R5"),
                (b"bcc:", "R5"),
                (b"Return-Path: <>", "R12"),
                (b"To: x@y.example", "R3"),
                (b"FROM: a@news.shop.example", "R4"),
                (b"message-id: <x@y>", "R2"),
                (b"Subject: x", "R6"),
                (b"X-bm-mailing: SPRING26\r\nx-BM-mailing: SPRING26", "R8"),
                (b"Reply-To: a@b.example\r\nReply-To: a@b.example", "R7"),
            ]
        )
    )
    end = b"\r\n" if b"\r\n" in content[:500] else b"\n"
    head, _, body = content.partition(end + end)
    # Without an empty line, the end of the message ends the last header line.
    lines = head.removesuffix(end).split(end)
    starts = [at for at, text in enumerate(lines) if text[:1] not in (b" ", b"\t")]
    at = data.draw(st.sampled_from([*starts, len(lines)]))
    lines[at:at] = line.split(b"\r\n")
    facts = scan(end.join(lines) + end + end + body)
    once = {"R2": "message_id_count", "R3": "to_count", "R4": "from_count", "R6": "subject_count"}
    if rule in once and getattr(scan(content), once[rule]) == 0:
        return  # it was missing before
    assert rule in broken(facts)


@settings(deadline=None)
@given(st.binary(max_size=200), st.text(max_size=40), st.text(max_size=40), st.text(max_size=20))
def test_nothing_makes_the_judge_raise(
    content: bytes, sender: str, recipient: str, domain: str
) -> None:
    assert judge(scan(content), Submission(domain, sender, recipient))
    assert judge(replace(GOOD, defect=""), Submission(domain, sender, recipient))


def test_the_organisational_domain_is_at_hand_for_the_rewritten_return_path() -> None:
    assert organisational_domain(OURS) == organisational_domain("bounces.shop.example")
