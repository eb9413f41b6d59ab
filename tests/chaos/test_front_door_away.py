"""Fault: Kafka is unavailable behind the front door, which replies 451 until Kafka is back.

A relay keeps the messages that get 451, and submits each of them once afterwards.
"""

from __future__ import annotations

from pathlib import Path

from local.stack import Stack, StackOptions
from tests.support.fork_server import fork
from tests.support.front_door import (
    CLIENT,
    arrived,
    connected,
    door_of,
    message,
    register,
    submit,
)
from tests.support.postfix_relay import inject, running_relay
from tests.support.smtp_peers import wait_until


def test_without_kafka_the_front_door_says_451_and_takes_mail_again_afterwards(
    tmp_path: Path,
) -> None:
    options = StackOptions(
        name="door-away",
        start=fork,
        folder=tmp_path,
        restart=False,
        is_lasting=False,
        services=("ingest",),
        sink=False,
    )
    with Stack(options) as stack:
        register(stack.endpoints.kafka, CLIENT)
        door = door_of(stack)
        with running_relay(tmp_path, door) as relay:
            with connected(door) as smtp:
                assert submit(smtp, message("before"), "before@r.example.net")[0] == 250
                stack.stop_part("kafka")
                code, text = submit(smtp, message("during"), "during@r.example.net")
                assert (code, text[:5]) == (451, "4.3.0")
            inject(relay, message("kept"), "kept@r.example.net")
            assert "451 4.3.0" in relay.wait_for("kept@r.example.net", "deferred")
            stack.start_part("kafka")
            stack.wait_ready("kafka")
            with connected(door) as smtp:

                def is_taken() -> bool:
                    return submit(smtp, message("after"), "after@r.example.net")[0] == 250

                wait_until(is_taken, "the door takes mail again")
            relay.flush()
            relay.wait_for("kept@r.example.net", "sent")
        assert len(arrived(door, f"<kept@{CLIENT.sending_domain}>")) == 1
        assert len(arrived(door, f"<before@{CLIENT.sending_domain}>")) == 1
        assert arrived(door, f"<after@{CLIENT.sending_domain}>")
        assert stack.process("ingest").runs
