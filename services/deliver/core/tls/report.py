"""What an attempt counts as in a TLS report: RFC 8460, 4.3. Pure.

Counted are attempts, not sessions: one connection carries the mail of many domains. Owns: the
policy types and result types. Does not own: the counters (shared/store/tls_counts.py).
"""

from __future__ import annotations

from typing import Final

from services.deliver.core.attempt.outcome import Outcome
from services.deliver.core.tls.policy import PolicyName

SUCCESS: Final = "success"
STS: Final = "sts"
RESULT_TYPES: Final = frozenset(
    {
        "starttls-not-supported",
        "certificate-host-mismatch",
        "certificate-not-trusted",
        "certificate-expired",
        "validation-failure",
        "tlsa-invalid",
        "dnssec-invalid",
        "dane-required",
        "sts-policy-fetch-error",
        "sts-policy-invalid",
        "sts-webpki-invalid",
    }
)
_TYPES: Final[dict[str, str]] = {
    PolicyName.DANE: "tlsa",
    PolicyName.MTA_STS: STS,
    PolicyName.MTA_STS_TESTING: STS,
}
_NO_POLICY: Final = "no-policy-found"


def counted_as(outcome: Outcome) -> tuple[str, str] | None:
    """The policy type and the result of an attempt; None if it had no connection to judge.

    Without a policy, a connection in clear text is a failure too: reports are for whoever wants to
    know how mail would fare under one.
    """
    if not outcome.tls_policy:
        return None
    kind = _TYPES.get(outcome.tls_policy, _NO_POLICY)
    if outcome.tls_fault:
        return kind, result_type(outcome.tls_fault)
    return kind, SUCCESS if outcome.tls else "starttls-not-supported"


def result_type(fault: str) -> str:
    """The result type that a fault begins with; `validation-failure` for any other."""
    found = fault.partition(":")[0]
    return found if found in RESULT_TYPES else "validation-failure"
