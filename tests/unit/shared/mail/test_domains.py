"""Domains in normal form, and their organisational domains."""

from __future__ import annotations

import idna
import pytest
from hypothesis import example, given, settings
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
        ("ΟΔΟΣ.example", "xn--pxavbq.example"),
        ("οδοσ.example", "xn--pxavbq.example"),
        ("οδος.example", "xn--pxavbm.example"),
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
        ("github.io", "github.io"),
        ("b.a.pages.dev", "a.pages.dev"),
        ("a.b.s3.amazonaws.com", "b.s3.amazonaws.com"),
        ("a.b.xn--55qx5d.cn", "b.xn--55qx5d.cn"),
        ("a.b.公司.cn", "b.xn--55qx5d.cn"),
        ("www.ck", "www.ck"),
        ("a.b.c.ck", "b.c.ck"),
        ("a.b.not-a-tld", "b.not-a-tld"),
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


LETTERS = st.sampled_from(
    [*"aZß-1", *"üÜİıΣσςЖжοо", "\u0308", "\u200d", "\u212b", "ſ", "۳", "ｓ", "ǅ"]
)


@settings(deadline=None, max_examples=500)
@given(st.one_of(st.text(LETTERS, max_size=8), st.text(max_size=8)))
@example("ΟΔΟΣ")
def test_programs_that_map_as_uts_46_see_the_same_domain(label: str) -> None:
    domain = f"{label}.example"
    normal = normalise(domain)
    if normal:
        assert idna.encode(domain, uts46=True, std3_rules=True).decode() == normal


@settings(deadline=None)
@given(st.text(max_size=60))
def test_an_organisation_is_the_domain_or_an_end_of_it(label: str) -> None:
    for suffix in ("example", "co.uk", "github.io", "ck", "kawasaki.jp", "公司.cn"):
        found = organisational_domain(f"{label}.{suffix}")
        assert organisational_domain(found) == found
        assert f".{normalise(f'{label}.{suffix}')}".endswith(found and f".{found}")


@pytest.mark.parametrize(
    ("address", "domain"),
    [("a@b.example", "b.example"), ('"a@b"@c.example', "c.example"), ("a", ""), ("", "")],
)
def test_the_domain_of_an_address_follows_its_last_at(address: str, domain: str) -> None:
    assert domain_of(address) == domain
