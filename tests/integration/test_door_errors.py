"""Too many errors at a front door: failed logins, refused commands; and lack of descriptors."""

from __future__ import annotations

import resource
import smtplib
from collections.abc import Callable, Iterator

import pytest
from msgspec.structs import replace

from shared.registry.client import Client
from tests.support.door_peers import Peer, login, number, secured
from tests.support.front_door import PASSWORD, Door, running_door
from tests.support.smtp_peers import wait_until

# One front door for the whole module, even if the tests run in several processes.
pytestmark = pytest.mark.xdist_group("erring-door")

DOMAIN = "news.erring.example"
NAME, OTHER, NOISY = "erring-client", "erring-other", "erring-noisy"
CLIENT = Client(NAME, DOMAIN, "back@erring.example.org", "erring-mailing")
FAILED = 2
FAILED_OF_ADDRESS = 6
ERRORS = 12
TURNED_AWAY = "sluice_ingest_door_turned_away"


@pytest.fixture(scope="module")
def door(kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with running_door(
        kafka_bootstrap,
        tmp_path_factory.mktemp("erring"),
        *(replace(CLIENT, name=name) for name in (NAME, OTHER, NOISY)),
        smtp_max_failed_logins=str(FAILED),
        smtp_max_failed_logins_per_address=str(FAILED_OF_ADDRESS),
        smtp_errors_per_address_per_minute=str(ERRORS),
        smtp_errors_per_client_per_minute=str(ERRORS),
    ) as running:
        yield running


def wrong_login(port: int, source: str, name: str, password: str = "wrong-horse-battery") -> int:
    with secured(port, source) as smtp:
        smtp.user, smtp.password = name, password
        with pytest.raises(smtplib.SMTPResponseException) as refused:
            smtp.auth("PLAIN", smtp.auth_plain)
    return refused.value.smtp_code


def right_login(port: int, source: str, name: str) -> int:
    with secured(port, source) as smtp:
        return login(smtp, name)[0]


def err_until_told(ask: Callable[[str], str]) -> str:
    """Err until the door ends the connection, and return what it said then. The limit is given
    back little by little, so on a slow machine it takes some errors more."""
    for _ in range(ERRORS):
        assert ask("WHAT").startswith("500")
        if not (reply := ask("NOOP")).startswith("250"):
            return reply
    raise AssertionError("nothing limits the errors")


def asking(smtp: smtplib.SMTP) -> Callable[[str], str]:
    def ask(command: str) -> str:
        code, text = smtp.docmd(command)
        return f"{code} {text.decode()}"

    return ask


def test_a_wrong_password_locks_its_name_and_neither_the_neighbours_nor_who_was_right_before(
    door: Door,
) -> None:
    address = "127.0.3.1"
    assert right_login(door.port, address, NAME) == 235
    assert [wrong_login(door.port, address, OTHER) for _ in range(FAILED)] == [535] * FAILED
    assert wrong_login(door.port, address, OTHER, PASSWORD) == 421, "it was never right before"
    assert [wrong_login(door.port, address, NAME) for _ in range(FAILED)] == [535] * FAILED
    assert right_login(door.port, address, NAME) == 235, "the same password as before"
    # After the next attempts the address itself is locked, for every name.
    assert wrong_login(door.port, address, OTHER) == 421
    assert wrong_login(door.port, address, NAME, PASSWORD) == 421
    assert right_login(door.port, "127.0.3.2", NAME) == 235
    assert right_login(door.port, "127.0.3.2", OTHER) == 235


def test_scram_under_a_locked_name_is_not_even_begun(door: Door) -> None:
    address = "127.0.3.3"
    assert [wrong_login(door.port, address, NAME) for _ in range(FAILED)] == [535] * FAILED
    with secured(door.port, address) as smtp:
        first = "biwsbj1lcnJpbmctY2xpZW50LHI9YWJj"  # n,,n=erring-client,r=abc
        assert smtp.docmd("AUTH", f"SCRAM-SHA-256 {first}")[0] == 421


def test_errors_of_an_address_end_its_connections_and_keep_it_out_for_a_while(door: Door) -> None:
    before = number(door, TURNED_AWAY)
    told = "421 4.7.0 Too many refused commands a minute from your"
    with Peer(door.port, "127.0.3.4") as first, Peer(door.port, "127.0.3.4") as second:
        assert first.reply().startswith("220 ")
        assert second.reply().startswith("220 ")
        assert all(first.ask("WHAT").startswith("500 5.5.2") for _ in range(ERRORS))
        assert err_until_told(second.ask).startswith(told)
        assert second.line() == ""

    def is_kept_out() -> bool:
        with Peer(door.port, "127.0.3.4") as late:
            reply = late.reply()
            if is_let_in := reply.startswith("220 "):
                err_until_told(late.ask)
            assert is_let_in or reply.startswith(told)
            return not is_let_in

    wait_until(is_kept_out, "it is kept out")
    with Peer(door.port, "127.0.3.5") as neighbour:
        assert neighbour.reply().startswith("220 ")
    assert number(door, TURNED_AWAY) >= before + 2


def test_errors_of_a_client_count_from_all_its_addresses_and_its_next_login_waits(
    door: Door,
) -> None:
    half = ERRORS // 2
    with secured(door.port, "127.0.3.6") as first, secured(door.port, "127.0.3.7") as second:
        assert [login(smtp, NOISY)[0] for smtp in (first, second)] == [235, 235]
        for smtp in (first, second):
            assert [smtp.docmd("WHAT")[0] for _ in range(half)] == [500] * half
        told = "4.7.0 Too many refused commands a minute of this client; try again later"
        assert err_until_told(asking(first)) == f"421 {told}"
        first.close()

    def must_wait() -> bool:
        with secured(door.port, "127.0.3.8") as third:
            reply = login(third, NOISY)
            if is_let_in := reply[0] == 235:
                err_until_told(asking(third))
            assert is_let_in or reply == (421, told)
            third.close()
            return not is_let_in

    wait_until(must_wait, "the next login waits")
    assert right_login(door.port, "127.0.3.8", NAME) == 235, "another client"


def test_a_door_without_descriptors_rests_and_then_greets_who_waited(door: Door) -> None:
    pid = door.process.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    with secured(door.port, "127.0.3.9") as smtp:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, hard))
        try:
            with Peer(door.port, "127.0.3.10") as waiting:
                wait_until(
                    lambda: "a connection cannot be accepted" in door.process.log_tail(),
                    "it ran short",
                )
                assert smtp.noop()[0] == 250, "who is connected is served on"
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
                assert waiting.reply().startswith("220 ")
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
