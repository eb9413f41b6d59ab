"""SPF: the result of a policy for an address, with the limits of RFC 7208, and its macros.

The macros are those of the examples in RFC 7208, 7.4, and texts that no record should have.
"""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.mailauth.spf.evaluation import Away, LookUp, Rows, check_host, ending
from shared.mailauth.spf.record import MAX_NAME_CHARS, Macros, SpfSyntaxError, expand, parse_record

IP4, IP6 = "192.0.2.7", "2001:db8::7"
RECORDS: dict[tuple[str, str], tuple[str, ...] | Away] = {
    ("pass.example", "TXT"): ("v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all",),
    ("fail.example", "TXT"): ("v=spf1 ip4:198.51.100.1 -all",),
    ("soft.example", "TXT"): ("v=spf1 ~all",),
    ("loop.example", "TXT"): ("v=spf1 include:loop.example -all",),
    ("away.example", "TXT"): Away("SERVFAIL"),
    ("two.example", "TXT"): ("v=spf1 -all", "v=spf1 +all"),
    ("bad.example", "TXT"): ("v=spf1 ip4:1.2.3 -all",),
    ("host.example", "A"): (IP4,),
    ("host.example", "AAAA"): (IP6,),
    ("near.example", "A"): ("192.0.2.200",),
    ("mx.example", "MX"): ("10 elsewhere.example", "20 host.example"),
    ("elsewhere.example", "A"): ("198.51.100.9",),
    ("elsewhere.example", "AAAA"): ("2001:db8:1::9",),
    ("many.example", "MX"): tuple(f"{n} host.example" for n in range(11)),
    ("7.2.0.192._spf.example", "A"): ("127.0.0.2",),
    ("7.2.0.192.in-addr.arpa", "PTR"): ("foreign.test", "host.example"),
    ("8.2.0.192.in-addr.arpa", "PTR"): ("away.host.example",),
    ("away.host.example", "A"): Away("SERVFAIL"),
    ("9.2.0.192.in-addr.arpa", "PTR"): Away("timeout"),
    ("1.2.0.192.in-addr.arpa", "PTR"): tuple(f"n{n}.host.example" for n in range(10)),
    ("to.example", "TXT"): ("v=spf1 redirect=pass.example",),
    ("to-soft.example", "TXT"): ("v=spf1 a:host.example redirect=soft.example",),
}

RFC_IP4, RFC_IP6 = "192.0.2.3", "2001:db8::cb01"  # of the examples in RFC 7208, 7.4
SENDER, DOMAIN = "strong-bad@email.example.com", "email.example.com"


def ask_with(record: str, name: str = "own.example") -> LookUp:
    def ask(asked: str, kind: str) -> Rows | Away:
        if (asked, kind) == (name, "TXT"):
            return Rows((record,))
        found = RECORDS.get((asked, kind), ())
        return found if isinstance(found, Away) else Rows(found)

    return ask


def evaluate(record: str, address: str = IP4) -> tuple[str, int, int]:
    found = check_host(ask_with(record), "own.example", address)
    return found.result.value, found.lookups, found.void_lookups


@pytest.mark.parametrize(
    ("record", "address", "result"),
    [
        ("v=spf1", IP4, "neutral"),
        ("v=spf1 all", IP4, "pass"),
        ("v=spf1 -all", IP4, "fail"),
        ("V=SPF1 ~ALL", IP4, "softfail"),
        ("v=spf1  ?all ", IP4, "neutral"),
        ("v=spf1 ip4:192.0.2.7 -all", IP4, "pass"),
        ("v=spf1 -ip4:192.0.2.0/29 +all", IP4, "fail"),
        ("v=spf1 ip4:192.0.2.7 -all", "::ffff:192.0.2.7", "pass"),
        ("v=spf1 ip4:192.0.2.7 -all", IP6, "fail"),
        ("v=spf1 ip6:2001:db8::/32 -all", IP6, "pass"),
        ("v=spf1 ip6:2001:db8::/32 -all", IP4, "fail"),
        ("v=spf1 a:host.example -all", IP4, "pass"),
        ("v=spf1 a:host.example -all", IP6, "pass"),
        ("v=spf1 a:near.example -all", IP4, "fail"),
        ("v=spf1 a:near.example/24//64 -all", IP4, "pass"),
        ("v=spf1 a -all", IP4, "fail"),
        ("v=spf1 mx:mx.example -all", IP4, "pass"),
        ("v=spf1 mx:mx.example//128 -all", IP6, "pass"),
        ("v=spf1 mx:many.example -all", IP4, "permerror"),
        ("v=spf1 ptr:host.example -all", IP4, "pass"),
        ("v=spf1 ptr:foreign.test -all", IP4, "fail"),
        ("v=spf1 ptr:host.example -all", "192.0.2.8", "fail"),  # 5.5: an error is no match
        ("v=spf1 ptr:host.example -all", "192.0.2.9", "fail"),
        ("v=spf1 ptr:host.example -all", "192.0.2.1", "permerror"),  # more than two void look-ups
        ("v=spf1 note=any.thing all", IP4, "pass"),
        ("v=spf1 exp=why.example all", IP4, "pass"),
        ("v=spf1 -NOTE=x all", IP4, "permerror"),
        ("v=spf1 exists:%{ir}._spf.example -all", IP4, "pass"),
        ("v=spf1 exists:%{ir}.%{d2}.test -all", IP4, "fail"),
        ("v=spf1 include:pass.example -all", IP4, "pass"),
        ("v=spf1 include:fail.example ~all", IP4, "softfail"),
        ("v=spf1 include:soft.example ?all", IP4, "neutral"),
        ("v=spf1 -include:pass.example +all", IP4, "fail"),
        ("v=spf1 include:nobody.example -all", IP4, "permerror"),
        ("v=spf1 include:two.example -all", IP4, "permerror"),
        ("v=spf1 include:bad.example -all", IP4, "permerror"),
        ("v=spf1 include:away.example -all", IP4, "temperror"),
        ("v=spf1 ip4:192.0.2.7 include:away.example -all", IP4, "pass"),
        ("v=spf1 redirect=pass.example", IP4, "pass"),
        ("v=spf1 redirect=nobody.example", IP4, "permerror"),
        ("v=spf1 redirect=pass.example -all", IP4, "fail"),
        ("v=spf1 include:loop.example -all", IP4, "permerror"),
    ],
)
def test_a_policy_is_evaluated_as_rfc_7208_says(record: str, address: str, result: str) -> None:
    assert evaluate(record, address)[0] == result


