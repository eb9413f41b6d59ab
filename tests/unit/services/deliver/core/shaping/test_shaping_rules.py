"""Shaping files: their limits, layers, providers and reply rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.deliver.core.shaping.keys import Destination, Party, Scope, keys_of, scope_key
from services.deliver.core.shaping.limits import Limit, Unit, parse_duration, parse_limit
from services.deliver.core.shaping.parsing import ShapingFaults, combine, parse_file
from services.deliver.core.shaping.replies import read_example
from services.deliver.core.shaping.rules import Rules
from services.deliver.edge.shaping.loading import load_rules
from shared.smtp.events import Stage
from shared.smtp.extensions import Unsendable
from shared.smtp.reply import make_reply

SENDER = Party("shop", "news", "news.example.com")
ORDINARY = Destination("r.example", "mx.r.example")
GOOGLE = Destination("gmail.com", "g", "google")

LISTED = [
    *("google", "microsoft", "microsoft365", "yahoo", "apple", "gmx", "t-online", "orange"),
    *("free", "comcast", "mimecast", "proofpoint", "barracuda", "mailru", "qq", "163"),
    *("libero", "kpn", "yahoo-japan"),
]


def rules(*texts: str) -> Rules:
    return combine([parse_file(text, f"file{n}") for n, text in enumerate(texts)])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("200/s", Limit(200, 1)),
        ("1000/min", Limit(1000, 60)),
        ("10/5min", Limit(10, 300)),
        (" 7 / h ", Limit(7, 3600)),
        ("10000 in 24h", Limit(10_000, 86_400, True)),
        ("5 in d", Limit(5, 86_400, True)),
    ],
)
def test_a_limit_is_read_and_shown(text: str, expected: Limit) -> None:
    assert parse_limit(text) == expected
    assert parse_limit(str(expected)) == expected


def test_a_limit_of_bytes_may_have_a_unit() -> None:
    assert parse_limit("5MB/s", Unit.BYTES) == Limit(5_000_000, 1, False, Unit.BYTES)


@pytest.mark.parametrize(
    "text", ["", "0/s", "5MB/s", "5/0s", "5", "-1/s", "5/32d", "5/month", "٣/s"]
)
def test_what_is_no_limit_is_refused_with_what_is_expected(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_limit(text)


@pytest.mark.parametrize("text", ["", "0s", "5", "1.5h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("hosts", "provider"),
    [
        (["aspmx.l.google.com.", "alt1.ASPMX.l.google.com"], "google"),
        (["aspmx.l.google.com", "mx.other.example"], ""),
        (["notgoogle.com"], ""),
        (["r-example.mail.protection.outlook.com"], "microsoft365"),
        (["outlook-com.olc.protection.outlook.com"], "microsoft"),
        ([], ""),
    ],
)
def test_a_provider_is_known_by_all_of_its_mx_hosts(hosts: list[str], provider: str) -> None:
    assert load_rules().provider_of("r.example", hosts) == provider


def test_a_domain_may_name_its_provider_whatever_its_mx() -> None:
    assert load_rules().provider_of("gmail.com", ["mx.other.example"]) == "google"


@pytest.mark.parametrize("name", LISTED)
def test_each_big_provider_has_shipped_limits(name: str) -> None:
    to = Destination("r.example", "mx", name)
    assert load_rules().limits(to, SENDER)
    assert "connections" in load_rules().settings(to)


def test_an_operators_file_replaces_value_by_value_and_says_so(tmp_path: Path) -> None:
    mine = "[provider.google]\nmessages = ['7/s', '100 in 24h']\n"
    path = tmp_path / "mine.toml"
    path.write_text(mine)
    found = load_rules(str(path))
    limits = found.limits(GOOGLE, SENDER)
    assert [str(each.limit) for each in limits] == ["7/s", "100 in 1d"]
    assert {each.origin for each in limits} == {f"{path} [provider.google]"}
    settings = found.settings(GOOGLE)
    assert settings["connections"].origin == "providers.toml [provider.google]"
    assert settings["idle_timeout"].origin == "providers.toml [default]"
    assert found.provider_of("x.example", ["mx.google.com"]) == "google"


@pytest.mark.parametrize(
    ("text", "to", "keys"),
    [
        ("[default]\nmessages = '1/s'", ORDINARY, ["site:mx.r.example"]),
        ("[default]\nmessages = '1/s'", GOOGLE, []),
        ("[default]\nmessages = '1/s'", Destination("d", "s", "", True), []),
        ("[site.'mx.r.example']\nbytes = '1MB/s'", ORDINARY, ["site:mx.r.example"]),
        ("[domain.'r.example']\nmessages = '1/s'", ORDINARY, ["domain:r.example"]),
        ("[client.shop]\nmessages = '1/s'", ORDINARY, ["client:shop"]),
        ("[client.other]\nmessages = '1/s'", ORDINARY, []),
        ("[mailing.'shop/news']\nmessages = '1/s'", ORDINARY, ["mailing:shop/news"]),
        ("[client.shop.provider.google]\nmessages = '1/s'", ORDINARY, []),
        (
            "[client.shop.provider.google]\nmessages = '1/s'",
            GOOGLE,
            ["client:shop@provider:google"],
        ),
    ],
)
def test_a_limit_is_counted_under_the_key_of_its_table(
    text: str, to: Destination, keys: list[str]
) -> None:
    assert [each.key for each in rules(text).limits(to, SENDER)] == keys


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("x", "f.toml: not TOML"),
        ("[defalt]", "defalt: found a table that does not exist, expected one of default"),
        ("default = 3", "default: found 3, expected a table"),
        ("[default]\nconections = 3", "default.conections: found no such setting"),
        ("[default]\nconnections = 0", "default.connections: found 0, expected a whole number"),
        ("[default]\nconnections = true", "default.connections: found True"),
        ("[default]\nmessages = '5'", "default.messages: found '5', expected \"200/s\""),
        ("[default]\nretry = ['2m']", "default.retry: found ['2m'], expected a list of 1m"),
        ("[provider.x]\nmx = 'y'", "provider.x.mx: found 'y', expected a list of names"),
        ("provider.x = 1", "provider.x: found 1, expected a table"),
        ("[client.x]\nconnections = 1", "client.x.connections: found no such setting"),
        ("[reply]\nx = 1", "reply: found a table, expected [[reply]]"),
        ("[[reply]]\nscope = 'site'", "reply 1: found no action"),
        (
            "[[reply]]\naction='suspend'\nscope='all'\ntext='x'\nexample='450 x'\ncounter='450 y'",
            "reply 1: scope: found 'all', expected one of site, provider",
        ),
        (
            "[[reply]]\naction='suspend'\nfor='1h'\nscope='site'\ntext='x'\nexample='450 z'\n"
            "counter='450 y'",
            "reply 1: the rule does not match its example '450 z'",
        ),
        (
            "[[reply]]\naction='suspend'\nfor='1h'\nscope='site'\ntext='x'\nexample='450 x'\n"
            "counter='450 xx'",
            "reply 1: the rule matches its counter '450 xx'",
        ),
        (
            "[[reply]]\naction='suspend'\nfor='1h'\nscope='site'\ntext='('\nexample='450 x'\n"
            "counter='450 xx'",
            "reply 1: missing )",
        ),
    ],
)
def test_a_fault_names_the_key_what_was_found_and_what_is_expected(text: str, fault: str) -> None:
    with pytest.raises(ShapingFaults) as raised:
        parse_file(text, "f.toml")
    assert any(fault in each for each in raised.value.faults), raised.value.faults


@pytest.mark.parametrize(
    ("provider", "reply", "scope"),
    [
        (
            "google",
            "421 4.7.28 unusual rate of unsolicited mail originating from your IP address",
            Scope.SOURCE,
        ),
        (
            "google",
            "421 4.7.28 unusual rate of unsolicited mail originating from your SPF domain"
            " [x.example]. mail has been temporarily rate limited",
            Scope.SENDING_DOMAIN,
        ),
        ("", "421 4.7.0 too many connections from your host", Scope.PROVIDER),
        ("", "554 5.7.1 blocked using zen.spamhaus.org", Scope.SOURCE),
        ("", "550 5.1.1 No such user", None),
        ("", "452 4.2.2 Mailbox full", None),
        ("", "250 2.0.0 slow down", None),
    ],
)
def test_a_shipped_rule_knows_what_a_reply_is_about(
    provider: str, reply: str, scope: Scope | None
) -> None:
    found = load_rules().replies.match(provider, Stage.RCPT, read_example(reply))
    assert (found.scope if found else None) == scope


def test_a_shipped_rule_does_not_concern_a_server_that_an_operator_has_named() -> None:
    reply = make_reply(421, "4.7.0 too many connections")
    found = load_rules().replies.match("", Stage.RCPT, reply, is_override=True)
    assert found is None


@pytest.mark.parametrize("reason", [each.value for each in Unsendable])
def test_no_rule_matches_a_reason_of_our_own(reason: str) -> None:
    for code in (421, 450, 550):
        for provider in ("", *LISTED):
            found = load_rules().replies.match(provider, Stage.RCPT, make_reply(code, reason))
            assert found is None


@pytest.mark.parametrize(
    ("scope", "key"),
    [
        (Scope.SITE, "site:g"),
        (Scope.PROVIDER, "provider:google"),
        (Scope.SOURCE, "source:192.0.2.1@provider:google"),
        (Scope.CLIENT, "client:shop@provider:google"),
        (Scope.SENDING_DOMAIN, "sending_domain:news.example.com@provider:google"),
    ],
)
def test_a_scope_has_a_key_at_the_provider(scope: Scope, key: str) -> None:
    assert scope_key(scope, GOOGLE, SENDER, "192.0.2.1") == key


def test_limits_of_a_source_hold_at_each_provider_or_site_by_itself() -> None:
    found = rules(
        '[source.mx1]\nmessages = "5/s"\n[source.mx1.provider.google]\nmessages = "50 in 24h"\n'
    )
    sender = Party("shop", "news", "news.example.com", "mx1")

    def of(to: Destination, party: Party = sender) -> list[tuple[str, str]]:
        return [(each.key, str(each.limit)) for each in found.limits(to, party)]

    assert of(ORDINARY) == [("source:mx1@site:mx.r.example", "5/s")]
    assert of(GOOGLE) == [("source:mx1@provider:google", "50 in 1d")]
    assert of(ORDINARY, SENDER) == of(Destination("r", "r:25", is_override=True)) == []


def test_a_reply_about_the_source_concerns_the_name_of_the_source_if_it_has_one() -> None:
    named = Party("shop", "news", "news.example.com", "mx1")
    assert scope_key(Scope.SOURCE, GOOGLE, named, "192.0.2.1") == "source:mx1@provider:google"
    assert (
        scope_key(Scope.SOURCE, GOOGLE, SENDER, "192.0.2.1") == "source:192.0.2.1@provider:google"
    )
    assert "source:mx1@provider:google" in keys_of(GOOGLE, named)
