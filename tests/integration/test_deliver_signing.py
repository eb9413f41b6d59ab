"""Signed mail through the pools to a foreign server, checked by a foreign verifier."""

from __future__ import annotations

from typing import Any

import pytest
from aiosmtpd.controller import Controller
from msgspec.structs import replace

from bench import smtp_sink
from services.deliver.core.attempt.outcome import Delivered
from services.deliver.edge.signing.signer import SigningSender
from tests.messages import load
from tests.support.dkim_verifying import ALGORITHMS, is_verified, signer_of
from tests.support.pool_talk import envelope, pools_to, run

SAMPLES = tuple(sample for sample in load() if sample.accepted)


class Keeping:
    """An aiosmtpd handler that records the content after DATA."""

    def __init__(self) -> None:
        self.contents: list[bytes] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.contents.append(envelope.original_content)
        return "250 2.0.0 Ok"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_a_server_received_is_verified(algorithm: str) -> None:
    keeping = Keeping()
    controller = Controller(keeping, hostname="127.0.0.1", port=smtp_sink.free_port())
    controller.start()
    try:

        async def test() -> None:
            async with pools_to(f"{controller.hostname}:{controller.port}") as pools:
                sending = SigningSender(pools, signer_of(algorithm))
                for sample in SAMPLES:
                    sender = f"a@{sample.client.sending_domain}"
                    onward = replace(envelope("b@d.example"), sender=sender)
                    outcome = await sending.send(onward, sample.content, lambda: True)
                    assert isinstance(outcome, Delivered), (sample.name, outcome)

        run(test())
    finally:
        controller.stop()
    assert len(keeping.contents) == len(SAMPLES)
    for sample, content in zip(SAMPLES, keeping.contents, strict=True):
        assert is_verified(content, algorithm, sample.client.sending_domain), sample.name
