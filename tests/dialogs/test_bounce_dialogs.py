"""Attacks on the bounce door, run with its session and policy and with the real one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from shared.mail.verp import day_of
from tests.dialogs import script
from tests.dialogs.holding import hold
from tests.dialogs.peers import DoorPeer, at_line_ends, take_reply
from tests.dialogs.script import BOUNCE_FOLDER, Script, Stage
from tests.support.bounce_door import (
    CLIENT,
    DOMAIN,
    all_returned,
    local_part,
    running_bounce_door,
)
from tests.support.bounce_session import SETTINGS, TODAY, BounceDialog, BounceDoor
from tests.support.front_door import trusting
from tests.support.smtp_reading import Cut, byte_by_byte, whole

SCRIPTS = script.load_all(BOUNCE_FOLDER)
PEERS = "127.0.10."
CUTS: dict[str, Cut] = {"whole": whole, "bytes": byte_by_byte, "line-ends": at_line_ends}


def words(day: int) -> Mapping[str, str]:
    """The names of the scripts, with return paths of this day."""
    local = local_part(day)
    return {
        "SENDING": DOMAIN,
        "RETURN_LOCAL": local,
        "RETURN_PATH": f"{local}@{DOMAIN}",
        "RETURN_PATH_UPPER": f"{local}@{DOMAIN}".upper(),
        "FORGED_TAIL": f"{local[:-2]}{'k' if local[-2] != 'k' else 'm'}{local[-1]}",
        "EXPIRED": local_part(day - 400),
    }


class BounceSessionPeer:
    """The session and the policy of the bounce door; every record is acknowledged at once."""

    def __init__(self, cut: Cut) -> None:
        self._cut = cut
        self._door = BounceDoor()
        self._dialog = BounceDialog(self._door, says_hello=False)
        self._output = bytearray(self._dialog.session.take_output())
        self.accepted = 0

    def send(self, data: bytes) -> None:
        for part in self._cut(data):
            self._dialog.send(part)
            while self._dialog.policy.is_storing:
                self._door.outbox.settle()
            self._output += self._dialog.session.take_output()

    def send_past_tls(self, data: bytes) -> None:
        raise AssertionError("a session knows nothing of TLS: say `only: door`")

    def reply(self) -> str:
        found = take_reply(self._output)
        assert found is not None, "no reply"
        self.accepted += "Ok: queued as" in found
        return found

    def start_tls(self) -> bool:
        self._dialog.session.tls_started()
        return True

    def rest(self) -> tuple[str, bool]:
        return self._output.decode(), self._dialog.has_ended

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize("script", [pytest.param(one, id=one.id) for one in SCRIPTS])
def test_the_policy_withstands(script: Script) -> None:
    assert script.start in (Stage.GREETED, Stage.HELLO)
    for name, cut in CUTS.items() if script.is_cut else [("whole", whole)]:
        try:
            hold(script, BounceSessionPeer(cut), words(TODAY))
        except AssertionError as error:
            error.add_note(f"where the bytes were read so: {name}")
            raise


def test_the_bounce_door_withstands_and_kafka_has_what_was_accepted(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    limits = {
        "bounce_max_message_bytes": str(SETTINGS.bounce_max_message_bytes),
        "bounce_postmaster": CLIENT.name,
    }
    tls, failures = trusting(), []
    today = day_of(int(time.time() * 1000))
    with running_bounce_door(kafka_bootstrap, tmp_path, CLIENT, **limits) as door:
        for number, one in enumerate(SCRIPTS, 1):
            peer = DoorPeer(door.port, f"{PEERS}{number}", tls, is_secure=False)
            try:
                hold(one, peer, words(today))
            except (AssertionError, TimeoutError) as error:
                failures.append(f"{one.id}: {error}")
            finally:
                peer.close()
    assert failures == []
    # Other tests have mail returned to the same topic meanwhile.
    received = [each for each, _ in all_returned(kafka_bootstrap) if each.peer.startswith(PEERS)]
    assert len(received) == sum(one.messages for one in SCRIPTS)
    assert "Traceback" not in (log := (tmp_path / "ingest.log").read_text()), log[-4000:]
