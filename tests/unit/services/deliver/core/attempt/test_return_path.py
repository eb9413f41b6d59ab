"""The envelope sender that goes out, and rule R11 on what goes out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from services.deliver.core.attempt.results import Bounced, Delivered, Outcome
from services.deliver.core.attempt.return_path import from_domain, misalignment, return_path
from services.deliver.edge.signing.preparing import ReturnPathSender
from shared.mail import headers, verp
from shared.mail.domains import domain_of
from shared.mail.verp import ReturnPath, parse_keys
from shared.settings.secret_files import KeysFile
from shared.topics import ids
from shared.topics.records import Attempts, Envelope, Facts, Origin

DAY = 20_788
NOW_MS = DAY * verp.DAY_MS + 1
DOMAIN = "news.shop.example"
CONTENT = b"From: Shop <a@news.shop.example>\r\nTo: b@r.example\r\n\r\nhello\r\n"
KEY = f"1 2026-01-01 {'ab' * 32}"
KEYS = parse_keys(KEY)
MAIL_ID = ids.encode(1 << 120)
ENVELOPE = Envelope(
    MAIL_ID,
    "shop",
    f"a@{DOMAIN}",
    "b@r.example",
    "",
    NOW_MS,
    Origin(),
    Facts(),
    mailing_id="M-1",
    sub_client="north",
)
DELIVERED = Delivered("250 Ok", "2.0.0", "site", "source", "")


class Keeping:
    """A sender that records the envelopes."""

    def __init__(self) -> None:
        self.sent: list[Envelope] = []

    async def send(
        self, envelope: Envelope, content: bytes, begin: Callable[[], bool]
    ) -> Outcome | None:
        self.sent.append(envelope)
        return DELIVERED if begin() else None


def send(sender: ReturnPathSender, content: bytes = CONTENT, begins: bool = True) -> Any:
    with pytest.raises(StopIteration) as ended:  # it never waits here, so no loop is needed
        sender.send(ENVELOPE, content, lambda: begins).send(None)
    return ended.value.value


def test_the_return_path_names_the_message_its_mailing_and_its_recipient() -> None:
    local, _, domain = return_path(ENVELOPE, KEYS).rpartition("@")
    assert domain == DOMAIN
    assert verp.verify(KEYS, "shop", local, today=DAY, days_valid=1) == ReturnPath(
        DAY,
        verp.mailing_hash("M-1", "north"),
        verp.recipient_hash(MAIL_ID, "b@r.example"),
        MAIL_ID,
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"attempts": Attempts(count=7, first_dispatched_at_ms=NOW_MS), "due_at_ms": NOW_MS * 2},
        {"lane": "other"},
        {"facts": Facts(size_bytes=9)},
    ],
)
def test_each_attempt_has_the_same_return_path(changes: dict[str, Any]) -> None:
    later = replace(ENVELOPE, **changes)
    rotated = parse_keys(f"{KEY}\n2 2026-12-02 {'cd' * 32}")
    assert return_path(later, rotated) == return_path(ENVELOPE, KEYS)


def test_mail_that_waited_for_its_earliest_time_counts_from_then() -> None:
    waited = replace(ENVELOPE, not_before_ms=NOW_MS + 30 * verp.DAY_MS)
    local = return_path(waited, KEYS).rpartition("@")[0]
    found = verp.verify(KEYS, "shop", local, today=DAY + 31, days_valid=1)
    assert isinstance(found, ReturnPath)
    assert found.day == DAY + 30


def test_a_sender_that_is_not_ascii_goes_out_as_ascii() -> None:
    found = return_path(replace(ENVELOPE, sender=f"büro@{DOMAIN}"), KEYS)
    assert found.isascii()


@pytest.mark.parametrize(
    ("sender", "keys"), [("", KEYS), (f"a@{DOMAIN}", None)], ids=["null sender", "no keys"]
)
def test_the_sender_stays_without_keys_and_where_it_is_null(
    sender: str, keys: verp.Keys | None
) -> None:
    assert return_path(replace(ENVELOPE, sender=sender), keys) == sender


@pytest.mark.parametrize(
    "header",
    [
        b"From: a@news.shop.example\r\n",
        b"From: a@shop.example\r\n",
        b"From: a@other.shop.example\r\n",
        b"FROM: A <a@NEWS.Shop.Example>\r\n",
        b"Subject: x\r\nFrom: a@news.shop.example\r\nTo: x@y.example\r\n",
        b"From:\r\n Shop\r\n <a@news.shop.example>\r\n",
        b"From-Shop: x@y.example\r\nFrom: a@news.shop.example\r\n",
        b"X: 1\nFrom: a@news.shop.example\n",
    ],
)
def test_a_from_of_the_same_organisation_goes_out(header: bytes) -> None:
    end = b"\r\n" if b"\r" in header else b"\n"
    content = header + end + b"From: nobody@other.example" + end
    assert misalignment(f"x@{DOMAIN}", content) is None


@pytest.mark.parametrize(
    "header",
    [
        b"From: a@elsewhere.example\r\n",
        b"From: a@shop.example.net\r\n",
        b"From: a@news.shop.example\r\nFrom: a@news.shop.example\r\n",
        b"From: a@news.shop.example, b@news.shop.example\r\n",
        b"From: nobody\r\n",
        b"Subject: none\r\n",
        b"From : a@elsewhere.example\r\n",
        b"From:\r\n a@elsewhere.example\r\n",
        b"",
    ],
)
def test_any_other_from_is_a_final_local_fault(header: bytes) -> None:
    found = misalignment(f"x@{DOMAIN}", header + b"\r\nFrom: a@news.shop.example\r\n")
    assert isinstance(found, Bounced)
    assert (found.enhanced, found.dispatched, found.reply) == ("5.7.1", False, "")
    assert found.reason.startswith("R11: ")


LINES = (
    *(b"From: a@x.example", b"FROM:b@y.example", b"from : c@z.example", b"From", b"Fromage: brie"),
    *(b" folded <d@w.example>", b"\tfrom: e@v.example", b"Subject: from: f@u.example"),
    *(b"X-From: g@t.example", b"To: h@s.example", b'From: "i" <j@r.example>, k@q.example'),
)


@given(st.lists(st.sampled_from(LINES), max_size=5), st.sampled_from([b"\r\n", b"\n"]))
def test_the_quick_look_at_from_finds_what_the_rules_find(lines: list[bytes], end: bytes) -> None:
    content = b"To: l@p.example" + end + b"".join(line + end for line in lines) + end + b"From: x"
    facts = headers.scan(content)
    expected = domain_of(facts.from_address) if facts.from_count == 1 else ""
    assert from_domain(content) == expected


def test_a_message_without_a_sender_needs_no_from_of_the_organisation() -> None:
    assert misalignment("", b"From: a@elsewhere.example\r\n\r\n") is None


@pytest.mark.parametrize(("begins", "expected"), [(True, DELIVERED), (False, None)])
def test_the_return_path_goes_out_and_the_envelope_stays(
    tmp_path: Path, begins: bool, expected: Outcome | None
) -> None:
    file = tmp_path / "keys"
    file.write_text(KEY)
    keeping = Keeping()
    assert send(ReturnPathSender(keeping, KeysFile(str(file))), begins=begins) is expected
    (sent,) = keeping.sent
    assert sent == replace(ENVELOPE, sender=return_path(ENVELOPE, KEYS))


def test_a_misaligned_message_ends_without_a_connection() -> None:
    keeping = Keeping()
    content = b"From: a@elsewhere.example\r\n\r\n"
    found = send(ReturnPathSender(keeping, None), content)
    assert isinstance(found, Bounced)
    assert send(ReturnPathSender(keeping, None), content, begins=False) is None
    assert not keeping.sent
