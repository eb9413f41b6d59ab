"""The event log while its brokers cannot answer."""

from __future__ import annotations

import pytest
from kafka.errors import MetadataEmptyBrokerList

from shared.audit import event_log
from shared.audit.event_log import EventLog
from shared.runtime.errors import PartUnavailable
from shared.stream.client import ClientOptions


class FencedReader:
    """A reader whose only broker is fenced: the metadata name no broker."""

    closed = 0

    def __init__(self, *_given: object, **_options: object) -> None:
        pass

    def partitions(self) -> list[int]:
        raise MetadataEmptyBrokerList("brokers=[]")

    def close(self) -> None:
        FencedReader.closed += 1


def test_a_log_whose_broker_is_fenced_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "LogReader", FencedReader)
    FencedReader.closed = 0
    with pytest.raises(PartUnavailable, match=r"Kafka at 127\.0\.0\.1:1 is unavailable"):
        EventLog(ClientOptions("127.0.0.1:1", "test"))
    assert FencedReader.closed == 2
