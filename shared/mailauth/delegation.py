"""Judges the delegation of a client's sending domain: MX, SPF, DKIM and DMARC. This module does no
I/O.

This module decides which records are correct and which are faulty, and finds the record that fixes
a fault. The caller passes a function for DNS look-ups. SPF is evaluated in spf/, and DKIM keys are
parsed in dkim_record.py. If the DNS is unavailable, the result is AWAY, and no record is reported
as missing. The RFCs are 5321, 7505, 7208, 6376, 8463 and 7489.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from msgspec import Struct

from shared.mail.domains import organisational_domain
from shared.mailauth import dkim_record
from shared.mailauth.spf.evaluation import (
    MAX_LOOKUPS,
    Away,
    Evaluation,
    LookUp,
    Result,
    Rows,
    check_host,
    ending,
)
from shared.mailauth.spf.record import VERSION, spf_records

TTL_S: Final = 3_600
_STRING_OCTETS: Final = 255  # The longest string in a TXT record (RFC 1035, 3.3).
_DMARC: Final = "v=DMARC1"
_DMARC_POLICIES: Final = ("none", "quarantine", "reject")
# No term of a policy matches this address, so all terms of the policy are evaluated and counted.
_NOBODY: Final = "192.0.2.255"


class Judgement(StrEnum):
    """The result of a check."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"
    AWAY = "away"


class Finding(Struct, frozen=True):
    """The result of one check: the value that was found, the value that is expected, and the DNS
    records to publish."""

    check: str
    judgement: Judgement
    found: str
    expected: str
    publish: str = ""


class Expected(Struct, frozen=True):
    """The values that the installation expects for a sending domain.

    Host names are in lower case and have no trailing dot. `public_key` is the value of p= for the
    installation's DKIM key, or "" if the key is not known.
    """

    mail_hosts: tuple[str, ...]
    sources: tuple[str, ...] = ()
    selectors: tuple[str, ...] = ()
    key_type: str = "rsa"
    public_key: str = ""


def judge_delegation(ask: LookUp, domain: str, expected: Expected) -> list[Finding]:
    """Check one sending domain. Return all findings in the order of the report."""
    return [
        judge_mx(ask(domain, "MX"), domain, expected.mail_hosts),
        *judge_spf(ask, domain, expected),
        *(judge_dkim(ask, domain, selector, expected) for selector in expected.selectors),
        judge_dmarc(ask, domain),
    ]


def judge_mx(answer: Rows | Away, domain: str, mail_hosts: tuple[str, ...]) -> Finding:
    """Check that the MX records send mail to the installation (RFC 5321, 5.1; RFC 7505)."""
    wanted = "MX " + " or ".join(mail_hosts)
    publish = "\n".join(record(domain, "MX", f"10 {host}.") for host in mail_hosts)
    if isinstance(answer, Away):
        return Finding("mx", Judgement.AWAY, answer.reason, wanted)
    if not answer.rows:
        return Finding("mx", Judgement.FAULT, _missing("MX", answer), wanted, publish)
    found = "MX " + ", ".join(answer.rows)
    hosts = {row.split()[-1].lower() for row in answer.rows}
    if hosts == {"."}:
        found += " (null MX: the domain accepts no mail)"
        return Finding("mx", Judgement.FAULT, found, wanted, publish)
    foreign = sorted(hosts - set(mail_hosts))
    if len(foreign) == len(hosts):
        return Finding("mx", Judgement.FAULT, found, wanted, publish)
    if foreign:
        found += f"; returned mail may go to {', '.join(foreign)}"
        return Finding("mx", Judgement.WARNING, found, f"{wanted}, and no other", publish)
    return Finding("mx", Judgement.OK, found, wanted)


