"""Creates the front door's certificate and the key of return paths, once per pipeline.

The certificate is self-signed, for this machine only. A publisher on this machine may trust the
certificate file itself. In production, the front door has a certificate from a public authority.
The key of the return paths stays the same, so that bounces of earlier mail are recognised. In
production, the file has several keys, which are rotated (docs/returned-mail.md). Owns: these files.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import secrets
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from msgspec import Struct

from local.folder import write_whole
from local.parts import ports

HOST: Final = "localhost"
VALID_DAYS: Final = 3_650
# The validity of the certificate begins this long before its creation, because clocks differ
# slightly, for example between a container and its host.
_EARLIER: Final = datetime.timedelta(days=1)
_SECRET_OCTETS: Final = 32


class CertificateFiles(Struct, frozen=True):
    """The paths of a certificate and of its private key, which are PEM files."""

    certificate: Path
    key: Path


def certificate_path(folder: Path) -> Path:
    """Return the path of the certificate in this folder. The file may not exist yet."""
    return folder / "smtp-cert.pem"


def make_certificate(folder: Path) -> CertificateFiles:
    """Return the certificate files in this folder. If they are missing, create them."""
    files = CertificateFiles(certificate_path(folder), folder / "smtp-key.pem")
    if files.certificate.exists() and files.key.exists():
        return files
    key = ec.generate_private_key(ec.SECP256R1())
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    # The file is created with mode 0600, so others can never read the key.
    with os.fdopen(os.open(files.key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        out.write(secret)
    files.certificate.write_bytes(_self_signed(key).public_bytes(Encoding.PEM))
    return files


def _self_signed(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName(HOST), x509.IPAddress(ipaddress.ip_address(ports.LOOPBACK))]
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, SHA256())
    )


def make_return_keys(folder: Path) -> Path:
    """Return the keys file in this folder. If the file is missing, create it with one key."""
    path = folder / "return-path-keys"
    if path.exists():
        return path
    today = datetime.datetime.now(datetime.UTC).date()
    text = f"1 {today.isoformat()} {secrets.token_hex(_SECRET_OCTETS)}\n"
    # The file is created with this mode, so others can never read the secret.
    write_whole(path, text, mode=0o600)
    return path
