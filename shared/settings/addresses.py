"""Checks the settings that hold an address: hosts, host:port, Redis URLs, networks.

Each check takes a text and returns advice on how to correct it, or "" if the text is valid. A type
names its check in `Meta(extra={"check": ...})`. Checks run when settings are read (expected.py), so
an invalid address stops a process or `config show` before it opens a connection. Owns: the form of
addresses. Does not own: the check that a host exists. No advice contains the checked text, because
the text may hold a password.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from msgspec import Meta

MAX_PORT: Final = 65_535
DNS_PORT: Final = 53
# redis-py ignores a database that is not a number and uses database 0. Servers have 16 databases by
# default.
MAX_DATABASE: Final = 65_535
_MAX_HOST_CHARS: Final = 253

# Underscores are allowed, because names in container networks and Windows domains may have them.
_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?", re.ASCII)
_PORT: Final = re.compile(r"[0-9]{1,5}", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]+", re.ASCII)
_SECONDS: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?", re.ASCII)
_FLAG: Final = re.compile(r"true|false|yes|no|1|0", re.IGNORECASE)
_ANY: Final = re.compile(r".+", re.DOTALL)

# The options of a Redis URL that change only the connection. A test compares these names with the
# options of redis-py. For an unknown name, redis-py raises TypeError at the first connection.
REDIS_OPTIONS: Final[Mapping[str, re.Pattern[str]]] = {
    "db": _NUMBER,
    "username": _ANY,
    "password": _ANY,
    "client_name": _ANY,
    "socket_timeout": _SECONDS,
    "socket_connect_timeout": _SECONDS,
    "socket_keepalive": _FLAG,
    "health_check_interval": _NUMBER,
    "max_connections": _NUMBER,
    "ssl_ca_certs": _ANY,
    "ssl_ca_path": _ANY,
    "ssl_certfile": _ANY,
    "ssl_keyfile": _ANY,
    "ssl_password": _ANY,
    "ssl_cert_reqs": re.compile(r"none|optional|required"),
    "ssl_check_hostname": _FLAG,
}


def host_fault(host: str) -> str:
    """Check a host name or an IP address; an IPv6 address has no brackets."""
    if not host:
        return "name a host before the port"
    if host != host.strip():
        return "remove the white space around it"
    if ":" in host:
        return _ip_fault(host, 6)
    if not host.isascii():
        return "write the host name in ASCII (its A-label, xn--...)"
    if not _HOST.fullmatch(host) or len(host) > _MAX_HOST_CHARS:
        return "a host name has letters, digits, `-`, `_` and single dots between them"
    # A host whose last label has only digits is, or looks like, an IP address (RFC 1123, 2.1).
    return _ip_fault(host, 4) if host.rstrip(".").rpartition(".")[2].isdecimal() else ""


def _ip_fault(host: str, version: int) -> str:
    try:
        ipaddress.IPv4Address(host) if version == 4 else ipaddress.IPv6Address(host)
    except ValueError as error:
        return f"it is not an IPv{version} address: {error}"
    return ""


def split_address(text: str) -> tuple[str, int]:
    """Split a checked `host:port` or `[v6]:port`."""
    host, _, port = text.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def parse_ip_address(text: str, default_port: int) -> tuple[str, int]:
    """Parse an IP address to connect to, with or without a port. Raises ValueError.

    An IPv6 address is in brackets if a port follows the address.
    """
    host, _, port = text.rpartition(":")
    if not host or (":" in host and not host.endswith("]")):
        host, port = text, str(default_port)
    if not _PORT.fullmatch(port) or not 1 <= int(port) <= MAX_PORT:
        raise ValueError(f"the port is a number from 1 to {MAX_PORT}")
    host = host.strip("[]")
    ipaddress.ip_address(host)
    return host, int(port)


def _address_fault(text: str, lowest_port: int) -> str:
    if text != text.strip():
        return "remove the white space around it"
    host, colon, port = text.rpartition(":")
    if not colon or port.endswith("]"):
        return "add the port, as in mail.example:25" if text else "write a host and a port"
    is_bracketed = host.startswith("[") and host.endswith("]")
    if ":" in host and not is_bracketed:
        return "put an IPv6 address into brackets, as in [2001:db8::1]:25"
    if not _PORT.fullmatch(port) or not lowest_port <= int(port) <= MAX_PORT:
        return f"the port is a number from {lowest_port} to {MAX_PORT}"
    return _ip_fault(host[1:-1], 6) if is_bracketed else host_fault(host)


def target_fault(text: str) -> str:
    """Check an address to connect to."""
    return _address_fault(text, 1)


def listening_fault(text: str) -> str:
    """Check an address to listen on; port 0 is allowed and means a free port."""
    return _address_fault(text, 0)


def brokers_fault(text: str) -> str:
    """Check a list of addresses to connect to, separated by commas."""
    found = enumerate(map(target_fault, text.split(",")), start=1)
    return next((f"address {number}: {fault}" for number, fault in found if fault), "")


def network_fault(text: str) -> str:
    """Check an IP address or network."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        return f"such as 10.1.2.0/24: {error}"
    return ""