def judge_spf(ask: LookUp, domain: str, expected: Expected) -> list[Finding]:
    """Check that there is exactly one policy, that it ends in -all or ~all, and that it allows the
    installation's addresses (RFC 7208)."""
    answer = ask(domain, "TXT")
    wanted = f"one TXT that begins with {VERSION} and ends in -all or ~all"
    if isinstance(answer, Away):
        return [Finding("spf", Judgement.AWAY, answer.reason, wanted)]
    records = spf_records(answer.rows)
    publish = record(domain, "TXT", _quoted(_new_policy(expected)))
    if not records:
        found = "no SPF record" if answer.exists else _missing("SPF", answer)
        return [Finding("spf", Judgement.FAULT, found, wanted, publish)]
    if len(records) > 1:
        found = f"{len(records)} SPF records, which are treated as none: {'; '.join(records)}"
        return [Finding("spf", Judgement.FAULT, found, wanted, publish + "  (and no other)")]
    walked = check_host(ask, domain, _NOBODY)
    if walked.result in (Result.PERMERROR, Result.TEMPERROR):
        return [_spf_error(records[0], walked, publish)]
    whole = _spf_ending(records[0], ending(ask, domain), walked, domain)
    covered = [_spf_source(ask, domain, source, records[0]) for source in expected.sources]
    return [whole, *covered]


def _spf_error(text: str, evaluation: Evaluation, publish: str) -> Finding:
    if evaluation.result is Result.TEMPERROR:
        return Finding("spf", Judgement.AWAY, evaluation.reason, "a policy that can be evaluated")
    found = f"{text} (permerror: {evaluation.reason})"
    wanted = f"a policy that can be evaluated, with at most {MAX_LOOKUPS} look-ups"
    return Finding("spf", Judgement.FAULT, found, wanted, publish)


def _spf_ending(text: str, qualifier: str, walked: Evaluation, domain: str) -> Finding:
    found = f"{text} ({walked.lookups} of {MAX_LOOKUPS} look-ups)"
    wanted = "a policy that ends in -all or ~all"
    if qualifier in {"-", "~"}:
        return Finding("spf", Judgement.OK, found, wanted)
    fixed = record(domain, "TXT", _quoted(_ended(text, "-all")))
    judgement = Judgement.FAULT if qualifier == "+" else Judgement.WARNING
    why = "; +all allows any server to send" if qualifier == "+" else ""
    return Finding("spf", judgement, found + why, wanted, fixed)


def _spf_source(ask: LookUp, domain: str, source: str, text: str) -> Finding:
    evaluation = check_host(ask, domain, source)
    name, wanted = f"spf {source}", f"pass for mail from {source}"
    if evaluation.result is Result.TEMPERROR:
        return Finding(name, Judgement.AWAY, evaluation.reason, wanted)
    found = evaluation.result.value + (f": {evaluation.reason}" if evaluation.reason else "")
    if evaluation.result is Result.PASS:
        return Finding(name, Judgement.OK, found, wanted)
    mechanism = _ip_mechanism(source)
    version, _, rest = text.partition(" ")
    fixed = f"{version} {mechanism} {rest}".rstrip()
    return Finding(name, Judgement.FAULT, found, wanted, record(domain, "TXT", _quoted(fixed)))


def judge_dkim(ask: LookUp, domain: str, selector: str, expected: Expected) -> Finding:
    """Check that the selector publishes the installation's public key (RFC 6376, 3.6)."""
    host, name = f"{selector}._domainkey.{domain}", f"dkim {selector}"
    key = expected.public_key or "<public key of the installation>"
    text = f"v=DKIM1; k={expected.key_type}; p={key}"
    publish = record(host, "TXT", _quoted(text))
    wanted = f"one TXT at {host} with the key of the installation"
    answer = ask(host, "TXT")
    if isinstance(answer, Away):
        return Finding(name, Judgement.AWAY, answer.reason, wanted)
    if len(answer.rows) != 1:
        found = f"{len(answer.rows)} TXT records" if answer.rows else _missing("TXT", answer)
        return Finding(name, Judgement.FAULT, found, wanted, publish)
    try:
        read = dkim_record.parse_record(answer.rows[0])
    except dkim_record.KeyRecordError as error:
        return Finding(name, Judgement.FAULT, str(error), wanted, publish)
    if expected.public_key and read.public_key != expected.public_key:
        found = f"{read.shown}, which is not the key that signs the mail"
        return Finding(name, Judgement.FAULT, found, wanted, publish)
    if read.warnings:
        found = f"{read.shown}; {'; '.join(read.warnings)}"
        return Finding(name, Judgement.WARNING, found, wanted, publish)
    return Finding(name, Judgement.OK, read.shown, wanted)


