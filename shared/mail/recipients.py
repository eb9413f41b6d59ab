"""The form in which recipients are compared, counted and hashed.

Owns: the comparison form of an address: the normal form (address.py) with the local part in lower
case. A local part is case-sensitive by RFC 5321, 2.4, but no large provider treats it so, block
lists have always ignored case here, and lists of hashes are made from lower-case addresses. Dots
and +tags are kept: only some providers ignore them.
"""

from __future__ import annotations

from shared.mail.address import parse_path
from shared.mail.address_faults import AddressFault


def comparable(address: str) -> str:
    """Return the comparison form of an address; "" if it is not one valid address."""
    parsed = parse_path(address)
    if isinstance(parsed, AddressFault):
        return ""
    return f"{parsed.local.lower()}@{parsed.domain}"
