"""A sending domain's delegation: correct records, faults, the record that fixes them."""

from __future__ import annotations

import base64
import itertools

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers, generate_private_key

from shared.mailauth.delegation import (
    Expected,
    Finding,
    judge_delegation,
    judge_dkim,
    judge_dmarc,
    judge_mx,
    judge_spf,
)
from shared.mailauth.dkim_record import public_key_of
from shared.mailauth.spf.evaluation import Away, Rows

DOMAIN = "news.acme.example"
SOURCE = "192.0.2.7"
_, ED25519 = public_key_of(Ed25519PrivateKey.generate().public_key())
_, OTHER = public_key_of(Ed25519PrivateKey.generate().public_key())
_, RSA_2048 = public_key_of(generate_private_key(65_537, 2_048).public_key())
_, RSA_1024 = public_key_of(generate_private_key(65_537, 1_024).public_key())
# Only its length matters; libraries no longer generate keys this short.
_, RSA_768 = public_key_of(RSAPublicNumbers(65_537, 2**768 - 1).public_key())
AWAY = Away("SERVFAIL")
GONE = Rows((), exists=False)
EXPECTED = Expected(("mx.sluice.example", "mx2.sluice.example"), (SOURCE,), ("sluice",))


class Zone:
    """A DNS in memory: maps (name, type) to rows; other records do not exist."""

    def __init__(self, rows: dict[tuple[str, str], tuple[str, ...] | Rows | Away]) -> None:
        self._rows = rows

    def __call__(self, name: str, kind: str) -> Rows | Away:
        found = self._rows.get((name, kind), ())
        return Rows(found) if isinstance(found, tuple) else found


def txt(*records: str, at: str = DOMAIN) -> Zone:
    return Zone({(at, "TXT"): records})


def short(finding: Finding) -> tuple[str, str]:
    return finding.check, finding.judgement.value


@pytest.mark.parametrize(
    ("answer", "judgement", "said"),
    [
        (Rows(("10 mx.sluice.example",)), "ok", "mx.sluice.example"),
        (Rows(("10 mx.sluice.example", "20 mx2.sluice.example")), "ok", "20 mx2"),
        (Rows(("10 mx.sluice.example", "20 mx.acme.example")), "warning", "to mx.acme.example"),
        (Rows(("10 mx.acme.example",)), "fault", "mx.acme.example"),
        (Rows(("0 .",)), "fault", "null MX"),
        (Rows(), "fault", "no MX record"),
        (GONE, "fault", "does not exist"),
        (AWAY, "away", "SERVFAIL"),
    ],
)
def test_returned_mail_has_to_come_to_the_installation(
    answer: Rows | Away, judgement: str, said: str
) -> None:
    found = judge_mx(answer, DOMAIN, EXPECTED.mail_hosts)
    assert found.judgement.value == judgement
    assert said in found.found
    needs_mending = judgement in {"fault", "warning"}
    assert ("3600 IN MX 10 mx.sluice.example." in found.publish) == needs_mending


