"""The sources of MTA-STS policies: the domain's web server, and the shared copies in Redis.

Owns: the HTTPS request (RFC 8461, 3.3) and its limits; the key and the form of the value in Redis.
Does not own: the meaning of the response (core/tls/sts.py), the times of fetches (mta_sts.py).

Guarantees of a fetch: the certificate is valid for `mta-sts.<domain>`; redirects are not followed;
special addresses are refused, so that no domain can point to an internal server; a fetch ends
within FETCH_S. Guarantees of the copies in Redis: load() and save() raise nothing; a value that
cannot be read counts as missing. The values in Redis can be fetched again, and Redis deletes a
policy when its max_age is over.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from typing import Final

import msgspec
import redis.asyncio

from services.deliver.core.routing.addresses import Addresses, address_fault
from services.deliver.core.tls.sts import MAX_POLICY_BYTES, KnownPolicy, StsFault, body_of
from services.deliver.edge.dns.site_addresses import AddressSource
from shared.smtp.remote_text import clean_text
from shared.store.client import StoreUnavailable, store_errors

log = logging.getLogger(__name__)

FETCH_S: Final = 30.0
PORT: Final = 443
_MAX_ADDRESSES: Final = 4
_MAX_RESPONSE_BYTES: Final = MAX_POLICY_BYTES + 16 * 1024
# All installations share these keys, because a domain publishes the same policy for everyone.
PREFIX: Final = "{sluice:mta-sts}:"
_decoder: Final = msgspec.json.Decoder(KnownPolicy)


class PolicyFetcher:
    """Fetches policies from web servers.

    If `allow_any` is set, loopback and private addresses are allowed, too. Tests use this option.
    """

    def __init__(
        self,
        addresses: AddressSource,
        context: ssl.SSLContext,
        *,
        port: int = PORT,
        allow_any: bool = False,
    ) -> None:
        self._addresses = addresses
        self._context = context
        self._port = port
        self._allow_any = allow_any

    async def fetch(self, domain: str) -> bytes:
        """Return the text of the policy of a domain. Raises StsFault."""
        host = f"mta-sts.{domain}"
        try:
            async with asyncio.timeout(FETCH_S):
                return body_of(await self._get(host, await self._addresses_of(host)))
        except ssl.SSLCertVerificationError as error:
            raise StsFault(f"sts-webpki-invalid: {error.verify_message}") from None
        except TimeoutError:
            raise StsFault("sts-policy-fetch-error: no whole answer in time") from None
        except (OSError, EOFError, ValueError) as error:
            reason = clean_text(str(error)) or type(error).__name__
            raise StsFault(f"sts-policy-fetch-error: {reason}") from None

    async def _addresses_of(self, host: str) -> list[str]:
        found = await self._addresses.addresses(host)
        if not isinstance(found, Addresses):
            raise StsFault(f"sts-policy-fetch-error: {host} has no address")
        usable = [ip for ip in found.ips if self._allow_any or not address_fault(ip, False)]
        if not usable:
            raise StsFault(f"sts-policy-fetch-error: {host} has no public address")
        random.shuffle(usable)
        return usable[:_MAX_ADDRESSES]

    async def _get(self, host: str, ips: list[str]) -> bytes:
        for left, ip in enumerate(reversed(ips)):
            try:
                reader, writer = await asyncio.open_connection(
                    ip, self._port, ssl=self._context, server_hostname=host
                )
            except ssl.SSLCertVerificationError:
                raise
            except OSError:
                if left == len(ips) - 1:
                    raise
                continue
            try:
                return await self._ask(host, reader, writer)
            finally:
                writer.transport.abort()
        raise OSError("no address")

    async def _ask(
        self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bytes:
        request = (
            f"GET /.well-known/mta-sts.txt HTTP/1.1\r\nHost: {host}\r\n"
            "Accept: text/plain\r\nConnection: close\r\n\r\n"
        )
        writer.write(request.encode("ascii"))
        response = b""
        while piece := await reader.read(16 * 1024):
            response += piece
            if len(response) > _MAX_RESPONSE_BYTES:
                raise StsFault(f"sts-policy-invalid: larger than {MAX_POLICY_BYTES} bytes")
        return response


class RedisPolicies:
    """Policies under `{sluice:mta-sts}:<domain>`."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client

    async def load(self, domain: str) -> KnownPolicy | None:
        """Return the policy that another process has fetched."""
        try:
            with store_errors():
                value = await self._client.get(PREFIX + domain)
            return _decoder.decode(value) if value is not None else None
        except (StoreUnavailable, msgspec.DecodeError) as error:
            log.info("an MTA-STS policy cannot be read from Redis", extra={"reason": str(error)})
            return None

    async def save(self, domain: str, known: KnownPolicy) -> None:
        """Share a policy with other processes."""
        value = msgspec.json.encode(known)
        try:
            with store_errors():
                await self._client.set(PREFIX + domain, value, ex=max(1, known.policy.max_age_s))
        except StoreUnavailable as error:
            log.info("an MTA-STS policy cannot be written to Redis", extra={"reason": str(error)})
