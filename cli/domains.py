"""The domain that an operator names: every command takes and refuses it in the same way."""

from __future__ import annotations

from shared.mail.domains import normalise
from shared.runtime.errors import UsageError


def require_domain(text: str) -> str:
    """Return a domain, or that of an address, in lower-case A-labels. Raises UsageError."""
    found = normalise(text.rpartition("@")[2])
    if not found:
        raise UsageError(f"{text!r} is not a domain such as example.com")
    return found
