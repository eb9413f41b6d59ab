"""Records of mail.control: what can be read back, what is refused, which orders replace others."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from shared.topics.codec import CodecError
from shared.topics.control import (
    Order,
    Review,
    ReviewVerdict,
    Scope,
    Verb,
    apply_record,
    decode_order,
    decode_review,
    encode_order,
    encode_review,
    is_review,
    key_of,
)

SUSPEND = Order(Verb.SUSPEND, Scope(client="shop", domain="example.com"), "ann", "complaints", 5, 9)
REVIEW = Review("big/ger", 5, 9, ReviewVerdict.COUNTED, "5.1.1", author="ops", note="real", at_ms=7)


@pytest.mark.parametrize(
    "order",
    [
        SUSPEND,
        Order(Verb.RESUME, SUSPEND.scope, "bob", at_ms=7),
        Order(Verb.REROUTE, Scope(site="mx1.example,mx2.example;mx3.example"), target="h:25"),
        Order(Verb.CANCEL, Scope(mail_id="01JDEXAMPLE0000000000000ZZ")),
        Order(Verb.BOUNCE, Scope(client="shop", mailing="a&b=c d", sub_client="ä")),
    ],
)
def test_an_order_is_read_as_it_was_written(order: Order) -> None:
    assert decode_order(*encode_order(order)) == order


def test_an_order_has_the_key_of_its_scope_whatever_the_verb() -> None:
    key, _ = encode_order(SUSPEND)
    assert key == b"client=shop&domain=example.com"
    assert encode_order(Order(Verb.RESUME, SUSPEND.scope))[0] == key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Scope(client="a&domain=b"), Scope(client="a", domain="b")),
        (Scope(client="a"), Scope(mailing="a")),
        (Scope(site="a%26"), Scope(site="a&")),
    ],
)
def test_two_scopes_never_share_a_key(one: Scope, other: Scope) -> None:
    assert key_of(one) != key_of(other)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        (b"client=a", b'{"verb":"suspend","scope":{"client":"a"}', "order: "),
        (b"client=a", b'{"verb":"launch","scope":{"client":"a"}}', "launch"),
        (b"client=a", b'{"verb":"suspend"}', "scope"),
        (b"", b'{"verb":"bounce","scope":{}}', "all mail"),
        (b"client=b", b'{"verb":"bounce","scope":{"client":"a"}}', "key"),
        (None, b'{"verb":"bounce","scope":{"client":"a"}}', "key"),
        (b"client=a", b'{"verb":"reroute","scope":{"client":"a"}}', "target"),
        (b"client=a", b'{"verb":"bounce","scope":{"client":"a"},"target":"h:1"}', "target"),
        (b"client=a", b"[" * 100_000, "order: "),
    ],
)
def test_a_record_that_is_no_order_is_refused_with_its_fault(
    key: bytes | None, value: bytes, words: str
) -> None:
    with pytest.raises(CodecError, match=words):
        decode_order(key, value)


def test_a_field_of_a_newer_version_is_ignored() -> None:
    value = b'{"verb":"suspend","scope":{"client":"a"},"colour":"red"}'
    assert decode_order(b"client=a", value) == Order(Verb.SUSPEND, Scope(client="a"))


@pytest.mark.parametrize(
    ("order", "is_over"),
    [
        (Order(Verb.SUSPEND, Scope(lane="l")), False),
        (Order(Verb.SUSPEND, Scope(lane="l"), expires_at_ms=101), False),
        (Order(Verb.SUSPEND, Scope(lane="l"), expires_at_ms=100), True),
        (Order(Verb.RESUME, Scope(lane="l")), True),
    ],
)
def test_an_order_is_over_at_its_expiry_and_when_resumed(order: Order, is_over: bool) -> None:
    assert order.is_over(100) is is_over


@pytest.mark.parametrize(
    ("earlier", "later", "stays"),
    [
        (Verb.CANCEL, Verb.RELEASE, True),
        (Verb.CANCEL, Verb.CANCEL, False),
        (Verb.RELEASE, Verb.CANCEL, False),
        (Verb.RELEASE, Verb.RELEASE, False),
    ],
)
def test_only_a_cancellation_stays_when_a_release_follows(
    earlier: Verb, later: Verb, stays: bool
) -> None:
    scope = Scope(mail_id="01JDEXAMPLE0000000000000ZZ")
    known: dict[bytes, Order] = {}
    for order in (Order(earlier, scope, "ann"), Order(later, scope, "bob")):
        apply_record(known, *encode_order(order), decode_order)
    (found,) = known.values()
    assert (found.verb, found.author) == ((earlier, "ann") if stays else (later, "bob"))


def test_a_review_is_read_as_it_was_written_and_has_a_key_of_its_own() -> None:
    key, value = encode_review(REVIEW)
    assert decode_review(key, value) == REVIEW
    assert is_review(key)
    changes: list[dict[str, Any]] = [{"provider": "big"}, {"status": ""}, {"from_ms": 4}]
    others = {encode_review(replace(REVIEW, **each))[0] for each in changes}
    assert len({key, *others}) == 4
    assert encode_review(replace(REVIEW, active=False, author="x"))[0] == key


def test_an_order_is_no_review() -> None:
    assert not is_review(encode_order(Order(Verb.SUSPEND, Scope(client="review")))[0])
    assert not is_review(None)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{}",
        b"[" * 100_000,
        b'{"provider":"","from_ms":1,"until_ms":2}',
        b'{"provider":"a","from_ms":2,"until_ms":2}',
        b'{"provider":"a","from_ms":-1,"until_ms":2}',
        b'{"provider":"a","from_ms":1,"until_ms":99999999999999999}',
        b'{"provider":"a","from_ms":1,"until_ms":2,"verdict":"maybe"}',
        msgspec.json.encode(REVIEW),
    ],
)
def test_what_is_no_review_is_an_error(value: bytes) -> None:
    with pytest.raises(CodecError):
        decode_review(b"review/a//1-2", value)


@pytest.mark.parametrize("more", [b'"expires_at_ms":-1', b'"at_ms":1' + b"0" * 400, b'"at_ms":-1'])
def test_an_order_with_a_time_that_is_none_is_refused(more: bytes) -> None:
    with pytest.raises(CodecError):
        decode_order(b"client=a", b'{"verb":"suspend","scope":{"client":"a"},' + more + b"}")


@pytest.mark.parametrize("target", [b"nonsense", b"a:b:c", b"h:", b":25"])
def test_an_order_with_a_target_that_is_no_server_is_refused(target: bytes) -> None:
    text = b'{"verb":"reroute","scope":{"client":"a"},"target":"%b"}' % target
    with pytest.raises(CodecError):
        decode_order(b"client=a", text)
