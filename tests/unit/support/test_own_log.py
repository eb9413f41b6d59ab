"""The log that unit tests look at."""

from __future__ import annotations

import logging

import pytest


def test_a_library_that_logs_beside_a_unit_test_does_not_change_what_it_finds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logging.getLogger("kafka.coordinator").warning("Marking the coordinator dead")
    logging.getLogger("shared.runtime.reloaded_files").warning("a certificate cannot be read")
    assert caplog.messages == ["a certificate cannot be read"]
