"""The return path as a foreign server sees it, at each attempt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from msgspec.structs import replace

from bench import smtp_sink
from services.deliver.core.attempt.results import Bounced, Deferred, Delivered
from services.deliver.edge.signing.preparing import EightBit, PreparingSender, ReturnPathSender
from shared.mail import verp
from shared.settings.secret_files import KeysFile
from shared.topics import ids
from tests.messages import load
from tests.support.pool_talk import envelope, pools_to, run

SAMPLES = tuple(sample for sample in load() if sample.accepted)
FIRST = f"1 2026-01-01 {'ab' * 32}\n"
NEXT_DAY_MS = 21_000 * verp.DAY_MS
SECOND = FIRST + f"2 2027-07-02 {'cd' * 32}\n"  # from the day after


class Greylisting:
    """An aiosmtpd handler that defers each sender once, and records the senders."""

    def __init__(self) -> None:
        self.senders: list[str] = []

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        self.senders.append(envelope.mail_from)
        if self.senders.count(envelope.mail_from) == 1:
            return "451 4.7.1 Greylisted"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        return "250 2.0.0 Ok"


def test_a_greylisting_server_sees_one_sender_per_message_though_a_key_is_added(
    tmp_path: Path,
) -> None:
    file = tmp_path / "keys"
    file.write_text(FIRST)
    keys = KeysFile(str(file))
    greylisting = Greylisting()
    controller = Controller(greylisting, hostname="127.0.0.1", port=smtp_sink.free_port())
    controller.start()
    onward = [
        replace(
            envelope("b@d.example"),
            mail_id=ids.encode((1 << 127) + number),
            client=sample.client.name,
            sender=f"a@{sample.client.sending_domain}",
            received_at_ms=NEXT_DAY_MS - verp.DAY_MS,
        )
        for number, sample in enumerate(SAMPLES)
    ]
    try:

        async def test() -> None:
            async with pools_to(f"{controller.hostname}:{controller.port}") as pools:
                sender = ReturnPathSender(PreparingSender(pools, None, EightBit.CONVERT), keys)
                for expected in (Deferred, Delivered):
                    for sample, one in zip(SAMPLES, onward, strict=True):
                        outcome = await sender.send(one, sample.content, lambda: True)
                        assert isinstance(outcome, expected), (sample.name, outcome)
                    file.write_text(SECOND)
                    keys.refresh()

        run(test())
    finally:
        controller.stop()
    assert len(set(greylisting.senders)) == len(SAMPLES)
    for one, seen in zip(onward, greylisting.senders, strict=False):
        local, _, domain = seen.rpartition("@")
        found = verp.verify(keys.keys, one.client, local, today=21_000, days_valid=60)
        assert isinstance(found, verp.ReturnPath)
        assert (found.mail_id, domain) == (one.mail_id, one.sender.rpartition("@")[2])


def test_a_message_that_violates_r11_opens_no_connection(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(FIRST)
    greylisting = Greylisting()
    controller = Controller(greylisting, hostname="127.0.0.1", port=smtp_sink.free_port())
    controller.start()
    try:

        async def test() -> None:
            async with pools_to(f"{controller.hostname}:{controller.port}") as pools:
                preparing = PreparingSender(pools, None, EightBit.CONVERT)
                sender = ReturnPathSender(preparing, KeysFile(str(file)))
                one = replace(envelope("b@d.example"), mail_id=ids.encode(1), sender="a@b.example")
                content = b"From: a@c.example\r\n\r\nHello\r\n"
                assert isinstance(await sender.send(one, content, lambda: True), Bounced)
                assert pools.connections == 0

        run(test())
    finally:
        controller.stop()
    assert not greylisting.senders
