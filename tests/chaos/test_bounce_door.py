"""Faults behind the bounce door: the ingest service dies at each step, or Kafka is unavailable.

A message that got its 250 is on mail.returned. A message that got 451 or no reply is sent again, so
it may be there twice; the reader counts it once.
"""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.stack import Stack, StackOptions
from shared.runtime.failpoints import BOUNCE_DOOR_NAMES, EXIT_CODE
from shared.topics import ids
from tests.support.bounce_door import (
    CLIENT,
    KEYS_TEXT,
    all_returned,
    at_bounce_door,
    return_path,
)
from tests.support.fork_server import fork
from tests.support.front_door import register
from tests.support.smtp_peers import wait_until

pytestmark = pytest.mark.xdist_group("bounce-door-faults")

CONTENT = b"Subject: Undelivered\r\n\r\n550 5.1.1 no such user\r\n"
BEFORE_DEATH = 3


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder: Path = tmp_path_factory.mktemp("bounce-faults")
    keys_file = folder / "keys"
    keys_file.write_text(KEYS_TEXT)
    options = StackOptions(
        name="bounce-faults",
        start=fork,
        folder=folder,
        restart=False,
        is_lasting=False,
        services=("ingest",),
        sink=False,
        env={"SLUICE_RETURN_PATH__KEYS_FILE": str(keys_file)},
    )
    with Stack(options) as running:
        register(running.endpoints.kafka, CLIENT)
        wait_until(lambda: send(running, 0) == 250, "the door knows the client")
        yield running


def send(stack: Stack, number: int) -> int:
    """Return the code of the reply to one bounce; 0 if there is none."""
    address = return_path(ids.encode(number))
    try:
        with at_bounce_door(stack) as smtp:
            smtp.sendmail("", [address], CONTENT)
    except smtplib.SMTPResponseException as error:
        return error.smtp_code
    except smtplib.SMTPRecipientsRefused as error:
        return error.recipients[address][0]
    except (OSError, smtplib.SMTPServerDisconnected):
        return 0
    return 250


def arrived(stack: Stack) -> set[str]:
    return {returned.mail_id for returned, _ in all_returned(stack.endpoints.kafka)}


@pytest.mark.parametrize("point", BOUNCE_DOOR_NAMES)
def test_what_got_its_250_is_there_though_ingest_died_before_that_of_the_next(
    stack: Stack, point: str
) -> None:
    first = 1_000 * (1 + BOUNCE_DOOR_NAMES.index(point))
    stack.stop_part("ingest")
    stack.start_part("ingest", {"SLUICE_FAILPOINT": f"{point}:{BEFORE_DEATH}"})
    stack.wait_ready("ingest")
    codes = {number: send(stack, number) for number in range(first, first + BEFORE_DEATH)}
    assert list(codes.values()) == [250, 250, 0]
    wait_until(lambda: not stack.process("ingest").runs, "ingest has died")
    assert stack.process("ingest").exit_code == EXIT_CODE
    promised = {ids.encode(number) for number, code in codes.items() if code == 250}
    assert promised <= arrived(stack)
    stack.start_part("ingest")
    stack.wait_ready("ingest")
    last = first + BEFORE_DEATH - 1
    assert send(stack, last) == 250
    assert ids.encode(last) in arrived(stack)


def test_without_kafka_the_bounce_door_says_451_and_takes_mail_again_afterwards(
    stack: Stack,
) -> None:
    assert send(stack, 1) == 250
    stack.stop_part("kafka")
    assert send(stack, 2) == 451
    stack.start_part("kafka")
    stack.wait_ready("kafka")
    wait_until(lambda: send(stack, 3) == 250, "the door takes mail again")
    assert {ids.encode(1), ids.encode(3)} <= arrived(stack)
    assert stack.process("ingest").runs
