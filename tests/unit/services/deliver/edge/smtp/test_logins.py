"""When a refused login is tried again, in virtual time, and what is kept of a server's answer."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from pathlib import Path
from unittest.mock import Mock

import pytest

from services.deliver.core.attempt.results import Deferred
from services.deliver.core.sources.table import Source
from services.deliver.edge.smtp.logins import Logins
from services.deliver.sending import load_outcome_rules, make_opener
from services.deliver.settings import DeliverSettings
from shared.runtime.errors import UsageError
from shared.runtime.failpoints import Failpoints
from tests.support.login_server import HOST, Server, run, try_login, write
from tests.support.virtual_loop import VirtualLoop

REFUSED = (535, "5.7.8 wrong password: hunter2")


def test_a_refused_login_is_tried_again_after_pauses_that_double_up_to_an_hour(
    tmp_path: Path,
) -> None:
    async def test(loop: VirtualLoop) -> None:
        logins, server = Logins(str(write(tmp_path, "hunter2"))), Server(REFUSED)
        for pause_s in (300, 600, 1_200, 2_400, 3_600, 3_600):
            fault = await try_login(logins, server)
            assert fault is not None
            assert fault.waits_s == pause_s
            tried = len(server.tried)
            loop.pause(pause_s - 1)
            left = logins.fault(HOST, loop.time())
            assert left is not None
            assert left.waits_s == pytest.approx(1.0)
            assert await try_login(logins, server) == left
            assert len(server.tried) == tried
            assert logins.refused == 1
            loop.pause(2)
            assert logins.fault(HOST, loop.time()) is None

    run(test)


def test_a_login_that_works_again_ends_the_pauses(tmp_path: Path) -> None:
    async def test(loop: VirtualLoop) -> None:
        logins = Logins(str(write(tmp_path, "hunter2")))
        server = Server(REFUSED, (235, "ok"), REFUSED)
        assert await try_login(logins, server) is not None
        loop.pause(301)
        assert await try_login(logins, server) is None
        assert (logins.refused, logins.status()) == (0, "")
        fault = await try_login(logins, server)
        assert fault is not None
        assert fault.waits_s == 300

    run(test)


def test_a_changed_password_is_tried_at_once(tmp_path: Path) -> None:
    async def test(loop: VirtualLoop) -> None:
        logins = Logins(str(write(tmp_path, "hunter2")))
        server = Server(REFUSED, (235, "ok"))
        assert await try_login(logins, server) is not None
        write(tmp_path, "hunter3")
        logins.refresh()
        assert logins.fault(HOST, loop.time()) is None
        assert logins.refused == 0
        assert await try_login(logins, server) is None
        assert [password for _, password in server.tried] == [b"hunter2", b"hunter3"]

    run(test)


def test_a_login_that_has_not_worked_yet_is_tried_by_one_connection(tmp_path: Path) -> None:
    async def test(loop: VirtualLoop) -> None:
        logins, server = Logins(str(write(tmp_path, "hunter2"))), Server(REFUSED)
        found = await asyncio.gather(*(try_login(logins, server) for _ in range(20)))
        assert len(server.tried) == 1
        assert all(fault is not None for fault in found)

    run(test)


def test_connections_that_are_refused_together_pause_a_login_that_worked_as_one_does(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(loop: VirtualLoop) -> None:
        logins = Logins(str(write(tmp_path, "hunter2")))
        assert await try_login(logins, Server((235, "ok"))) is None
        server = Server(REFUSED)
        found = await asyncio.gather(*(try_login(logins, server) for _ in range(20)))
        assert [fault.waits_s for fault in found if fault is not None] == [300] * 20
        loop.pause(301)
        assert logins.fault(HOST, loop.time()) is None
        assert await try_login(logins, Server((235, "ok"))) is None

    run(test)
    assert [each.levelname for each in caplog.records if each.levelno > logging.INFO] == ["ERROR"]


def test_connections_do_not_wait_longer_than_their_time_for_the_one_that_tries(
    tmp_path: Path,
) -> None:
    async def test(loop: VirtualLoop) -> None:
        logins, server = Logins(str(write(tmp_path, "hunter2"))), Server((235, "ok"))
        server.slow_s = 100.0
        both = (try_login(logins, server), try_login(logins, server))
        first, second = await asyncio.gather(*both, return_exceptions=True)
        assert first is None
        assert isinstance(second, TimeoutError)

    run(test)


@pytest.mark.parametrize(
    ("server", "waits_s", "reply", "said"),
    [
        (Server(REFUSED), 300, "535 5.7.8", "answered AUTH PLAIN with 535 5.7.8"),
        (Server((535, "no status")), 300, "535", "answered AUTH PLAIN with 535"),
        (Server((534, "5.7.9 hunter2")), 300, "534 5.7.9", "AUTH PLAIN with 534"),
        (Server((454, "4.7.0 later, hunter2")), 60, "454 4.7.0", "AUTH PLAIN with 454 4.7.0"),
        (Server(REFUSED, auth="AUTH LOGIN"), 300, "535 5.7.8", "AUTH LOGIN with 535"),
        (Server(REFUSED, auth="AUTH CRAM-MD5"), 60, "", "neither AUTH PLAIN nor LOGIN"),
        (Server(REFUSED, auth="SIZE"), 60, "", "neither AUTH PLAIN nor LOGIN (found: no AUTH)"),
    ],
)
def test_a_refused_login_defers_mail_as_authentication_without_the_servers_text(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    server: Server,
    waits_s: float,
    reply: str,
    said: str,
) -> None:
    async def test(loop: VirtualLoop) -> None:
        logins = Logins(str(write(tmp_path, "hunter2")))
        fault = await try_login(logins, server)
        assert fault is not None
        assert (fault.waits_s, fault.reply) == (waits_s, reply)
        assert said in fault.reason
        found = load_outcome_rules().no_connection(fault, False, "relay.example:587")
        assert isinstance(found, Deferred)
        assert (found.bounce_class, found.enhanced) == ("authentication", "4.7.0")
        assert (found.dispatched, found.waits_s) == (False, waits_s)
        shown = f"{found} {logins.status()} {caplog.text}"
        assert "hunter2" not in shown
        assert [record.levelname for record in caplog.records] == ["ERROR"]

    run(test)


@pytest.mark.parametrize("reply", [(421, "4.3.2 hunter2"), (0, "hunter2"), (-1, "hunter2")])
def test_a_server_that_ends_the_dialog_gets_the_login_once_a_minute(
    tmp_path: Path, reply: tuple[int, str]
) -> None:
    async def test(loop: VirtualLoop) -> None:
        logins, server = Logins(str(write(tmp_path, "hunter2"))), Server(reply)
        found = await asyncio.gather(*(try_login(logins, server) for _ in range(20)))
        assert len(server.tried) == 1
        for fault in found:
            assert fault is not None
            assert (fault.waits_s, fault.reply) == (60, "")
            assert "hunter2" not in fault.reason
        loop.pause(61)
        assert await try_login(logins, Server((235, "ok"))) is None
        assert logins.refused == 0

    run(test)


def test_an_unusable_file_ends_the_start_and_leaves_the_last_logins_in_force_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, "hunter2")
    logins = Logins(str(path))
    path.write_text('["relay.example:587"]\nuser = "us"\n')
    os.utime(path, (1, 1))
    with pytest.raises(UsageError, match=r"deliver\.logins_file: .*logins\.toml: relay\.example:5"):
        Logins(str(path))
    with caplog.at_level(logging.ERROR):
        logins.refresh()
        logins.refresh()
    assert len(caplog.records) == 1
    assert logins.of(HOST) is not None
    path.unlink()
    logins.refresh()
    assert logins.of(HOST) is not None
    with pytest.raises(UsageError, match="No such file"):
        Logins(str(path))
    assert Logins().of(HOST) is None


def test_a_file_that_could_not_be_read_is_read_again_and_each_fault_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, "hunter2")
    logins = Logins(str(path))
    for password in ("hunter3", "hunter4"):
        write(tmp_path, password)
        with monkeypatch.context() as patch:
            fault = OSError(errno.EMFILE, "Too many open files")
            patch.setattr(Path, "open", Mock(side_effect=fault))
            logins.refresh()
            logins.refresh()
        found = logins.of(HOST)
        assert found is not None
        assert found.password != password
        logins.refresh()
        found = logins.of(HOST)
        assert found is not None
        assert found.password == password
    assert [each.levelname for each in caplog.records if each.levelno > logging.INFO] == [
        *("ERROR", "ERROR")
    ]


def test_all_sources_of_a_process_share_the_pause(tmp_path: Path) -> None:
    async def test(loop: VirtualLoop) -> None:
        path = str(write(tmp_path, "hunter2"))
        logins = Logins(path)
        opener = make_opener(DeliverSettings(), "us.example", Failpoints.none(), logins)
        other = opener.from_source(Source("mx2", "mx2.example", "192.0.2.1"))
        assert (opener.refusal(HOST), other.refusal(HOST)) == (None, None)
        fault = await try_login(logins, Server(REFUSED))
        assert opener.refusal(HOST) == other.refusal(HOST) == fault

    run(test)
