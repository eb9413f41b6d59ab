"""The checks of addresses: what is accepted, and the advice for what is not."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest
from redis.connection import Connection, SSLConnection, parse_url

from shared.settings.addresses import (
    REDIS_OPTIONS,
    brokers_fault,
    domain_fault,
    host_fault,
    listening_fault,
    network_fault,
    own_name_fault,
    parse_ip_address,
    plain_fault,
    redis_url_fault,
    routed_fault,
    split_address,
    target_fault,
)

Check = Callable[[str], str]

RIGHT: list[tuple[Check, str]] = [
    (target_fault, "mail.example:25"),
    (target_fault, "my_relay:65535"),
    (target_fault, "[2001:db8::1]:1"),
    (target_fault, "127.0.0.1:2525"),
    (listening_fault, "0.0.0.0:0"),
    (listening_fault, "[::]:587"),
    (brokers_fault, "a:9092,[::1]:9093"),
    (host_fault, "::1"),
    (host_fault, "0.0.0.0"),
    (host_fault, "mail.example."),
    (own_name_fault, ""),
    (own_name_fault, "mail-1.example"),
    (domain_fault, "münchen.example"),
    (routed_fault, "*"),
    (routed_fault, "Example.COM"),
    (network_fault, "10.1.2.3/8"),
    (network_fault, "2001:db8::/32"),
    (plain_fault, "/etc/ssl/my key.pem"),
    (plain_fault, ""),
    (redis_url_fault, "redis://127.0.0.1:6379/0"),
    (redis_url_fault, "redis://redis"),
    (redis_url_fault, "redis://redis/"),
    (redis_url_fault, "rediss://user:p%40ss@[::1]:1/15?ssl_ca_certs=/ca.pem"),
    (redis_url_fault, "redis://:pw@h/0?socket_timeout=1.5&socket_keepalive=True"),
    (redis_url_fault, "unix:///run/redis.sock?db=3"),
    (redis_url_fault, "unix://user:pw@/run/redis.sock"),
]

WRONG: list[tuple[Check, str, str]] = [
    (target_fault, "a:99999", "from 1 to 65535"),
    (target_fault, "a:0", "from 1 to 65535"),
    (target_fault, "a:-1", "from 1 to 65535"),
    (target_fault, "a:٣", "from 1 to 65535"),
    (target_fault, "a:", "from 1 to 65535"),
    (target_fault, "a: 5", "from 1 to 65535"),
    (target_fault, "a:000025", "from 1 to 65535"),
    (target_fault, "a", "add the port"),
    (target_fault, "[::1]", "add the port"),
    (target_fault, "", "a host and a port"),
    (target_fault, ":25", "name a host"),
    (target_fault, "a:25 ", "white space"),
    (target_fault, "a:25\n", "white space"),
    (target_fault, "::1:25", "brackets"),
    (target_fault, "a:b:25", "brackets"),
    (target_fault, "[1.2]:25", "not an IPv6 address"),
    (target_fault, "[]:25", "not an IPv6 address"),
    (target_fault, "1.2.3:25", "not an IPv4 address"),
    (target_fault, "1.2.3.256:25", "not an IPv4 address"),
    (target_fault, "a b:25", "letters, digits"),
    (target_fault, "a..b:25", "letters, digits"),
    (target_fault, "-:25", "letters, digits"),
    (target_fault, "http://a:25", "brackets"),
    (target_fault, "ａ:25", "ASCII"),
    (target_fault, "a\0:25", "letters, digits"),
    (target_fault, "a" * 64 + ":25", "letters, digits"),
    (listening_fault, "a:65536", "from 0 to 65535"),
    (brokers_fault, "a:1,b:99999", "address 2: the port"),
    (brokers_fault, "a:1,", "address 2: write"),
    (brokers_fault, "a:1, b:2", "address 2: remove"),
    (host_fault, "", "name a host"),
    (host_fault, " a", "white space"),
    (host_fault, "a:80", "not an IPv6 address"),
    (host_fault, "[::1]", "not an IPv6 address"),
    (host_fault, "5", "not an IPv4 address"),
    (own_name_fault, "..", "letters, digits"),
    (own_name_fault, "-", "letters, digits"),
    (own_name_fault, "10.0.0.1", "not a number"),
    (domain_fault, "", "write a domain"),
    (domain_fault, "a b", "letters, digits"),
    (domain_fault, "@a.example", "letters, digits"),
    (domain_fault, "mün chen.example", "white space"),
    (routed_fault, "", "all other domains are `*`"),
    (routed_fault, "*.example", "all other domains are `*`"),
    (network_fault, "10.0.0.0/99", "such as 10.1.2.0/24"),
    (network_fault, "", "such as 10.1.2.0/24"),
    (plain_fault, "/a\0b", "control characters"),
    (plain_fault, "/a ", "white space"),
    (redis_url_fault, "redis://h/notanumber", "the database is a number"),
    (redis_url_fault, "redis://h/-1", "the database is a number"),
    (redis_url_fault, "redis://h/1/0", "the database is a number"),
    (redis_url_fault, "redis://h/٣", "the database is a number"),
    (redis_url_fault, "redis://h/99999999999", "the database is a number"),
    (redis_url_fault, "redis://h:99999/0", "the port is a number"),
    (redis_url_fault, "redis://h:0/0", "the port is a number"),
    (redis_url_fault, "redis://h:/0", "the port is a number"),
    (redis_url_fault, "redis://h:x/0", "the port is a number"),
    (redis_url_fault, "redis://h:-1/0", "the port is a number"),
    (redis_url_fault, "redis://user:p/w@h:1/0", "percent-encoded"),
    (redis_url_fault, "redis://[::1/0", "in brackets"),
    (redis_url_fault, "redis://:p#w@h/0", "percent-encoded"),
    (redis_url_fault, "redis://h/0#x", "%23"),
    (redis_url_fault, "redis:///0", "name the host"),
    (redis_url_fault, "redis://", "name the host"),
    (redis_url_fault, "redis://user:pw@/0", "name the host"),
    (redis_url_fault, "redis://a..b/0", "letters, digits"),
    (redis_url_fault, " redis://h", "white space"),
    (redis_url_fault, "redis://h/0 ", "white space"),
    (redis_url_fault, "http://h:6379", "the scheme is"),
    (redis_url_fault, "REDIS://h", "the scheme is"),
    (redis_url_fault, "redis:h", "the scheme is"),
    (redis_url_fault, "h:6379", "the scheme is"),
    (redis_url_fault, "", "the scheme is"),
    (redis_url_fault, "redis://h?nonsense=1", "the options after"),
    (redis_url_fault, "redis://h?db=x", "option db"),
    (redis_url_fault, "redis://h?socket_timeout=soon", "option socket_timeout"),
    (redis_url_fault, "redis://h?socket_timeout=nan", "option socket_timeout"),
    (redis_url_fault, "rediss://h?ssl_cert_reqs=maybe", "option ssl_cert_reqs"),
    (redis_url_fault, "unix:///", "whole path"),
    (redis_url_fault, "unix://run/redis.sock", "whole path"),
    (redis_url_fault, "unix:///run/redis.sock?db=-1", "option db"),
]


@pytest.mark.parametrize(("check", "text"), RIGHT)
def test_a_right_address_has_no_fault(check: Check, text: str) -> None:
    assert check(text) == ""


@pytest.mark.parametrize(("check", "text", "advice"), WRONG)
def test_a_wrong_address_has_advice(check: Check, text: str, advice: str) -> None:
    assert advice in check(text)


@pytest.mark.parametrize(("check", "text", "_"), [each for each in WRONG if "pw@" in each[1]])
def test_advice_never_repeats_a_password(check: Check, text: str, _: str) -> None:
    assert "pw" not in check(text)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("a:25", "a", 25), ("[::1]:026", "::1", 26), ("1.2.3.4:0", "1.2.3.4", 0)],
)
def test_a_checked_address_is_split(text: str, host: str, port: int) -> None:
    assert split_address(text) == (host, port)


def test_every_option_of_a_redis_url_is_known_to_redis_py() -> None:
    known = {"max_connections"}  # of the pool
    for kind in (*SSLConnection.__mro__, *Connection.__mro__):
        known |= inspect.signature(kind).parameters.keys()
    assert REDIS_OPTIONS.keys() <= known


@pytest.mark.parametrize("url", [text for check, text in RIGHT if check is redis_url_fault])
def test_redis_py_reads_each_url_that_is_accepted(url: str) -> None:
    assert parse_url(url)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("192.0.2.1", "192.0.2.1", 53),
        ("192.0.2.1:5353", "192.0.2.1", 5353),
        ("2001:db8::1", "2001:db8::1", 53),
        ("[2001:db8::1]:5353", "2001:db8::1", 5353),
    ],
)
def test_a_nameserver_may_have_a_port(text: str, address: str, port: int) -> None:
    assert parse_ip_address(text, 53) == (address, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":53",
        "mail.example",
        "192.0.2.1:",
        "192.0.2.1:0",
        "192.0.2.1:65536",
        "192.0.2.1:x",
        "2001:db8::g",
        "[2001:db8::1]:",
        "192.0.2.1:\u0663",
    ],
)
def test_any_other_text_is_no_nameserver(text: str) -> None:
    with pytest.raises(ValueError, match=r"port|address"):
        parse_ip_address(text, 53)
