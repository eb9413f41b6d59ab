"""The message set: every file is judged exactly as recorded in expected.toml."""

from __future__ import annotations

import email
import email.policy
from collections import Counter

import pytest

from shared.mail.headers import scan
from shared.submission.rules import RULES, Submission, judge
from tests.messages import FOLDER, Sample, clients, load
from tests.messages.generate import every_letter, expected


def judged(sample: Sample) -> tuple[str, ...]:
    submission = Submission(
        sample.client.sending_domain,
        sample.envelope_from,
        sample.rcpt,
        sample.client.codes.keys(),
    )
    return tuple(broken.rule for broken in judge(scan(sample.content), submission))


@pytest.mark.parametrize("sample", load(), ids=lambda sample: str(sample.name))
def test_every_file_is_judged_as_recorded(sample: Sample) -> None:
    assert judged(sample) == sample.rules
    if sample.accepted:
        assert scan(sample.content).code == sample.code


def test_every_rule_is_broken_by_two_files_and_kept_by_many() -> None:
    broken = Counter(rule for sample in load() for rule in sample.rules)
    assert all(broken[rule.id] >= 2 for rule in RULES)
    assert sum(sample.accepted for sample in load()) >= 40


def test_the_files_are_what_the_generator_writes() -> None:
    letters = every_letter()
    assert {path.name for path in FOLDER.glob("*.eml")} == {f"{one.name}.eml" for one in letters}
    for letter in letters:
        assert (FOLDER / f"{letter.name}.eml").read_bytes() == letter.content, letter.name
    assert (FOLDER / "expected.toml").read_text("utf-8") == expected(letters)


def test_the_accepted_files_are_read_alike_by_the_standard_library() -> None:
    for sample in load():
        if not sample.accepted:
            continue
        message = email.message_from_bytes(sample.content, policy=email.policy.default)
        facts = scan(sample.content)
        assert not message.defects, sample.name
        assert message["message-id"].strip() == facts.message_id
        assert len(message.get_all("to", [])) == facts.to_count == 1
        assert message["from"].addresses[0].addr_spec.lower() == facts.from_address


def test_the_set_names_its_clients_and_what_each_message_is_billed_to() -> None:
    assert set(clients()) == {"shop", "bank"}
    mailings = Counter(sample.mailing for sample in load() if sample.accepted)
    assert set(mailings) == {
        ("spring-26", "shop-de"),
        ("winter-25", "shop-at"),
        ("shop-standard", ""),
        ("bank-standard", ""),
    }
