"""Decides how a connection to a mail server uses TLS. Pure.

There are four kinds of policy: the level that the operator sets for a domain or a client, DANE (RFC
7672), MTA-STS (RFC 8461), and opportunistic TLS (RFC 7435). The strictest policy that applies wins.
DANE records are published per server and take precedence over MTA-STS: a server that fails DANE is
not used, even if it satisfies MTA-STS (RFC 8461, 2). Owns: the precedence of the policies. Does not
own: look-ups (edge/tls), handshakes (edge/smtp).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from msgspec import Struct


class Level(StrEnum):
    """The TLS level that an operator sets, from the weakest to the strictest."""

    # TLS is used if the server offers it; policies that the domain publishes are ignored.
    OPPORTUNISTIC = "opportunistic"
    # The connection must be encrypted; any certificate is accepted.
    REQUIRED = "required"
    # The connection must be encrypted. The certificate must be of a known CA and for the server's
    # name.
    VERIFIED = "verified"


class PolicyName(StrEnum):
    """The name, as used in events, of the policy under which a connection was opened."""

    OPPORTUNISTIC = "opportunistic"
    REQUIRED = "required"
    VERIFIED = "verified"
    MTA_STS = "mta-sts"
    MTA_STS_TESTING = "mta-sts-testing"
    DANE = "dane"


class StsMode(StrEnum):
    """The mode of an MTA-STS policy: RFC 8461, 5."""

    ENFORCE = "enforce"
    TESTING = "testing"
    NONE = "none"


class StsPolicy(Struct, frozen=True):
    """The MTA-STS policy that a domain publishes for servers that send mail to it."""

    mode: StsMode
    max_age_s: int
    mx: tuple[str, ...] = ()


class Tlsa(Struct, frozen=True):
    """A usable TLSA record: usage 2 (a CA) or 3 (the server's own key), selector, matching."""

    usage: int
    selector: int
    matching: int
    data: bytes


class DaneKeys(Struct, frozen=True):
    """The usable TLSA records of a server, and the names that its certificate may have.

    If `records` is empty, the server has only unusable records. Then encryption is required, but
    the certificate is not checked (RFC 7672, 2.1.1).
    """

    records: tuple[Tlsa, ...]
    names: tuple[str, ...]


class NoDane(Struct, frozen=True):
    """The server publishes no TLSA records, or the zone is not signed."""


class DaneFault(Struct, frozen=True):
    """The server's records are not known, so the server must not be used (RFC 7672, 2.1.2)."""

    reason: str


Dane = DaneKeys | NoDane | DaneFault


class DomainTls(Struct, frozen=True):
    """The TLS that the mail of a domain requires of every connection.

    Domains with equal values share connections.
    """

    level: Level = Level.OPPORTUNISTIC
    sts: StsPolicy | None = None
    # The TLSA records of the servers are used only if the MX records are signed.
    is_signed: bool = False

    @property
    def key(self) -> str:
        """Return a name for these requirements; "" if there are no requirements."""
        if self == ANY_TLS:
            return ""
        sts = f"{self.sts.mode}:{','.join(self.sts.mx)}" if self.sts is not None else ""
        return "/".join(filter(None, (self.level, sts, "dane" if self.is_signed else "")))


ANY_TLS: Final = DomainTls()


class HostTls(Struct, frozen=True):
    """The way in which connections to one server use TLS.

    If `is_required`, a server whose TLS does not satisfy the policy is not used. If `is_verified`,
    the certificate must be of a known CA and for the server's name. If `dane` is set, the
    certificate must match one of its records. If `is_trial`, a failure is only reported, and the
    mail is sent as with opportunistic TLS. `fault` is the reason why the server must not be used;
    in a trial it is only reported.
    """

    policy: PolicyName = PolicyName.OPPORTUNISTIC
    is_required: bool = False
    is_verified: bool = False
    is_trial: bool = False
    dane: DaneKeys | None = None
    fault: str = ""


OPPORTUNISTIC_TLS: Final = HostTls()


def strictest(*levels: Level | None) -> Level | None:
    """Return the strictest of the levels; None if there are no levels."""
    order = list(Level)
    return max((level for level in levels if level is not None), key=order.index, default=None)


def domain_tls(level: Level | None, sts: StsPolicy | None, *, is_signed: bool = False) -> DomainTls:
    """Return the TLS that the mail of a domain requires of every connection.

    `level` is the level that the operator sets. If it is `opportunistic`, the policy that the
    domain publishes is ignored.
    """
    if level is Level.OPPORTUNISTIC:
        return ANY_TLS
    asked = level or Level.OPPORTUNISTIC
    if sts is None or sts.mode is StsMode.NONE:
        return DomainTls(asked, is_signed=is_signed)
    # The maximum age is left out, because it has no effect on the required TLS.
    return DomainTls(asked, StsPolicy(sts.mode, 0, sts.mx), is_signed)


def host_tls(wanted: DomainTls, host: str, dane: Dane) -> HostTls:
    """Return how a connection to this server uses TLS."""
    match dane:
        case DaneFault(reason):
            return HostTls(PolicyName.DANE, is_required=True, fault=f"dane-required: {reason}")
        case DaneKeys():
            return HostTls(PolicyName.DANE, is_required=True, dane=dane)
    if wanted.level is Level.VERIFIED:
        return HostTls(PolicyName.VERIFIED, is_required=True, is_verified=True)
    if wanted.sts is not None and wanted.sts.mode is StsMode.ENFORCE:
        return HostTls(PolicyName.MTA_STS, True, True, fault=_sts_fault(wanted.sts, host))
    if wanted.level is Level.REQUIRED:
        return HostTls(PolicyName.REQUIRED, is_required=True)
    if wanted.sts is not None:
        fault = _sts_fault(wanted.sts, host)
        return HostTls(PolicyName.MTA_STS_TESTING, False, True, True, fault=fault)
    return OPPORTUNISTIC_TLS


def _sts_fault(sts: StsPolicy, host: str) -> str:
    if any(matches(pattern, host) for pattern in sts.mx):
        return ""
    return f"validation-failure: {host} is none of the servers that the MTA-STS policy lists"


def matches(pattern: str, host: str) -> bool:
    """Return whether a host name matches an mx pattern (RFC 8461, 4.1).

    In a pattern, `*.` stands for exactly one label. Both names are in lower case, without a dot at
    the end.
    """
    if pattern.startswith("*."):
        return host.partition(".")[2] == pattern[2:] and not host.startswith(".")
    return host == pattern
