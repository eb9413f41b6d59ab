"""What is sent in answer to each question of a server that is logged in at."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from typing import Any, cast

import aiosmtplib
import pytest

from services.deliver.core.routing.logins import Login
from services.deliver.edge.smtp.authentication import authenticate
from shared.smtp.reply import Reply

LOGIN = Login("us", "hunter2")
USER, PASSWORD = b64encode(b"us"), b64encode(b"hunter2")
PLAIN = b64encode(b"\0us\0hunter2")
ASKS_USER, ASKS_PASSWORD = b64encode(b"Username:").decode(), b64encode(b"Password:").decode()
OK = (235, "2.7.0 welcome")
NO = (535, "5.7.8 not hunter2")


class Server:
    """Replies in turn, whatever it is sent, and then hangs up."""

    def __init__(self, mechanisms: str, *replies: tuple[int, str]) -> None:
        self.last_ehlo_response = aiosmtplib.SMTPResponse(250, f"relay\nAUTH {mechanisms}")
        self._replies = list(replies)
        self.lines: list[bytes] = []

    async def execute_command(self, *words: bytes, **_: Any) -> aiosmtplib.SMTPResponse:
        self.lines.append(b" ".join(words))
        if not self._replies:
            raise aiosmtplib.SMTPServerDisconnected("gone")
        return aiosmtplib.SMTPResponse(*self._replies.pop(0))


def log_in(server: Server, login: Login = LOGIN) -> Reply:
    return asyncio.run(authenticate(cast(aiosmtplib.SMTP, server), login, 5.0))


@pytest.mark.parametrize(
    ("mechanisms", "replies", "lines"),
    [
        ("PLAIN LOGIN", [OK], [b"AUTH PLAIN " + PLAIN]),
        # It asks for what it was sent already.
        ("PLAIN", [(334, ""), OK], [b"AUTH PLAIN " + PLAIN, PLAIN]),
        (
            "LOGIN",
            [(334, ASKS_USER), (334, ASKS_PASSWORD), OK],
            [b"AUTH LOGIN", USER, PASSWORD],
        ),
        ("LOGIN", [(334, "what?"), (334, ""), OK], [b"AUTH LOGIN", USER, PASSWORD]),
        (
            "LOGIN",
            [(334, ASKS_USER), (334, b64encode(b"Password for user us").decode()), OK],
            [b"AUTH LOGIN", USER, PASSWORD],
        ),
        ("LOGIN", [(334, ASKS_USER), OK], [b"AUTH LOGIN", USER]),
    ],
)
def test_each_answer_follows_its_question(
    mechanisms: str, replies: list[tuple[int, str]], lines: list[bytes]
) -> None:
    server = Server(mechanisms, *replies)
    assert log_in(server).code == 235
    assert server.lines == lines


@pytest.mark.parametrize(
    ("mechanisms", "replies", "lines", "code"),
    [
        ("LOGIN", [NO], [b"AUTH LOGIN"], 535),
        ("LOGIN", [(334, ASKS_USER), NO], [b"AUTH LOGIN", USER], 535),
        ("LOGIN", [(334, ASKS_USER)] * 2 + [(501, "ended")], [b"AUTH LOGIN", USER, b"*"], 334),
        (
            "LOGIN",
            [(334, "")] * 3 + [(501, "ended")],
            [b"AUTH LOGIN", USER, PASSWORD, b"*"],
            334,
        ),
        ("PLAIN", [(334, "")] * 2 + [(501, "ended")], [b"AUTH PLAIN " + PLAIN, PLAIN, b"*"], 334),
    ],
)
def test_a_dialog_that_leads_nowhere_is_ended_and_no_password_stands_for_a_user(
    mechanisms: str, replies: list[tuple[int, str]], lines: list[bytes], code: int
) -> None:
    server = Server(mechanisms, *replies)
    found = log_in(server)
    assert server.lines == lines
    assert found.code == code
    assert not found.is_positive
    assert "hunter2" not in found.text


def test_a_server_that_hangs_up_when_its_question_is_not_answered_has_refused_the_login() -> None:
    found = log_in(Server("LOGIN", *[(334, "")] * 3))
    assert (found.code, found.text) == (334, "the server answered AUTH LOGIN with 334")


def test_a_password_that_is_too_long_for_a_command_line_waits_for_the_question() -> None:
    login = Login("us", "x" * 400)
    server = Server("PLAIN", (334, ""), OK)
    assert log_in(server, login).is_positive
    assert server.lines == [b"AUTH PLAIN", b64encode(b"\0us\0" + b"x" * 400)]
