"""The file of logins at smart hosts, and the TLS that a login asks for."""

from __future__ import annotations

import pytest

from services.deliver.core.routing.logins import Login, LoginFaults, parse_logins, tls_for
from services.deliver.core.routing.sites import Host, site_of_target
from services.deliver.core.tls.policy import DaneKeys, HostTls, Level, PolicyName

PASSWORD = "correct horse"
GOOD = f"""
["relay.example.net:587"]
user = "sluice"
password = "{PASSWORD}"

["[2001:db8::1]:25"]
user = "us@example.com"
password = "x"
tls = "required"
"""


def test_each_server_has_its_login_and_the_tls_that_it_asks_for() -> None:
    table = parse_logins(GOOD)
    named = site_of_target("Relay.Example.NET:587").hosts[0]
    assert table.of(named) == Login("sluice", PASSWORD, Level.VERIFIED)
    other = site_of_target("[2001:db8::1]:25").hosts[0]
    assert table.of(other) == Login("us@example.com", "x", Level.REQUIRED)
    assert table.of(site_of_target("relay.example.net:25").hosts[0]) is None


def test_a_host_that_the_dns_has_named_gets_no_login() -> None:
    assert parse_logins(GOOD).of(Host("relay.example.net", 587)) is None


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('["relay:587"]\nuser = "a"\npassword = "secret', "it is not TOML"),
        (
            '["relay"]\nuser = "a"\npassword = "secret"',
            "relay: expected a table with the name host:port",
        ),
        ('relay = "secret"', "relay: expected a table with the name host:port"),
        ('"relay:587" = "secret"', "relay:587: expected a table with user and password"),
        ('["relay:587"]\nuser = "a"', "relay:587: password: expected 1 to 1000 printable"),
        ('["relay:587"]\nuser = ""\npassword = "secret"', "relay:587: user: expected 1 to 255"),
        ('["relay:587"]\nuser = "a"\npassword = "secret\\n"', "relay:587: password: expected"),
        ('["relay:587"]\nuser = "a"\npassword = 5', "relay:587: password: expected"),
        (
            '["relay:587"]\nuser = "a"\npassword = "secret"\ntsl = "none"',
            "relay:587: found the unknown key 'tsl', expected user, password, tls",
        ),
        (
            '["relay:587"]\nuser = "a"\npassword = "secret"\ntls = "none"',
            "relay:587: tls: found 'none', expected one of opportunistic, required, verified",
        ),
        ("\n".join(f'["h{n}.example:25"]' for n in range(1_001)), "found 1001 logins"),
    ],
)
def test_a_fault_names_the_server_and_the_key_and_no_password(text: str, fault: str) -> None:
    with pytest.raises(LoginFaults) as caught:
        parse_logins(text)
    assert fault in str(caught.value)
    assert "secret" not in str(caught.value)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(LoginFaults) as caught:
        parse_logins('["one:25"]\nuser = "a"\n["two:25"]\nuser = "b"\n')
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == ["one", "two"]


def test_the_password_is_in_no_repr() -> None:
    assert PASSWORD not in repr(parse_logins(GOOD))


ANY = HostTls()
REQUIRED = HostTls(PolicyName.REQUIRED, is_required=True)
VERIFIED = HostTls(PolicyName.VERIFIED, is_required=True, is_verified=True)
DANE = HostTls(PolicyName.DANE, is_required=True, dane=DaneKeys((), ()))
TRIAL = HostTls(PolicyName.MTA_STS_TESTING, is_verified=True, is_trial=True)


@pytest.mark.parametrize(
    ("level", "asked", "used"),
    [
        (None, ANY, ANY),
        (None, REQUIRED, REQUIRED),
        (Level.OPPORTUNISTIC, ANY, ANY),
        (Level.OPPORTUNISTIC, VERIFIED, VERIFIED),
        (Level.REQUIRED, ANY, REQUIRED),
        (Level.REQUIRED, VERIFIED, VERIFIED),
        (Level.REQUIRED, TRIAL, REQUIRED),
        (Level.VERIFIED, ANY, VERIFIED),
        (Level.VERIFIED, REQUIRED, VERIFIED),
        (Level.VERIFIED, VERIFIED, VERIFIED),
        (Level.VERIFIED, TRIAL, VERIFIED),
        (Level.VERIFIED, DANE, DANE),
    ],
)
def test_a_login_asks_for_no_less_tls_than_the_mail(
    level: Level | None, asked: HostTls, used: HostTls
) -> None:
    login = None if level is None else Login("a", "b", level)
    assert tls_for(login, asked) == used
