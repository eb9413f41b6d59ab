"""Fetches MTA-STS policies over HTTPS: RFC 8461, 3.3.

Owns: the request and its limits. Does not own: what the response means (core/tls/sts.py). The
certificate must be valid for `mta-sts.<domain>`; redirects are not followed; special addresses are
refused, so that a domain cannot point at a server inside; all of it ends within FETCH_S.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from typing import Final

from services.deliver.core.routing.addresses import Addresses, address_fault
from services.deliver.core.tls.sts import MAX_POLICY_BYTES, StsFault, body_of
from services.deliver.edge.dns.site_addresses import AddressSource
from shared.smtp.remote_text import clean_text

FETCH_S: Final = 30.0
PORT: Final = 443
_MAX_ADDRESSES: Final = 4
_MAX_RESPONSE_BYTES: Final = MAX_POLICY_BYTES + 16 * 1024


class PolicyFetcher:
    """Fetches from any domain. `allow_any`: also from loopback and private addresses (tests)."""

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
        """The text of the policy of a domain. Raises StsFault."""
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
