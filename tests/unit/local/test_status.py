"""What `status` says of parts that are not ready."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from cli.stack.state import Ended
from local.parts import services
from local.status import Status, part_lines


def test_a_part_that_keeps_ending_is_shown_with_its_last_reason_and_log(tmp_path: Path) -> None:
    for part in ("deliver", "validate"):
        (tmp_path / f"{part}.log").touch()
    ready = {"kafka": True, "redis": False, "ingest": True, "validate": False, "deliver": False}
    ended = {"deliver": Ended(3, 1), "validate": Ended(1, -9), "ingest": Ended(2, 75)}
    status = Status(state="main", running=True, pid=1, ready=ready, ended=ended)
    assert part_lines(status, tmp_path) == [
        "  kafka     ready",
        "  redis     NOT READY",
        "  ingest    ready",
        f"  validate  NOT READY, ended 1 time, last by signal 9, log: {tmp_path}/validate.log",
        f"  deliver   NOT READY, ended 3 times, last with exit code 1, log: {tmp_path}/deliver.log",
    ]


@pytest.mark.parametrize(
    ("said", "greets"), [(b"220 sink ESMTP\r\n", True), (b"554 no\r\n", False)]
)
def test_a_sink_is_ready_when_it_greets(said: bytes, greets: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"

        def greet() -> None:
            with server.accept()[0] as peer:
                peer.sendall(said)

        thread = threading.Thread(target=greet)
        thread.start()
        assert services.greets(address) is greets
        thread.join()


def test_a_sink_that_is_stopped_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "_ASK_TIMEOUT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as server:  # the kernel takes connections
        assert not services.greets(f"127.0.0.1:{server.getsockname()[1]}")