@pytest.mark.parametrize(
    ("record", "counted"),
    [
        ("v=spf1 " + "a:near.example " * 10 + "-all", ("fail", 10, 0)),
        ("v=spf1 " + "a:near.example " * 11 + "-all", ("permerror", 11, 0)),
        ("v=spf1 " + "ip4:198.51.100.1 " * 30 + "-all", ("fail", 0, 0)),
        ("v=spf1 " + "include:soft.example " * 9 + "redirect=soft.example", ("softfail", 10, 0)),
        ("v=spf1 " + "include:soft.example " * 10 + "redirect=soft.example", ("permerror", 11, 0)),
        ("v=spf1 a:n1.example a:n2.example -all", ("fail", 2, 2)),
        ("v=spf1 a:n1.example a:n2.example exists:n3.example -all", ("permerror", 3, 3)),
    ],
)
def test_ten_look_ups_and_two_void_ones_are_the_most(
    record: str, counted: tuple[str, int, int]
) -> None:
    assert evaluate(record) == counted


@pytest.mark.parametrize(
    "record",
    [
        "v=spf1 al",
        "v=spf1 all:x.example",
        "v=spf1 all.",
        "v=spf1 ip4",
        "v=spf1 ip4:",
        "v=spf1 ip4:192.0.2.7/33",
        "v=spf1 ip4:192.0.2.7/024",
        "v=spf1 ip4:2001:db8::1",
        "v=spf1 ip6:192.0.2.7",
        "v=spf1 ip6:2001:db8::/129",
        "v=spf1 a:",
        "v=spf1 a:localhost",
        "v=spf1 a:host.example/33",
        "v=spf1 a:host.example//129",
        "v=spf1 include",
        "v=spf1 include:",
        "v=spf1 exists:%{z}.example",
        "v=spf1 exists:%{d0}.example",
        "v=spf1 exists:%x.example",
        "v=spf1 redirect=",
        "v=spf1 redirect=a.example redirect=b.example",
        "v=spf1 -redirect=a.example",
        "v=spf1 mx:ex\u00e4mple.de",
        "v=spf1 , -all",
    ],
)
def test_a_policy_that_breaks_the_grammar_is_permerror_wherever_it_breaks_it(record: str) -> None:
    with pytest.raises(SpfSyntaxError):
        parse_record(record)
    assert evaluate(record + " +all")[0] == "permerror"


@pytest.mark.parametrize(
    ("record", "qualifier"),
    [
        ("v=spf1 mx -all", "-"),
        ("v=spf1 all", "+"),
        ("v=spf1 ~all mx redirect=pass.example", "~"),
        ("v=spf1 mx", ""),
        ("v=spf1 redirect=pass.example", "-"),
        ("v=spf1 redirect=to-soft.example", "~"),
        ("v=spf1 redirect=nobody.example", ""),
        ("v=spf1 redirect=own.example", ""),
        ("v=spf1 redirect=bad.example", ""),
        ("v=spf1 redirect=away.example", ""),
        ("v=spf1 redirect=%{d2}", ""),
    ],
)
def test_a_policy_ends_where_its_redirects_lead(record: str, qualifier: str) -> None:
    assert ending(ask_with(record), "own.example") == qualifier


def test_a_domain_without_a_policy_says_nothing() -> None:
    ask = ask_with("v=spf1 -all")
    assert check_host(ask, "nobody.example", IP4).result.value == "none"


def expanded(text: str, address: str = RFC_IP4, sender: str = SENDER) -> str:
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
    assert expanded("%{ir}.%{v}._spf.%{d2}", RFC_IP6) == (
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
