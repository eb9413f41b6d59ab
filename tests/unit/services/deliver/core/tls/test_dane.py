"""Certificates that match a server's TLSA records, and those that do not (RFC 6698, RFC 7672)."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from hashlib import sha256, sha512
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec import Struct

from services.deliver.core.tls.dane import dane_fault, usable
from services.deliver.core.tls.policy import DaneKeys, Tlsa
from tests.support.authority import Authority

MX = "mx.r.example"
NOW = datetime.datetime.now(datetime.UTC)


class Sent(Struct, frozen=True):
    """What a server sends, and what a record may pin of it."""

    own: bytes
    expired: bytes
    ca: bytes
    other_ca: bytes
    own_key: bytes
    ca_key: bytes


def der(path: Path) -> bytes:
    return x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER)


def key_of(certificate: bytes) -> bytes:
    key = x509.load_der_x509_certificate(certificate).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Sent:
    folder = tmp_path_factory.mktemp("dane")
    authority, other = Authority(folder / "one", "ca one"), Authority(folder / "two", "ca two")
    own = der(authority.issue("own", dns=(MX,)))
    expired = der(authority.issue("expired", days=-1, dns=(MX,)))
    ca = der(authority.ca)
    return Sent(own, expired, ca, der(other.ca), key_of(own), key_of(ca))


def check(chain: list[bytes], *records: Tlsa, names: tuple[str, ...] = (MX,)) -> str:
    return dane_fault(chain, DaneKeys(records, names), NOW)


@pytest.mark.parametrize(
    "record",
    [
        lambda sent: Tlsa(3, 0, 0, sent.own),
        lambda sent: Tlsa(3, 0, 1, sha256(sent.own).digest()),
        lambda sent: Tlsa(3, 1, 0, sent.own_key),
        lambda sent: Tlsa(3, 1, 1, sha256(sent.own_key).digest()),
        lambda sent: Tlsa(3, 1, 2, sha512(sent.own_key).digest()),
        lambda sent: Tlsa(2, 0, 1, sha256(sent.ca).digest()),
        lambda sent: Tlsa(2, 1, 1, sha256(sent.ca_key).digest()),
    ],
    ids=["own", "own-256", "key", "key-256", "key-512", "ca-256", "ca-key-256"],
)
def test_a_certificate_that_a_record_pins_is_right(
    sent: Sent, record: Callable[[Sent], Tlsa]
) -> None:
    assert check([sent.own, sent.ca], record(sent)) == ""
    # One record that matches is enough.
    assert check([sent.own, sent.ca], Tlsa(3, 1, 1, b"\0" * 32), record(sent)) == ""


def test_a_pinned_key_counts_whatever_its_dates_and_names(sent: Sent) -> None:
    record = Tlsa(3, 1, 1, sha256(key_of(sent.expired)).digest())
    assert check([sent.expired], record, names=("other.example",)) == ""


def test_a_ca_that_only_the_record_has_is_used(sent: Sent) -> None:
    assert check([sent.own], Tlsa(2, 0, 0, sent.ca)) == ""


@pytest.mark.parametrize(
    ("chain", "record", "names", "told"),
    [
        (
            lambda sent: [sent.own, sent.ca],
            lambda _: Tlsa(3, 1, 1, b"\0" * 32),
            (MX,),
            "no record matches",
        ),
        (lambda _: [], lambda sent: Tlsa(3, 0, 0, sent.own), (MX,), "no readable certificate"),
        (
            lambda sent: [b"rubbish", sent.own],
            lambda sent: Tlsa(3, 0, 0, sent.own),
            (MX,),
            "no readable certificate",
        ),
        (
            lambda sent: [sent.own, sent.ca],
            lambda sent: Tlsa(2, 0, 1, sha256(sent.ca).digest()),
            ("mx.other.example", "r.other.example"),
            "for mx.other.example or r.other.example",
        ),
        (
            lambda sent: [sent.expired, sent.ca],
            lambda sent: Tlsa(2, 0, 1, sha256(sent.ca).digest()),
            (MX,),
            "not one of the pinned CA",
        ),
        (
            lambda sent: [sent.own, sent.other_ca],
            lambda sent: Tlsa(2, 0, 1, sha256(sent.other_ca).digest()),
            (MX,),
            "not one of the pinned CA",
        ),
        (
            lambda sent: [sent.own],
            lambda _: Tlsa(2, 0, 0, b"rubbish"),
            (MX,),
            "no record matches",
        ),
    ],
    ids=["another", "none", "unreadable", "name", "expired", "another-ca", "rubbish-pinned"],
)
def test_any_other_certificate_is_a_fault_with_its_reason(
    sent: Sent,
    chain: Callable[[Sent], list[bytes]],
    record: Callable[[Sent], Tlsa],
    names: tuple[str, ...],
    told: str,
) -> None:
    fault = check(chain(sent), record(sent), names=names)
    assert fault.startswith("validation-failure: ")
    assert told in fault


@pytest.mark.parametrize(
    ("row", "is_usable"),
    [
        ((3, 1, 1, b"x" * 32), True),
        ((2, 0, 2, b"x" * 64), True),
        ((3, 0, 0, b"x"), True),
        ((3, 0, 0, b""), False),
        ((3, 1, 1, b"x" * 31), False),
        ((0, 1, 1, b"x" * 32), False),
        ((1, 1, 1, b"x" * 32), False),
        ((3, 2, 1, b"x" * 32), False),
        ((3, 1, 3, b"x" * 32), False),
    ],
)
def test_only_usable_records_count(row: tuple[int, int, int, bytes], is_usable: bool) -> None:
    assert bool(usable([row])) is is_usable


def test_the_records_of_a_server_are_bounded() -> None:
    assert len(usable([(3, 1, 1, b"x" * 32)] * 1_000)) == 50
