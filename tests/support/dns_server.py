"""A small DNS server in the test's loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

REFERRAL = "referral"  # an answer without records that names other servers
SILENT = "silent"  # no answer
DENIED = "denied "  # a prefix of records: the answer has these records and NXDOMAIN
OTHER_NAME = "records of "  # a prefix of records: the answer has them for another name

# Maps a name and a type to records, or to another answer of the server. If a name with a type is
# not in the zone, there is no such record.
Zone = Mapping[tuple[str, str], list[str] | int | str]


class Dns(asyncio.DatagramProtocol):
    """Answers queries from a zone; with `failing` every answer is SERVFAIL."""

    def __init__(self, zone: Zone) -> None:
        self.zone = zone
        self.asked: list[str] = []
        self.failing = False
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name = question.name.to_text().lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append(name)
        if self.zone.get((name, kind)) == SILENT:
            return
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        rows = dns.rcode.SERVFAIL if self.failing else self.zone.get((name, kind), [])
        if isinstance(rows, int):
            response.set_rcode(dns.rcode.Rcode(rows))
        elif rows == REFERRAL:
            other = dns.rrset.from_text(question.name, 300, "IN", "NS", "ns.other.example.")
            response.authority.append(other)
        elif isinstance(rows, str):
            is_denied = rows.startswith(DENIED)
            owner = question.name if is_denied else "other.example."
            record = rows.removeprefix(DENIED).removeprefix(OTHER_NAME)
            response.answer.append(dns.rrset.from_text(owner, 300, "IN", kind, record))
            response.set_rcode(dns.rcode.NXDOMAIN if is_denied else dns.rcode.NOERROR)
        elif rows:
            response.answer.append(dns.rrset.from_text(question.name, 300, "IN", kind, *rows))
        self.transport.sendto(response.to_wire(), addr)


@asynccontextmanager
async def serving(zone: Zone) -> AsyncIterator[tuple[Dns, str]]:
    """Run such a server; its address is host:port."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: Dns(zone), ("127.0.0.1", 0))
    host, port = transport.get_extra_info("sockname")
    try:
        yield server, f"{host}:{port}"
    finally:
        transport.close()
