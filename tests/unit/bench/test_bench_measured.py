"""A benchmark that is ended early ends what it started, and says so."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from bench.measured import measured, run_interruptibly
from bench.smtp_sink import PeerError
from shared.runtime.errors import Exit


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_measurement_that_is_ended_by_a_signal_ends_its_parts_first(
    number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = []

    def measure() -> None:
        try:
            os.kill(os.getpid(), number)
            signal.pause()
        finally:
            ended.append("sink")

    with pytest.raises(SystemExit) as exit_of:
        measured(measure)
    assert exit_of.value.code == Exit.INTERRUPTED
    assert ended == ["sink"]
    assert "nothing is left running" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_in_an_event_loop_it_ends_as_well(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    before, ended = signal.getsignal(number), []

    async def sending() -> None:
        try:
            # In a callback of the loop, which takes any exception for its own fault.
            asyncio.get_running_loop().call_soon(os.kill, os.getpid(), number)
            await asyncio.Event().wait()
        finally:
            ended.append("pools")

    with pytest.raises(SystemExit) as exit_of:
        measured(lambda: run_interruptibly(sending()))
    assert exit_of.value.code == Exit.INTERRUPTED
    assert ended == ["pools"]
    assert signal.getsignal(number) is before
    assert "nothing is left running" in capsys.readouterr().err


def test_a_missing_peer_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    def measure() -> None:
        raise PeerError("smtp-sink is missing: install it")

    with pytest.raises(SystemExit) as exit_of:
        measured(measure)
    assert exit_of.value.code == Exit.PART_UNAVAILABLE
    assert capsys.readouterr().err == "sluice: smtp-sink is missing: install it\n"
