"""Notes whether a connection that has logged in carries mail: some servers take any login and then
answer MAIL with 530, which would cost a connection and an AUTH per message.

Owns: what one connection has seen. Does not own: the pause of the login (logins.py). Only the first
transaction of a connection counts: a login may also end later, and then the next connection logs in
again.
"""

from __future__ import annotations

from typing import Protocol

from services.deliver.core.attempt.results import TransactionResult
from services.deliver.core.attempt.verdicts import wants_login
from services.deliver.core.routing.logins import Login
from services.deliver.core.routing.sites import Host
from shared.smtp.events import Finished, Stage
from shared.smtp.reply import Reply


class Noting(Protocol):
    """The state of the logins at all hosts."""

    def took_mail(self, host: Host, login: Login) -> None:
        """A host has answered a transaction without asking for a login."""
        ...

    def logged_in_vain(self, host: Host, login: Login, stage: Stage, reply: Reply) -> None:
        """A host took the login, and wanted one in the first transaction that followed."""
        ...


class LoginWatch:
    """The result of the login of one connection."""

    def __init__(self, logins: Noting, host: Host, login: Login) -> None:
        self._logins = logins
        self._host = host
        self._login = login
        self._is_known = False

    def ended(self, ending: TransactionResult) -> None:
        """A transaction of the connection has ended."""
        if self._is_known or not isinstance(ending, Finished):
            return
        self._is_known = True
        if wants_login(ending.reply):
            self._logins.logged_in_vain(self._host, self._login, ending.stage, ending.reply)
        else:
            self._logins.took_mail(self._host, self._login)
