"""A benchmark that is ended early ends what it started, and says so."""

from __future__ import annotations

import os
import signal

import pytest

from bench.measured import measured
from bench.smtp_sink import PeerError
from shared.runtime.exits import Exit


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


def test_a_missing_peer_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    def measure() -> None:
        raise PeerError("smtp-sink is missing: install it")

    with pytest.raises(SystemExit) as exit_of:
        measured(measure)
    assert exit_of.value.code == Exit.PART_UNAVAILABLE
    assert capsys.readouterr().err == "sluice: smtp-sink is missing: install it\n"
