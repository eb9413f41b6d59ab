"""The comparison form of addresses. Recipients are compared, counted and hashed in this form."""

from __future__ import annotations

import re
from typing import Final

from shared.mail.address import MAX_ADDRESS_OCTETS, MAX_LOCAL_OCTETS, parse_path
from shared.mail.address_faults import AddressFault
from shared.mail.domains import normalise

# The most frequent local parts in the comparison form.
_LOWER_LOCAL: Final = re.compile(r"[a-z0-9]++(?:[._+-][a-z0-9]++)*+")


def comparable(address: str) -> str:
    """Return the comparison form of an address. Return "" if the address is not valid.

    The comparison form is the normal form with the local part in lower case. No large provider
    distinguishes upper and lower case in the local part, and block lists and lists of hashes ignore
    the difference. Dots and +tags are not removed.
    """
    # Most addresses already have the comparison form, and parsing takes four times as long as these
    # checks.
    local, _, domain = address.rpartition("@")
    if (
        len(local) <= MAX_LOCAL_OCTETS
        and len(address) <= MAX_ADDRESS_OCTETS
        and _LOWER_LOCAL.fullmatch(local)
        and normalise(domain) == domain != ""
    ):
        return address
    parsed = parse_path(address)
    if isinstance(parsed, AddressFault):
        return ""
    return f"{parsed.local.lower()}@{parsed.domain}"
