"""Records of mail.control: what can be read back, what is refused, which orders replace others."""

import pytest

from shared.topics.codec import CodecError
from shared.topics.control import Order, Scope, Verb, decode_order, encode_order, key_of

SUSPEND = Order(Verb.SUSPEND, Scope(client="shop", domain="example.com"), "ann", "complaints", 5, 9)


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
