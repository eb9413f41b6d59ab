"""Published attacks on SMTP servers, run with the bare session and with the front door.

Each file in scripts/ describes its dialog; docs/smtp.md describes the front door's reply to each
kind of attack.
"""

from __future__ import annotations

import re
import ssl
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from shared.topics import names
from shared.topics.codec import decode_pack
from tests.dialogs import script
from tests.dialogs.holding import hold
from tests.dialogs.peers import CLIENT, DoorPeer, SessionPeer, at_line_ends
from tests.dialogs.script import BOUNCE_FOLDER, FOLDER, Script, Stage
from tests.support.chaos.witnesses import follow
from tests.support.front_door import Door, running_door, trusting
from tests.support.smtp_reading import Cut, byte_by_byte, whole

PAGE = Path(__file__).parents[2] / "docs" / "smtp.md"
NAMES = re.compile(r"`([a-z0-9-]+)`(?=,|  *\|?$)")
SCRIPTS = script.load_all()
PATHS = sorted(path for folder in (FOLDER, BOUNCE_FOLDER) for path in folder.glob("*.smtp"))
CUTS: dict[str, Cut] = {"whole": whole, "bytes": byte_by_byte, "line-ends": at_line_ends}
# Many dialogs only wait for the delay after a refused login, which costs no CPU.
AT_ONCE = 16
ALONE = Stage.CONNECTED

IN_SESSION = [pytest.param(one, id=one.id) for one in SCRIPTS if one.only != "door"]


@pytest.mark.parametrize("script", IN_SESSION)
def test_a_session_withstands(script: Script) -> None:
    is_greeted = script.start is not Stage.CONNECTED
    for name, cut in CUTS.items() if script.is_cut else [("whole", whole)]:
        try:
            hold(script, SessionPeer(cut, is_greeted, script.start is Stage.SMTPS))
        except AssertionError as error:
            error.add_note(f"where the bytes were read so: {name}")
            raise


def _hold_at(door: Door, script: Script, number: int, tls: ssl.SSLContext) -> str:
    """The deviation of the front door; "" for none."""
    is_secure = script.start is Stage.SMTPS
    # Each uses its own address: refused logins and new connections are counted by address.
    source = f"127.0.{1 + number // 250}.{1 + number % 250}"
    peer = DoorPeer(door.tls_port if is_secure else door.port, source, tls, is_secure)
    try:
        hold(script, peer)
    except (AssertionError, TimeoutError) as error:
        return f"{script.id}: {error}"
    finally:
        peer.close()
    return ""


def _hold_all_at(door: Door, scripts: Iterable[Script]) -> list[str]:
    """Run the dialogs in parallel; return the failures."""
    tls = trusting()
    found: list[Future[str]] = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        # First the dialogs that race with the greeting, one at a time.
        for number, one in enumerate(sorted(scripts, key=lambda one: one.start is not ALONE)):
            found.append(pool.submit(_hold_at, door, one, number, tls))
            if one.start is ALONE:
                wait(found[-1:])
    return [text for each in found if (text := each.result())]


def _received(door: Door) -> Counter[str]:
    """The number of messages in Kafka for each recipient."""
    consumer = follow(door.bootstrap, names.RECEIVED)
    try:
        parts = list(consumer.assignment())
        ends = consumer.end_offsets(parts)
        found: Counter[str] = Counter()
        while any(consumer.position(part) < ends[part] for part in parts):
            for records in consumer.poll(timeout_ms=200).values():
                for record in records:
                    for message in decode_pack(record.value, record.headers):
                        if message.envelope.client == CLIENT.name:
                            found[message.envelope.recipient] += 1
        return found
    finally:
        consumer.close(autocommit=False)


# One test for all dialogs: the front door is a separate process, and Kafka is read once.
def test_the_front_door_withstands_and_kafka_has_what_was_accepted_and_nothing_smuggled(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    scripts = [one for one in SCRIPTS if one.only != "session"]
    with running_door(kafka_bootstrap, tmp_path, CLIENT) as door:
        assert _hold_all_at(door, scripts) == []
        received = _received(door)
    assert received == {one.recipient: one.messages for one in scripts if one.messages}
    assert "Traceback" not in (log := (tmp_path / "ingest.log").read_text()), log[-4000:]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_script_says_what_it_does_and_by_which_source(path: Path) -> None:
    head = path.read_text().partition("\n\n")[0].splitlines()
    assert all(line.startswith("# ") for line in head)
    assert any(line.startswith("# Source: ") for line in head[1:])


def test_the_page_for_reviewers_names_every_script_and_no_other() -> None:
    tables = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    named = {name for line in tables for name in NAMES.findall(line.rpartition(" | ")[2])}
    assert named == {path.stem for path in PATHS}