def own_name_fault(name: str) -> str:
    """Check the name that this host uses in SMTP; "" stands for the host's full name."""
    if not name:
        return ""
    if name.rpartition(".")[2].isdecimal():
        return "write a host name; its last part is not a number"
    return host_fault(name)


def redis_url_fault(url: str) -> str:
    """Check a Redis URL for parts that redis-py would ignore or would refuse only later."""
    if any(letter.isspace() or not letter.isprintable() for letter in url):
        return "remove white space and control characters"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return (
            f"the port is a number from 1 to {MAX_PORT}, an IPv6 address is in brackets, and the"
            " characters `/?#[]@:` of a password are percent-encoded"
        )
    if not url.startswith(("redis://", "rediss://", "unix://")):
        return "the scheme is redis, rediss (TLS) or unix"
    if parts.fragment or "#" in url:
        return "write a `#` in a password as %23"
    fault = _options_fault(parts)
    if fault or parts.scheme == "unix":
        return fault or _socket_fault(parts)
    if port == 0 or parts.netloc.endswith(":"):
        return f"the port is a number from 1 to {MAX_PORT}; without one it is 6379"
    host = unquote(parts.hostname or "")
    fault = host_fault(host) if host else "name the host, as in redis://127.0.0.1:6379/0"
    return fault or _database_fault(parts.path.removeprefix("/"))


def _socket_fault(parts: SplitResult) -> str:
    if parts.hostname or len(parts.path) < 2 or parts.path.endswith("/"):
        return "name the socket by its whole path, as in unix:///run/redis.sock?db=0"
    return ""


def _database_fault(text: str) -> str:
    if text and not (_NUMBER.fullmatch(text) and int(text) <= MAX_DATABASE):
        return f"the database is a number from 0 to {MAX_DATABASE}, as in redis://127.0.0.1:6379/0"
    return ""


def _options_fault(parts: SplitResult) -> str:
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in REDIS_OPTIONS:
            return f"the options after `?` are {', '.join(REDIS_OPTIONS)}"
        if not REDIS_OPTIONS[name].fullmatch(value):
            return f"the value of the option {name} is not valid"
        if name == "db" and (fault := _database_fault(value)):
            return fault
    return ""


def domain_fault(text: str) -> str:
    """Check a mail domain, which may have U-labels."""
    if not text:
        return "write a domain"
    if text.isascii():
        return own_name_fault(text)
    return "" if text.isprintable() and " " not in text else "remove the white space"


def routed_fault(text: str) -> str:
    """Check the key of a route: a mail domain or `*`."""
    fault = "" if text == "*" else domain_fault(text)
    return f"{fault}; all other domains are `*`" if fault else ""


def plain_fault(text: str) -> str:
    """Check the form of a path or a name. The file need not exist."""
    if text != text.strip() or not text.isprintable():
        return "remove control characters, and white space around it"
    return ""


def _checked(expected: str, check: Callable[[str], str]) -> Meta:
    return Meta(extra={"expected": expected, "check": check})


# A path is not secret, even if the file contains a secret. Commands need the unmasked path, which
# they get from a service.
PATH: Final = {"expected": "the path of a file", "check": plain_fault, "secret": False}
FOLDER: Final = {"expected": "the path of a folder", "check": plain_fault, "secret": False}
Target = Annotated[str, _checked("host:port", target_fault)]
ListenAddress = Annotated[str, _checked("host:port", listening_fault)]
Network = Annotated[str, _checked("an IP address or network", network_fault)]
Domain = Annotated[str, _checked("a domain", domain_fault)]
RoutedDomain = Annotated[str, _checked("a domain or *", routed_fault)]
