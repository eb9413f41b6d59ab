"""Compares a server's certificates with its TLSA records: RFC 6698 and RFC 7672. Pure.

Usage 3 pins the server's own key or certificate; the names and dates of the certificate are not
checked (RFC 7672, 3.1.1). Usage 2 pins a CA. The server sends the certificate of this CA, too, and
the server's own certificate must be for one of the expected names (3.1.2). Usages 0 and 1 are
unusable for mail (3.1.3). Guarantees: no input causes an exception; an unreadable record or
certificate matches nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from hashlib import sha256, sha512
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from services.deliver.core.tls.policy import DaneKeys, Tlsa

CA_USAGE: Final = 2
OWN_USAGE: Final = 3
_FULL, _SHA256, _SHA512 = 0, 1, 2
_SIZES: Final = {_SHA256: 32, _SHA512: 64}
# A pinned CA need not follow the extension rules of public CAs. Only names and signatures are
# checked.
_CA_EXTENSIONS: Final = ExtensionPolicy.permit_all().require_present(
    x509.BasicConstraints, Criticality.AGNOSTIC, None
)
_OWN_EXTENSIONS: Final = ExtensionPolicy.permit_all().require_present(
    x509.SubjectAlternativeName, Criticality.AGNOSTIC, None
)
# The most certificates checked per chain, and the most records per server.
_MAX_CHAIN: Final = 10
_MAX_RECORDS: Final = 50


def usable(rows: Iterable[tuple[int, int, int, bytes]]) -> tuple[Tlsa, ...]:
    """Return the usable records among TLSA rows (usage, selector, matching type, data)."""
    found = [
        Tlsa(usage, selector, matching, data)
        for usage, selector, matching, data in rows
        if usage in (CA_USAGE, OWN_USAGE)
        and selector in (0, 1)
        and (len(data) == _SIZES[matching] if matching in _SIZES else matching == _FULL and data)
    ]
    return tuple(found[:_MAX_RECORDS])


def dane_fault(chain: Sequence[bytes], keys: DaneKeys, now: datetime) -> str:
    """Return the reason why the certificates match no record; "" if they match a record.

    The certificates are in DER, and the server's own certificate comes first.
    """
    certificates = [found for der in chain[:_MAX_CHAIN] if (found := _load(der)) is not None]
    if not certificates or not chain or _load(chain[0]) is None:
        return "validation-failure: the server sent no readable certificate"
    own, others = certificates[0], certificates[1:]
    reason = "no record matches the certificate"
    for record in keys.records:
        if record.usage == OWN_USAGE:
            if _matches(own, record):
                return ""
        else:
            for anchor in _anchors(record, certificates):
                fault = _chain_fault(own, others, anchor, keys.names, now)
                if not fault:
                    return ""
                reason = fault
    return f"validation-failure: {reason}"


def _load(der: bytes) -> x509.Certificate | None:
    try:
        return x509.load_der_x509_certificate(der)
    except (ValueError, x509.InvalidVersion):
        return None


def _matches(certificate: x509.Certificate, record: Tlsa) -> bool:
    try:
        if record.selector == 0:
            data = certificate.public_bytes(Encoding.DER)
        else:
            key = certificate.public_key()
            data = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm):
        return False
    if record.matching == _SHA256:
        data = sha256(data).digest()
    elif record.matching == _SHA512:
        data = sha512(data).digest()
    return data == record.data


def _anchors(record: Tlsa, sent: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    """Return the CA that a record pins, from the server's certificates or from the record."""
    found = [certificate for certificate in sent if _matches(certificate, record)]
    if not found and (record.selector, record.matching) == (0, _FULL):
        whole = _load(record.data)
        found = [whole] if whole is not None else []
    return found


def _chain_fault(
    own: x509.Certificate,
    others: Sequence[x509.Certificate],
    anchor: x509.Certificate,
    names: Sequence[str],
    now: datetime,
) -> str:
    reason = "no name"
    for name in names:
        try:
            builder = PolicyBuilder().store(Store([anchor])).time(now)
            builder = builder.extension_policies(
                ca_policy=_CA_EXTENSIONS, ee_policy=_OWN_EXTENSIONS
            )
            builder.build_server_verifier(x509.DNSName(name)).verify(own, list(others))
        except (VerificationError, ValueError, UnsupportedAlgorithm) as error:
            reason = " ".join(str(error).split())
        else:
            return ""
    return f"the certificate is not one of the pinned CA for {' or '.join(names)}: {reason}"
