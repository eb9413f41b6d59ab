"""The macros of SPF: the examples of RFC 7208, 7.4, and texts that no record should have."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.mailauth.spf.macros import MAX_NAME_CHARS, Macros, expand

IP4, IP6 = "192.0.2.3", "2001:db8::cb01"
SENDER, DOMAIN = "strong-bad@email.example.com", "email.example.com"


def expanded(text: str, address: str = IP4, sender: str = SENDER) -> str:
    return expand(text, Macros(sender, DOMAIN, ipaddress.ip_address(address)))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("%{s}", "strong-bad@email.example.com"),
        ("%{o}", "email.example.com"),
        ("%{d}", "email.example.com"),
        ("%{d4}", "email.example.com"),
        ("%{d3}", "email.example.com"),
        ("%{d2}", "example.com"),
        ("%{d1}", "com"),
        ("%{dr}", "com.example.email"),
        ("%{d2r}", "example.email"),
        ("%{l}", "strong-bad"),
        ("%{l-}", "strong.bad"),
        ("%{lr}", "strong-bad"),
        ("%{lr-}", "bad.strong"),
        ("%{l1r-}", "strong"),
        ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
        ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
        ("%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com"),
        ("%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com"),
        ("%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"),
    ],
)
def test_the_examples_of_the_rfc(text: str, found: str) -> None:
    assert expanded(text) == found


def test_an_ipv6_address_is_its_32_digits() -> None:
    assert expanded("%{ir}.%{v}._spf.%{d2}", IP6) == (
        "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com"
    )


@pytest.mark.parametrize(
    ("text", "sender", "found"),
    [
        ("%{l}.x", "@email.example.com", "postmaster.x"),  # 4.3: without a local part
        ("%{h}.%{p}", SENDER, "email.example.com.unknown"),
        ("a%%b%_c%-d", SENDER, "a%b c%20d"),
        ("%{L}", "a b/c@x.example", "a%20b%2Fc"),
        ("%{l}", "a b@x.example", "a b"),
        ("%{l+-}", "a+b-c@x.example", "a.b.c"),
        ("mail.example.", SENDER, "mail.example"),
        ("%{l}", "%{d}@x.example", "%{d}"),  # what was expanded is not expanded again
    ],
)
def test_macros_that_the_examples_do_not_have(text: str, sender: str, found: str) -> None:
    assert expanded(text, sender=sender) == found


@given(st.text(st.sampled_from("ab.%{}dislor123-_"), max_size=300), st.text(max_size=300))
def test_a_name_is_never_longer_than_the_dns_has_it_but_for_a_single_label(
    text: str, local: str
) -> None:
    found = expanded(text + ".example", sender=f"{local}@x.example")
    assert len(found) <= MAX_NAME_CHARS or "." not in found
    assert found.endswith("example")


def test_a_long_name_loses_labels_on_the_left() -> None:
    found = expanded("%{l}.example", sender=f"{'abcdefg.' * 40}a@x.example")
    assert found.endswith("abcdefg.a.example")
    assert 253 - 8 < len(found) <= 253
    assert found.startswith("abcdefg.")
