"""How a command ends when a signal interrupts it."""

from __future__ import annotations

import os
import signal

import pytest

from cli.answer import SIGNALS, StopAskedError, interruptible


def _send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)
    signal.pause()


def _send_and_fail(number: signal.Signals) -> None:
    try:
        _send(number)
    finally:
        raise RuntimeError("Concurrent access to net.poll!")


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_interrupts_the_block(number: signal.Signals) -> None:
    with pytest.raises(StopAskedError), interruptible():
        _send(number)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_clean_up_that_fails_after_a_signal_does_not_hide_the_signal(
    number: signal.Signals,
) -> None:
    with pytest.raises(StopAskedError), interruptible():
        _send_and_fail(number)


def test_an_error_without_a_signal_leaves_the_block_unchanged() -> None:
    with pytest.raises(RuntimeError, match="broken"), interruptible():
        raise RuntimeError("broken")


def test_the_earlier_handlers_are_there_again_after_the_block() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with pytest.raises(StopAskedError), interruptible():
        _send(signal.SIGTERM)
    assert [signal.getsignal(number) for number in SIGNALS] == before
