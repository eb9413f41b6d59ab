"""Which signatures a message gets: two algorithms, rotation, clients; checked by dkimpy."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from services.deliver.core.signing.dkim import BodyForm
from services.deliver.edge.signing.signer import FixedKeys, Signer
from shared.mail.headers import scan
from shared.mailauth.dkim_keys.folder import PrivateKey
from shared.mailauth.dkim_keys.table import ED25519, RSA, Key, KeyEntry, KeyIndex
from shared.runtime.clock import FakeClock
from shared.smtp.content import END_MARK, decode_content, encode_content, with_crlf
from tests.messages import Sample, load
from tests.support.dkim_verifying import CONTENT, key_of, record_of, signer_with, verdicts

DOMAIN = "news.shop.example"
FORMS = tuple(BodyForm)
BOTH = tuple(
    Key(KeyEntry(selector, "-"), algorithm, key_of(algorithm))
    for selector, algorithm in (("r1", RSA), ("e1", ED25519))
)
# What a verifier can read as a message with a From.
READABLE = tuple(
    sample for sample in load() if (facts := scan(sample.content)).from_count and not facts.defect
)

HEADER = b"From: a@news.shop.example\r\nSubject: x\r\n"
# Bodies that end oddly, or hold line ends that are no CRLF.
ODD = {
    "no body": b"",
    "no blank line": None,
    "one blank line": b"\r\n",
    "blank lines only": b"\r\n\r\n\r\n",
    "no line end": b"last line",
    "lone LF": b"one\ntwo\r\nthree\n",
    "lone CR": b"one\rtwo\r\n",
    "ends with CR": b"one\r",
    "LF CR": b"one\n\rtwo",
    "white space at the end": b"one \t \r\n \r\n\t\r\n",
    "white space only": b" \t ",
    "dots": b".\r\n..\r\n.one\r\n.",
    "the end mark with LF": b"one\n.\ntwo\r\n",
    "8-bit": "für alle\r\n".encode(),
    "NUL": b"one\x00two\r\n",
    "a long line": b"x" * 5_000,
}


def records(domain: str, *keys: Key[PrivateKey]) -> dict[str, bytes]:
    return {f"{key.entry.selector}._domainkey.{domain}.": record_of(key.key) for key in keys}


def as_received(content: bytes) -> bytes:
    """The message as a server has it after DATA."""
    return decode_content(encode_content(content).removesuffix(END_MARK))


def selectors(signed: bytes) -> list[str]:
    own_fields = signed.partition(b"\r\nFrom")[0]
    return [found.decode() for found in re.findall(rb"\bs=([^;]+);", own_fields)]


def signer(form: BodyForm) -> Signer:
    return Signer(FixedKeys(KeyIndex(BOTH)), FakeClock(), form)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("sample", READABLE, ids=lambda sample: sample.name)
def test_both_signatures_of_each_message_of_the_set_are_valid(
    sample: Sample, form: BodyForm
) -> None:
    domain = sample.client.sending_domain
    signed = signer(form).sign(sample.content, domain)
    assert signed.endswith(with_crlf(sample.content))
    assert verdicts(as_received(signed), records(domain, *BOTH))[:2] == [True, True]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ODD)
def test_both_signatures_of_a_body_that_ends_oddly_are_valid(name: str, form: BodyForm) -> None:
    body = ODD[name]
    content = HEADER if body is None else HEADER + b"\r\n" + body
    signed = signer(form).sign(content, DOMAIN)
    assert verdicts(as_received(signed), records(DOMAIN, *BOTH)) == [True, True]


def test_a_body_in_relaxed_form_may_change_its_white_space_and_one_in_simple_form_may_not() -> None:
    for form, is_kept in ((BodyForm.RELAXED, True), (BodyForm.SIMPLE, False)):
        signed = signer(form).sign(CONTENT, DOMAIN)
        assert b"c=relaxed/%b;" % form.encode() in signed
        changed = signed.replace(b"last line", b"last  line \t")
        assert verdicts(changed, records(DOMAIN, *BOTH)) == [is_kept, is_kept]
        assert verdicts(signed + b"\r\n\r\n", records(DOMAIN, *BOTH)) == [True, True]


def test_the_signature_that_all_verifiers_know_comes_first() -> None:
    signed = signer_with(*reversed(BOTH)).sign(CONTENT, DOMAIN)
    assert selectors(signed) == ["r1", "e1"]


def test_each_signature_holds_without_the_other() -> None:
    for number in (0, 1):
        (only,) = known = (BOTH[number],)
        signed = signer_with(*BOTH).sign(CONTENT, DOMAIN)
        expected = [number == 0, number == 1]
        assert verdicts(signed, records(DOMAIN, *known)) == expected, only.entry.selector


def test_a_rotation_changes_the_key_at_its_time_and_both_keys_verify() -> None:
    clock = FakeClock()
    change = datetime.fromtimestamp(clock.now_ms() / 1000, UTC) + timedelta(hours=1)
    old = Key(KeyEntry("old", "-"), ED25519, key_of(ED25519))
    new = Key(KeyEntry("new", "-", active_from=change), RSA, key_of(RSA))
    newer = Key(KeyEntry("newer", "-", active_from=change), ED25519, key_of(ED25519))
    signing = signer_with(old, new, newer, clock=clock)
    before = signing.sign(CONTENT, DOMAIN)
    clock.go_on(3_599)
    assert selectors(signing.sign(CONTENT, DOMAIN)) == selectors(before) == ["old"]
    clock.go_on(1)
    after = signing.sign(CONTENT, DOMAIN)
    assert selectors(after) == ["new", "newer"]
    published = records(DOMAIN, old, new, newer)
    assert (verdicts(before, published), verdicts(after, published)) == ([True], [True, True])


def test_each_client_signs_with_its_own_keys_and_the_others_with_the_common_one() -> None:
    own = Key(KeyEntry("own", "-", client="shop"), ED25519, key_of(ED25519))
    common = Key(KeyEntry("common", "-"), ED25519, key_of(ED25519))
    signing = signer_with(own, common)
    assert selectors(signing.sign(CONTENT, DOMAIN, "shop")) == ["own"]
    assert selectors(signing.sign(CONTENT, DOMAIN, "bank")) == ["common"]


def test_without_a_key_in_force_the_content_is_passed_on_unchanged() -> None:
    signing = signer_with(Key(KeyEntry("own", "-", client="shop"), ED25519, key_of(ED25519)))
    assert signing.sign(CONTENT, DOMAIN, "bank") is CONTENT


def test_a_domain_in_upper_case_or_in_another_script_finds_its_key() -> None:
    entry = KeyEntry("own", "-", domain="xn--bcher-kva.example")
    signing = signer_with(Key(entry, ED25519, key_of(ED25519)))
    assert selectors(signing.sign(CONTENT, "BÜCHER.example")) == ["own"]
