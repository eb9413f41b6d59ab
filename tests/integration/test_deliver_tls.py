"""Pools over TLS: with modern, old and broken servers."""

from __future__ import annotations

import base64
import datetime
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Sink
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from msgspec.structs import replace

from bench import smtp_sink
from services.deliver.core.attempt.results import Deferred, Delivered, Outcome
from services.deliver.edge.pool.pools import Pools
from tests.support.certificates import self_signed
from tests.support.pool_talk import SETTINGS, pools_to, run, send, with_scripted
from tests.support.scripted_smtp import CLOSE, Script, Scripted
from tests.support.smtp_peers import running_sink

# RFC 2409, 6.2: the group of 1024 bits that old servers use.
OAKLEY_2 = bytes.fromhex(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD"
    "EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED"
    "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE65381FFFFFFFFFFFFFFFF"
)
# DHParameter of PKCS 3 in DER: the prime and the generator 2.
DH_PARAMETERS = b"\x30\x81\x87\x02\x81\x81\x00" + OAKLEY_2 + b"\x02\x01\x02"


def test_tls_is_used_where_it_is_offered(tmp_path: Path) -> None:
    cert, key = self_signed(tmp_path)
    with running_sink(tmp_path, "--tls-cert", str(cert), "--tls-key", str(key)) as sink:

        async def test() -> list[Outcome]:
            async with pools_to(sink.address) as pools:
                return [await send(pools, f"{number}@d.example") for number in range(3)]

        outcomes = run(test())
    assert all(isinstance(outcome, Delivered) for outcome in outcomes)
    assert {outcome.tls for outcome in outcomes} == {"TLSv1.3"}


@pytest.mark.parametrize(
    "answer", [b"454 4.7.0 no TLS now\r\n", b"220 go\r\nthis is no handshake\r\n", CLOSE]
)
def test_a_server_whose_tls_does_not_work_gets_its_mail_in_plain(answer: bytes) -> None:
    async def test(server: Scripted, pools: Pools) -> Outcome:
        return await send(pools, "a@d.example")

    script = {"EHLO": b"250-x\r\n250-PIPELINING\r\n250 STARTTLS\r\n", "STARTTLS": answer}
    outcome = with_scripted(lambda number: script, test)
    assert isinstance(outcome, Delivered)
    assert outcome.tls == ""


def rsa_certificate(folder: Path) -> Path:
    """A certificate with its key, for ciphers that need RSA: in one file."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, SHA256())
    )
    form = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    path = folder / "rsa.pem"
    path.write_bytes(form + certificate.public_bytes(Encoding.PEM))
    return path


def only_tls_1(context: ssl.SSLContext, folder: Path) -> None:
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = ssl.TLSVersion.TLSv1
    context.set_ciphers("ALL:@SECLEVEL=0")


def only_aes256_sha(context: ssl.SSLContext, folder: Path) -> None:
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AES256-SHA:@SECLEVEL=0")


def only_dhe_of_1024_bits(context: ssl.SSLContext, folder: Path) -> None:
    path = folder / "dh.pem"
    text = base64.encodebytes(DH_PARAMETERS).decode()
    path.write_text(f"-----BEGIN DH PARAMETERS-----\n{text}-----END DH PARAMETERS-----\n")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("DHE-RSA-AES256-GCM-SHA384:@SECLEVEL=0")
    context.load_dh_params(str(path))


def modern(context: ssl.SSLContext, folder: Path) -> None:
    """The defaults of the ssl module."""


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
@pytest.mark.parametrize(
    ("restrict", "version"),
    [
        (only_tls_1, "TLSv1"),
        (only_aes256_sha, "TLSv1.2"),
        (only_dhe_of_1024_bits, "TLSv1.2"),
        (modern, "TLSv1.3"),
    ],
)
def test_the_best_tls_that_both_can_is_used_with_one_connect(
    restrict: Callable[[ssl.SSLContext, Path], None], version: str, tmp_path: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(rsa_certificate(tmp_path))
    restrict(context, tmp_path)
    greetings: list[str] = []

    class Counting(Sink):
        async def handle_EHLO(
            self, server: object, session: Any, envelope: object, name: str, lines: list[str]
        ) -> list[str]:
            session.host_name = name  # aiosmtpd leaves this to the handler
            greetings.append(name)
            return lines

    port = smtp_sink.free_port()
    controller = Controller(Counting(), hostname="127.0.0.1", port=port, tls_context=context)
    controller.start()
    try:

        async def test() -> Outcome:
            async with pools_to(f"127.0.0.1:{port}") as pools:
                return await send(pools, "a@d.example")

        outcome = run(test())
    finally:
        controller.stop()
    assert isinstance(outcome, Delivered)
    assert (outcome.tls, outcome.tls_fault) == (version, "")
    assert len(greetings) == 2  # before and after STARTTLS


# -- servers whose TLS is broken

OFFERS_TLS = b"250-x\r\n250-PIPELINING\r\n250 STARTTLS\r\n"
EACH_ITS_OWN = replace(SETTINGS, max_messages_per_connection=1)


@pytest.mark.parametrize("answer", [b"220 go\r\nthis is no handshake\r\n", CLOSE])
def test_a_server_whose_tls_is_broken_costs_two_connects_once_and_one_from_then_on(
    answer: bytes,
) -> None:
    async def test(server: Scripted, pools: Pools) -> tuple[list[Outcome], int]:
        return [await send(pools, f"{number}@d.example") for number in range(3)], server.connections

    script = {"EHLO": OFFERS_TLS, "STARTTLS": answer}
    outcomes, connections = with_scripted(lambda number: script, test, EACH_ITS_OWN)
    assert all(isinstance(outcome, Delivered) for outcome in outcomes)
    assert connections == 4
    assert len({outcome.tls_fault for outcome in outcomes}) == 1


def test_a_server_that_requires_tls_gets_another_try_after_its_tls_failed() -> None:
    async def test(server: Scripted, pools: Pools) -> tuple[list[Outcome], list[list[str]]]:
        return [await send(pools, f"{number}@d.example") for number in range(2)], server.said

    script: Script = {
        "EHLO": OFFERS_TLS,
        "STARTTLS": CLOSE,
        "MAIL": b"530 5.7.0 Must issue a STARTTLS command first\r\n",
        "RCPT": b"503 no\r\n",
        "DATA": b"503 no\r\n",
    }
    outcomes, said = with_scripted(lambda number: script, test, EACH_ITS_OWN)
    assert all(isinstance(outcome, Deferred) for outcome in outcomes)
    assert ["STARTTLS" in commands for commands in said] == [True, False, True, False]
