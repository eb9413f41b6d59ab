"""Whether a report hides its recipient, as many feedback loops do (RFC 6590). Pure.

RFC 6590 replaces the local part by an opaque one and keeps the domain; others write a placeholder,
such as `redacted@redacted.invalid`. An address of another domain that is no placeholder is that of
somebody else: of the mailbox to which the message was forwarded, for example.

Owns: what is a placeholder. Does not own: whom the report is about (validate).
"""

from __future__ import annotations

import re
from typing import Final

_PLACEHOLDER: Final = re.compile(
    r"[\W\d_]{0,20}(?:redact(?:ed)?|removed|hidden|masked|private|withheld|obfuscated|undisclosed"
    r"|anonym(?:ous|i[sz]ed)|suppressed|x{3,20})(?![a-z0-9])[^@]{0,60}",
    re.IGNORECASE,
)
# RFC 2606: no address is there.
_NO_DOMAINS: Final = (".invalid", "@invalid", "@redacted", "localhost")


def is_hidden(named: str, recipient: str) -> bool:
    """Whether the address in a report may stand for this recipient."""
    local, _, domain = named.lower().rpartition("@")
    if not local.strip("*.[]<>-_ ") or f"@{domain}".endswith(_NO_DOMAINS):
        return True
    same_domain = domain == recipient.lower().rpartition("@")[2]
    return same_domain or _PLACEHOLDER.fullmatch(local) is not None
