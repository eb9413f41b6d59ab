"""DKIM keys: which are accepted, and which prevent the start."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from services.deliver.edge.signing.preparing import load_keys, make_signer
from services.deliver.settings import DeliverSettings
from shared.mailauth.dkim_keys.folder import KeyFault, load_key
from shared.runtime.clock import FakeClock
from shared.runtime.errors import UsageError
from tests.support.dkim_verifying import (
    ALGORITHMS,
    CONTENT,
    SELECTOR,
    is_verified,
    key_of,
    signer_of,
    tag,
)


@pytest.mark.parametrize(
    ("domain", "signs_for"),
    [
        ("Shop.Example", b"shop.example"),
        ("bücher.example", b"xn--bcher-kva.example"),
        ("", None),
        ("localhost", None),
        ("a.example; d=b.example", None),
        ("a.example\r\nX: y", None),
    ],
)
def test_only_a_host_name_is_signed_for(domain: str, signs_for: bytes | None) -> None:
    signed = signer_of("ed25519-sha256").sign(CONTENT, domain)
    if signs_for is None:
        assert signed == CONTENT
    else:
        assert tag(signed, b"d") == signs_for


def pem(key: object, encryption: KeySerializationEncryption | None = None) -> bytes:
    assert isinstance(
        key, rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
    )
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


def faulty_keys() -> dict[str, tuple[bytes | None, str]]:
    good = key_of("ed25519-sha256")
    public = good.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    small = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    return {
        "missing": (None, "No such file"),
        "empty": (b"", "cannot be read"),
        "no PEM": (b"key", "cannot be read"),
        "public": (public, "cannot be read"),
        "encrypted": (pem(good, BestAvailableEncryption(b"x")), "cannot be read"),
        "short": (pem(small), "RSA of 1024 bits"),
        "curve": (pem(ec.generate_private_key(ec.SECP256R1())), "kind EC"),
    }


@pytest.mark.parametrize("name", sorted(faulty_keys()))
def test_a_file_without_a_key_stops_the_start_with_its_path(name: str, tmp_path: Path) -> None:
    content, found = faulty_keys()[name]
    path = tmp_path / "dkim.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(KeyFault, match=found):
        load_key(str(path))
    with pytest.raises(UsageError) as stopped:
        load_keys(DeliverSettings(dkim_key_file=str(path)))
    assert str(stopped.value).startswith(f"deliver.dkim_key_file: {path}: ")
    assert "it must hold an unencrypted private key in PEM" in str(stopped.value)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_key_is_loaded_from_its_file(algorithm: str, tmp_path: Path) -> None:
    path = tmp_path / "dkim.pem"
    path.write_bytes(pem(key_of(algorithm)))
    settings = DeliverSettings(dkim_key_file=str(path), dkim_selector=SELECTOR)
    signer = make_signer(settings, load_keys(settings), FakeClock())
    assert signer is not None
    assert is_verified(signer.sign(CONTENT, "shop.example"), algorithm, "shop.example")


def test_without_a_key_nothing_is_signed() -> None:
    settings = DeliverSettings()
    assert make_signer(settings, load_keys(settings), FakeClock()) is None
