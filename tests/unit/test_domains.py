"""Domains in one form, and their organisational domains."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.mail.domains import domain_of, normalise, organisational_domain


@pytest.mark.parametrize(
    ("domain", "normal"),
    [
        ("News.Shop.EXAMPLE", "news.shop.example"),
        ("faß.example", "xn--fa-hia.example"),
        ("MÜNCHEN.example", "xn--mnchen-3ya.example"),
        ("xn--mnchen-3ya.example", "xn--mnchen-3ya.example"),
        ("3com.example", "3com.example"),
        ("a.b-c.d1", "a.b-c.d1"),
        ("localhost", ""),
        ("shop.example.", ""),
        ("192.0.2.1", ""),
        ("a" * 64 + ".example", ""),
        (".".join(["abcdefg"] * 32), ""),
        ("shop\n.example", ""),
        ("shop.example\n", ""),
        ("例子.example", "xn--fsqu00a.example"),
        ("a.٣", ""),
        ("\ud800.example", ""),
        ("", ""),
    ],
)
def test_a_domain_has_one_form(domain: str, normal: str) -> None:
    assert normalise(domain) == normal


@pytest.mark.parametrize(
    ("domain", "organisation"),
    [
        ("news.shop.example", "shop.example"),
        ("shop.example", "shop.example"),
        ("a.b.shop.co.uk", "shop.co.uk"),
        ("co.uk", "co.uk"),
        ("mail.google.com", "google.com"),
        ("x.y.kawasaki.jp", "x.y.kawasaki.jp"),
        ("a.city.kawasaki.jp", "city.kawasaki.jp"),
        ("a.b.github.io", "b.github.io"),
        ("NEWS.Shop.example", "shop.example"),
        ("a.müller.de", "xn--mller-kva.de"),
        ("localhost", ""),
        ("", ""),
    ],
)
def test_the_organisational_domain_is_the_public_suffix_and_a_label(
    domain: str, organisation: str
) -> None:
    assert organisational_domain(domain) == organisation


@settings(deadline=None)
@given(st.text(max_size=60))
def test_a_normal_domain_stays_as_it_is(domain: str) -> None:
    normal = normalise(domain)
    assert normal.isascii()
    if normal:
        assert normalise(normal) == normal
        assert normal.endswith(organisational_domain(normal))


@pytest.mark.parametrize(
    ("address", "domain"),
    [("a@b.example", "b.example"), ('"a@b"@c.example', "c.example"), ("a", ""), ("", "")],
)
def test_the_domain_of_an_address_follows_its_last_at(address: str, domain: str) -> None:
    assert domain_of(address) == domain