@pytest.mark.parametrize(
    ("records", "judgements", "said", "publish"),
    [
        ((f"v=spf1 ip4:{SOURCE} -all",), ["ok", "ok"], "0 of 10 look-ups", ""),
        (("v=spf1 ip4:192.0.2.0/24 ~all", "other=1"), ["ok", "ok"], "", ""),
        ((f"v=spf1 ip4:{SOURCE}",), ["warning", "ok"], "", f'"v=spf1 ip4:{SOURCE} -all"'),
        ((f"v=spf1 ip4:{SOURCE} ?all",), ["warning", "ok"], "", f'"v=spf1 ip4:{SOURCE} -all"'),
        (("v=spf1 mx +all",), ["fault", "ok"], "allows any server", '"v=spf1 mx -all"'),
        (("v=spf1 all",), ["fault", "ok"], "allows any server", '"v=spf1 -all"'),
        (
            ("v=spf1 ip4:198.51.100.1 -all",),
            ["ok", "fault"],
            "",
            f'"v=spf1 ip4:{SOURCE} ip4:198.51.100.1 -all"',
        ),
        ((), ["fault"], "no SPF record", f'"v=spf1 ip4:{SOURCE} -all"'),
        (("v=spf10 -all",), ["fault"], "no SPF record", f'"v=spf1 ip4:{SOURCE} -all"'),
        (("v=spf1 -all", "V=SPF1 mx"), ["fault"], "2 SPF records", "(and no other)"),
        (("v=spf1 ipv4:192.0.2.7 -all",), ["fault"], "no mechanism ipv4", "v=spf1 ip4:"),
        (("v=spf1 include:nobody.example -all",), ["fault"], "there is no SPF record", "v=spf1"),
    ],
)
def test_one_policy_has_to_cover_the_sources_and_to_end(
    records: tuple[str, ...], judgements: list[str], said: str, publish: str
) -> None:
    found = judge_spf(txt(*records), DOMAIN, EXPECTED)
    assert [finding.judgement.value for finding in found] == judgements
    assert said in found[0].found
    assert publish in "".join(finding.publish for finding in found)
    if judgements == ["ok", "ok"]:
        assert [finding.publish for finding in found] == ["", ""]


def test_a_dns_that_is_away_is_no_missing_record() -> None:
    def ask(name: str, kind: str) -> Rows | Away:
        return AWAY

    found = judge_delegation(ask, DOMAIN, EXPECTED)
    assert [short(finding) for finding in found] == [
        ("mx", "away"),
        ("spf", "away"),
        ("dkim sluice", "away"),
        ("dmarc", "away"),
    ]
    assert [finding.publish for finding in found] == [""] * 4


def test_a_policy_whose_include_cannot_be_asked_for_is_away() -> None:
    zone = Zone({(DOMAIN, "TXT"): ("v=spf1 include:x.example -all",), ("x.example", "TXT"): AWAY})
    (found,) = judge_spf(zone, DOMAIN, EXPECTED)
    assert short(found) == ("spf", "away")


@pytest.mark.parametrize(
    ("record", "key", "judgement", "said"),
    [
        (f"v=DKIM1; k=ed25519; p={ED25519}", "", "ok", "Ed25519"),
        (f"v=DKIM1; k=ed25519; p={ED25519}", ED25519, "ok", "Ed25519"),
        (f"p={RSA_2048}", RSA_2048, "ok", "RSA of 2048 bits"),
        (f"v=DKIM1; p={RSA_2048[:40]} {RSA_2048[40:]};", RSA_2048, "ok", "RSA of 2048 bits"),
        (f"v=DKIM1; h=sha1:sha256; s=email; t=s; p={RSA_2048}", "", "ok", "RSA of 2048 bits"),
        (f"v=DKIM1; p={RSA_1024}", "", "warning", "2048 bits or more are advised"),
        (f"v=DKIM1; p={RSA_768}", "", "fault", "RSA of 768 bits"),
        (f"v=DKIM1; t=y:s; p={RSA_2048}", "", "warning", "t=y"),
        (f"v=DKIM1; k=ed25519; p={OTHER}", ED25519, "fault", "not the key"),
        ("v=DKIM1; k=rsa; p=", "", "fault", "revoked"),
        ("v=DKIM1; k=rsa", "", "fault", "no p="),
        (f"v=DKIM2; p={RSA_2048}", "", "fault", "v=DKIM1"),
        (f"p={RSA_2048}; v=DKIM1", "", "fault", "first"),
        (f"p={RSA_2048}; p={RSA_2048}", "", "fault", "not a list of tags"),
        ("some text", "", "fault", "not a list of tags"),
        ("v=DKIM1; p=%%%", "", "fault", "not base64"),
        ("v=DKIM1; p=" + base64.b64encode(b"no key").decode(), "", "fault", "not an RSA"),
        ("v=DKIM1; k=ed25519; p=" + base64.b64encode(b"x" * 31).decode(), "", "fault", "31 bytes"),
        (f"v=DKIM1; k=dsa; p={RSA_2048}", "", "fault", "neither rsa nor"),
        (f"v=DKIM1; h=sha1; p={RSA_2048}", "", "fault", "sha256"),
        (f"v=DKIM1; s=tlsrpt; p={RSA_2048}", "", "fault", "not for mail"),
    ],
    # The keys are generated in each process; a test name must be the same in all.
    ids=map(str, itertools.count()),
)
def test_the_key_in_the_dns_has_to_be_the_one_that_mail_is_signed_with(
    record: str, key: str, judgement: str, said: str
) -> None:
    expected = Expected((), selectors=("s1",), key_type="ed25519", public_key=key)
    zone = txt(record, at=f"s1._domainkey.{DOMAIN}")
    found = judge_dkim(zone, DOMAIN, "s1", expected)
    assert found.judgement.value == judgement
    assert said in found.found
    assert bool(found.publish) == (judgement != "ok")


