"""Two threads that decode a type of response for the first time at the same moment."""

from __future__ import annotations

import struct
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from kafka.protocol.consumer import OffsetForLeaderEpochResponse
from kafka.protocol.schemas.fields import struct as schemas

from shared.stream.kafka_python.decoders import generate_one_at_a_time

VERSION = 4
# No throttling; one topic `t` with one partition: no error, partition 0, epoch 5, end offset 10.
BODY = struct.pack(">i", 0) + b"\x02\x02t\x02" + struct.pack(">hiiq", 0, 0, 5, 10) + b"\x00\x00\x00"
WAIT_S = 10.0


@pytest.fixture
def first() -> Future[int]:
    """Return the place for the result of the first thread."""
    return Future()


@pytest.fixture
def entered(first: Future[int], monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Interleave two generations of a decoder in the worst order.

    The first thread stops after it replaced the class, until the second thread is at the same place
    (or for a short time, because the second thread may have to wait for the first). The second
    thread stops there until the first thread is done. The event says that the first thread is
    there.
    """
    entered, followed = threading.Event(), threading.Event()
    generated: Any = schemas.CodegenContext

    def context() -> Any:
        if not entered.is_set():
            entered.set()
            followed.wait(0.5)
        else:
            followed.set()
            first.exception(WAIT_S)
        return generated()

    monkeypatch.setattr(schemas, "CodegenContext", context)
    monkeypatch.setattr(OffsetForLeaderEpochResponse._struct, "_compiled_encoders", {})
    return entered


def _end_offset() -> int:
    found = OffsetForLeaderEpochResponse.decode(BODY, version=VERSION)
    return int(found.topics[0].partitions[0].end_offset)


def test_two_threads_may_decode_a_response_type_for_the_first_time_together(
    first: Future[int], entered: threading.Event
) -> None:
    generate_one_at_a_time()

    def run() -> None:
        try:
            first.set_result(_end_offset())
        except TypeError as error:
            first.set_exception(error)

    with ThreadPoolExecutor(2) as threads:
        threads.submit(run)
        assert entered.wait(WAIT_S)
        second = threads.submit(_end_offset)
        assert (first.result(WAIT_S), second.result(WAIT_S)) == (10, 10)
    assert _end_offset() == 10
