"""The time for a DKIM signature: `python -m bench.micro.signing [--json]`.

The input is the 10 KB newsletter of the message set. The benchmark measures signing without the
private key operation, and complete signing with RSA-2048 and Ed25519. Each figure is the fastest of
many short rounds, because the machine may be busy.
"""

from __future__ import annotations

import argparse
import json
import sys
import timeit
from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from msgspec import Struct, to_builtins

from bench.opendkim import RSA_BITS
from services.deliver.core.signing.dkim import Identity, Signable
from services.deliver.edge.signing.signer import FixedKeys, Signer
from shared.mailauth.dkim_keys.folder import PrivateKey, algorithm_of
from shared.mailauth.dkim_keys.table import Key, KeyEntry, KeyIndex
from shared.runtime.clock import SystemClock
from shared.smtp.content import with_crlf
from tests.messages import load

SAMPLE: Final = "html-newsletter-10kb.eml"
DOMAIN: Final = "news.shop.example"
ROUNDS: Final = 100
_ROUND_S: Final = 0.005
_MADE_UP: Final = b"\0" * (RSA_BITS // 8)


class Result(Struct, frozen=True):
    """Microseconds per message."""

    message_bytes: int
    without_key_us: float
    without_key_lf_us: float
    rsa_us: float
    ed25519_us: float


def measure(content: bytes) -> Result:
    """Measure each variant of signing with one message."""
    identity = Identity("rsa-sha256", DOMAIN, "sluice")
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    by_rsa = _signer(rsa_key)
    by_ed25519 = _signer(ed25519.Ed25519PrivateKey.generate())
    lf_only = content.replace(b"\r\n", b"\n")

    def without_key(given: bytes) -> bytes:
        crlf = with_crlf(given)
        return Signable(crlf).signature_field(identity, 1_700_000_000, lambda _: _MADE_UP) + crlf

    return Result(
        message_bytes=len(content),
        without_key_us=_quickest_us(lambda: without_key(content)),
        without_key_lf_us=_quickest_us(lambda: without_key(lf_only)),
        rsa_us=_quickest_us(lambda: by_rsa.sign(content, DOMAIN)),
        ed25519_us=_quickest_us(lambda: by_ed25519.sign(content, DOMAIN)),
    )


def _signer(key: PrivateKey) -> Signer:
    index = KeyIndex([Key(KeyEntry("sluice", "-"), algorithm_of(key), key)])
    return Signer(FixedKeys(index), SystemClock())


def _quickest_us(task: Callable[[], object]) -> float:
    number = max(1, int(_ROUND_S / min(timeit.repeat(task, number=1, repeat=3))))
    return round(min(timeit.repeat(task, number=number, repeat=ROUNDS)) / number * 1e6, 1)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    result = measure(next(sample for sample in load() if sample.name == SAMPLE).content)
    if options.json:
        print(json.dumps(to_builtins(result)))
        return 0
    print(f"{SAMPLE}: {result.message_bytes} bytes")
    print(f"without the key's operation {result.without_key_us:7.1f} us")
    print(f"the same, LF line ends      {result.without_key_lf_us:7.1f} us")
    print(f"RSA-{RSA_BITS}, whole             {result.rsa_us:7.1f} us")
    print(f"Ed25519, whole              {result.ed25519_us:7.1f} us")
    return 0


if __name__ == "__main__":
    sys.exit(main())
