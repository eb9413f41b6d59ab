"""SPF: the result of a policy for an address, with the limits of RFC 7208."""

from __future__ import annotations

import pytest

from shared.mailauth.spf.evaluation import Away, LookUp, Rows, check_host, ending
from shared.mailauth.spf.record import SpfSyntaxError, parse_record

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
