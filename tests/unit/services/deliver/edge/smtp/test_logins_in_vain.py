"""What the transactions of logged-in connections say of a login, and what not, in virtual time."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from services.deliver.core.attempt.results import Broken, TransactionResult
from services.deliver.edge.smtp.logins import FIRST_PAUSE_S, MOST_IN_VAIN, Logins
from shared.smtp.events import Finished, Stage
from shared.smtp.reply import Reply
from tests.support.login_server import HOST, Server, run, transactions, try_login, write
from tests.support.virtual_loop import VirtualLoop

WANTED = Reply(530, "5.7.0", "Authentication required")
IN_VAIN = Finished(Stage.MAIL, WANTED)
TAKEN = Finished(Stage.CONTENT, Reply(250, "2.0.0", "Ok"))
REFUSED = (535, "5.7.8 wrong password")


def test_a_server_that_takes_the_login_and_no_mail_is_left_alone_longer_each_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(loop: VirtualLoop) -> None:
        logins = Logins(str(write(tmp_path, "right")))
        for pause_s in (FIRST_PAUSE_S, 2 * FIRST_PAUSE_S):
            while (fault := logins.fault(HOST, loop.time())) is None:
                assert await try_login(logins, Server((235, "2.7.0 ok"))) is None
                transactions(logins, IN_VAIN)
            assert fault.waits_s == pytest.approx(pause_s)
            assert "took the login and answered mail with 530 5.7.0" in fault.reason
            assert logins.refused == 1
            loop.pause(pause_s)
        transactions(logins, TAKEN)
        assert logins.refused == 0

    caplog.set_level(logging.INFO)
    run(test)
    levels = [record.levelno for record in caplog.records]
    assert levels == [logging.ERROR, logging.WARNING, logging.INFO]


@pytest.mark.parametrize(
    "between",
    [
        (TAKEN,),
        (Finished(Stage.RCPT, Reply(550, "5.1.1", "No such user")),),
    ],
)
def test_mail_of_others_that_goes_out_shows_that_the_login_works(
    tmp_path: Path, between: tuple[TransactionResult, ...]
) -> None:
    async def test(loop: VirtualLoop) -> None:
        logins = Logins(str(write(tmp_path, "right")))
        for _ in range(3 * MOST_IN_VAIN):
            transactions(logins, IN_VAIN)
            transactions(logins, *between)
        assert logins.fault(HOST, loop.time()) is None

    run(test)


@pytest.mark.parametrize(
    "ends",
    [
        (TAKEN, IN_VAIN),
        (Broken("lost", False, False),),
    ],
)
def test_a_login_that_ended_later_and_a_lost_connection_say_nothing_against_it(
    tmp_path: Path, ends: tuple[TransactionResult, ...]
) -> None:
    async def test(loop: VirtualLoop) -> None:
        logins = Logins(str(write(tmp_path, "right")))
        for _ in range(3 * MOST_IN_VAIN):
            transactions(logins, *ends)
        assert logins.fault(HOST, loop.time()) is None

    run(test)


def test_a_new_password_ends_the_pause_of_a_login_that_was_in_vain(tmp_path: Path) -> None:
    async def test(loop: VirtualLoop) -> None:
        logins = Logins(str(write(tmp_path, "right")))
        for _ in range(MOST_IN_VAIN):
            transactions(logins, IN_VAIN)
        assert logins.fault(HOST, loop.time()) is not None
        write(tmp_path, "another")
        logins.refresh()
        assert logins.fault(HOST, loop.time()) is None

    run(test)


@pytest.mark.parametrize("named_now", ["right", "another"])
def test_mail_of_connections_that_were_open_before_does_not_end_the_pause_of_a_refused_login(
    tmp_path: Path, named_now: str
) -> None:
    async def test(loop: VirtualLoop) -> None:
        logins, refusing = Logins(str(write(tmp_path, "right"))), Server(REFUSED)
        assert await try_login(logins, Server((235, "ok"))) is None
        running = [logins.watch(HOST, logins.of(HOST)) for _ in range(5)]
        write(tmp_path, named_now)
        logins.refresh()
        for ended in running:
            assert await try_login(logins, refusing) is not None
            assert ended is not None
            ended(TAKEN)
        assert len(refusing.tried) == 1
        assert logins.refused == 1

    run(test)


def test_connections_with_an_earlier_login_count_neither_for_that_of_today_nor_against_it(
    tmp_path: Path,
) -> None:
    async def test(loop: VirtualLoop) -> None:
        logins = Logins(str(write(tmp_path, "old")))
        earlier = [logins.watch(HOST, logins.of(HOST)) for _ in range(2 * MOST_IN_VAIN)]
        transactions(logins, IN_VAIN)
        write(tmp_path, "new")
        logins.refresh()
        for count in range(MOST_IN_VAIN):
            for end in (IN_VAIN, TAKEN):
                ended = earlier.pop()
                assert ended is not None
                ended(end)
            assert logins.fault(HOST, loop.time()) is None, f"after {count} of its own"
            transactions(logins, IN_VAIN)
        assert logins.fault(HOST, loop.time()) is not None

    run(test)


def test_the_count_begins_at_none_for_a_new_login_also_after_a_pause_of_the_last(
    tmp_path: Path,
) -> None:
    async def test(loop: VirtualLoop) -> None:
        logins = Logins(str(write(tmp_path, "old")))
        for _ in range(MOST_IN_VAIN):
            transactions(logins, IN_VAIN)
        write(tmp_path, "new")
        logins.refresh()
        for _ in range(MOST_IN_VAIN - 1):
            transactions(logins, IN_VAIN)
        assert logins.fault(HOST, loop.time()) is None
        transactions(logins, TAKEN, IN_VAIN)
        transactions(logins, IN_VAIN)
        assert logins.fault(HOST, loop.time()) is None, "mail went out in between"

    run(test)


@pytest.mark.parametrize("late", [(235, "ok"), REFUSED])
def test_a_late_answer_to_an_earlier_login_leaves_the_pause_of_the_new_one(
    tmp_path: Path, late: tuple[int, str]
) -> None:
    async def test(loop: VirtualLoop) -> None:
        logins = Logins(str(write(tmp_path, "old")))
        assert await try_login(logins, Server((235, "ok"))) is None
        slow, refusing = Server(late), Server(REFUSED)
        slow.slow_s = 10.0
        trying = asyncio.create_task(try_login(logins, slow))
        await asyncio.sleep(1)
        write(tmp_path, "new")
        logins.refresh()
        assert await try_login(logins, refusing) is not None
        found = (await asyncio.gather(trying, return_exceptions=True))[0]
        assert found is None or isinstance(found, ConnectionError)
        assert await try_login(logins, refusing) is not None
        assert len(refusing.tried) == 1

    run(test)