def judge_dmarc(ask: LookUp, domain: str) -> Finding:
    """Check that the domain or its organisational domain has a policy (RFC 7489, 6.6.3)."""
    wanted = "one TXT v=DMARC1 with p=none, quarantine or reject"
    organisation = organisational_domain(domain)
    publish = record(f"_dmarc.{domain}", "TXT", _quoted(f"{_DMARC}; p=none"))
    for owner in dict.fromkeys((domain, organisation)):
        answer = ask(f"_dmarc.{owner}", "TXT")
        if isinstance(answer, Away):
            return Finding("dmarc", Judgement.AWAY, answer.reason, wanted)
        records = [row for row in answer.rows if row.replace(" ", "").split(";")[0] == _DMARC]
        if len(records) > 1:
            found = f"{len(records)} DMARC records at _dmarc.{owner}, which are treated as none"
            fixed = record(f"_dmarc.{owner}", "TXT", _quoted(records[0]))
            return Finding("dmarc", Judgement.FAULT, found, wanted, fixed + "  (and no other)")
        if records:
            return _dmarc_policy(records[0], owner, domain, wanted)
    found = f"no DMARC record at {' nor at '.join(dict.fromkeys((domain, organisation)))}"
    return Finding("dmarc", Judgement.FAULT, found, wanted, publish)


def _dmarc_policy(text: str, owner: str, domain: str, wanted: str) -> Finding:
    tags = dkim_record.parse_tags(text) or {}
    publish = record(f"_dmarc.{owner}", "TXT", _quoted(f"{_DMARC}; p=none"))
    found = f"{text} (at _dmarc.{owner})"
    known = {key: tags[key].lower() for key in ("p", "sp", "adkim", "aspf") if key in tags}
    policies = (known.get("p", ""), known.get("sp", "none"))
    if any(policy not in _DMARC_POLICIES for policy in policies):
        return Finding("dmarc", Judgement.FAULT, found, wanted, publish)
    if any(known.get(key, "r") not in {"r", "s"} for key in ("adkim", "aspf")):
        wanted = "adkim and aspf r or s"
        return Finding("dmarc", Judgement.WARNING, found, wanted, publish)
    # R4, R10 and R11 ensure that From, the return path and d= contain exactly the sending domain,
    # so even strict alignment is satisfied.
    return Finding("dmarc", Judgement.OK, f"{found}; From, return path and d= are {domain}", wanted)


def record(owner: str, kind: str, data: str) -> str:
    """Return a record in the format of a zone file."""
    return f"{owner}. {TTL_S} IN {kind} {data}"


def _quoted(text: str) -> str:
    safe = text.replace("\\", "\\\\").replace('"', '\\"')
    pieces = [safe[i : i + _STRING_OCTETS] for i in range(0, len(safe), _STRING_OCTETS)]
    return " ".join(f'"{piece}"' for piece in pieces)


def _new_policy(expected: Expected) -> str:
    senders = [_ip_mechanism(source) for source in expected.sources]
    senders = senders or [f"a:{host}" for host in expected.mail_hosts]
    return " ".join([VERSION, *senders, "-all"])


def _ip_mechanism(source: str) -> str:
    return f"ip6:{source}" if ":" in source else f"ip4:{source}"


def _ended(text: str, end: str) -> str:
    kept = [term for term in text.split() if term.lower().lstrip("+-~?") != "all"]
    return " ".join([*kept, end])


def _missing(kind: str, answer: Rows) -> str:
    return f"no {kind} record" if answer.exists else "the name does not exist"