@pytest.mark.parametrize("records", [(), ("v=DKIM1; p=x", "v=DKIM1; p=y")])
def test_a_key_is_missing_or_stands_there_once(records: tuple[str, ...]) -> None:
    expected = Expected((), selectors=("s1",), public_key=RSA_2048)
    found = judge_dkim(txt(*records, at=f"s1._domainkey.{DOMAIN}"), DOMAIN, "s1", expected)
    assert found.judgement.value == "fault"
    # A string of a TXT record has at most 255 octets.
    text = f"v=DKIM1; k=rsa; p={RSA_2048}"
    quoted = f'"{text[:255]}" "{text[255:]}"'
    assert found.publish == f"s1._domainkey.{DOMAIN}. 3600 IN TXT {quoted}"


@pytest.mark.parametrize(
    ("own", "of_organisation", "judgement", "said"),
    [
        (("v=DMARC1; p=reject; adkim=s; aspf=s",), (), "ok", "_dmarc.news.acme.example"),
        (("v=DMARC1;p=none",), (), "ok", DOMAIN),
        ((), ("v=DMARC1; p=none; sp=quarantine",), "ok", "_dmarc.acme.example"),
        (("unrelated",), ("v=DMARC1; p=reject",), "ok", "_dmarc.acme.example"),
        ((), (), "fault", "no DMARC record at news.acme.example nor at acme.example"),
        (("v=DMARC1; p=none", "v=DMARC1; p=reject"), (), "fault", "2 DMARC records"),
        (("v=DMARC1; p=maybe",), (), "fault", "p=maybe"),
        (("v=DMARC1; rua=mailto:a@b.example",), (), "fault", "rua"),
        ((), ("v=DMARC1; p=none; sp=some",), "fault", "sp=some"),
        (("v=DMARC1; p=none; adkim=x",), (), "warning", "adkim=x"),
        (("v=DMARC1; p=none; p=reject",), (), "fault", "p=none"),
    ],
)
def test_a_dmarc_policy_is_the_domains_or_its_organisations(
    own: tuple[str, ...], of_organisation: tuple[str, ...], judgement: str, said: str
) -> None:
    zone = Zone({(f"_dmarc.{DOMAIN}", "TXT"): own, ("_dmarc.acme.example", "TXT"): of_organisation})
    found = judge_dmarc(zone, DOMAIN)
    assert found.judgement.value == judgement
    assert said in found.found
    assert bool(found.publish) == (judgement != "ok")


def test_a_dmarc_policy_that_cannot_be_asked_for_is_not_looked_for_elsewhere() -> None:
    zone = Zone(
        {
            (f"_dmarc.{DOMAIN}", "TXT"): AWAY,
            ("_dmarc.acme.example", "TXT"): ("v=DMARC1; p=none",),
        }
    )
    assert judge_dmarc(zone, DOMAIN).judgement.value == "away"
