"""Logs in at smart hosts: loads their logins from a file, uses AUTH, and pauses refused logins.

Owns: the loaded file, which is reloaded after a change; the memory of refused logins. Does not own:
the AUTH dialog (authentication.py), the format of the file and the TLS that a login requires
(core/routing/logins.py), the outcome of the mail (core/attempt/verdicts.py).

Guarantees:

- After a refusal, no connection of this process tries the login again before its pause is over or
  the file contains another login. The reason is that servers lock accounts and addresses after
  repeated attempts. A server that closes the connection without a reply may count the attempt, too.
- A login is also paused if the server accepts it and then answers MAIL with 530 on MOST_IN_VAIN
  connections in a row. Only the first transaction of a connection is considered. If the server
  requires a new login in a later transaction, the next connection logs in again.
- Only an answer to AUTH ends the pause of a refused AUTH. Mail over connections that were already
  open does not end the pause. Connections that use an earlier login of the file do not affect the
  state of the present login.
- Until a login has worked once, only one connection at a time tries it.
- Only the code and the status of an answer to AUTH are stored, because the text of the answer may
  repeat the password.
- If a changed file cannot be used, the previous logins stay in force, and each fault is logged
  once. A file that cannot be read is read again at the next check.
- The pauses are lost when the process ends, so its successor tries a refused login once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import aiosmtplib
from msgspec import Struct

from services.deliver.core.attempt.results import NoLogin, TransactionResult
from services.deliver.core.attempt.verdicts import wants_login
from services.deliver.core.routing.logins import Login, parse_logins
from services.deliver.core.routing.sites import Host
from services.deliver.edge.smtp.authentication import authenticate
from shared.runtime.reloaded_files import FileForm, ReloadedFile
from shared.runtime.telemetry import Metric
from shared.smtp.events import Finished, Stage
from shared.smtp.reply import Reply

log = logging.getLogger(__name__)

LOOK_S: Final = 5.0
MAX_BYTES: Final = 1_048_576
SETTING: Final = "deliver.logins_file"
REFUSED: Final = Metric(
    "sluice_deliver_logins_refused",
    "Smart hosts that do not let this process log in (`deliver.logins_file`); their mail is"
    " deferred, and the login is tried again at the latest after an hour.",
)
# The pause after a permanent refusal; each further refusal doubles it, up to LONGEST_PAUSE_S. The
# pause after any other fault is FAULT_PAUSE_S.
FIRST_PAUSE_S: Final = 300.0
LONGEST_PAUSE_S: Final = 3600.0
FAULT_PAUSE_S: Final = 60.0
# A login is paused after this many connections in a row without mail. A smaller number of failures
# may be due to one sender, or to a login that ended meanwhile.
MOST_IN_VAIN: Final = 3
# RFC 4954, 6. The server keeps the connection open, so we end it with QUIT.
LOGIN_REFUSED: Final = 535

_CHANGED: Final = f"the login in {SETTING} has changed meanwhile"
_FORM: Final = FileForm(SETTING, "logins at smart hosts", MAX_BYTES, parse_logins)


class LoginRefused(Exception):
    """A login did not work. `fault` is the result of the attempt to connect."""

    def __init__(self, fault: NoLogin) -> None:
        super().__init__(fault.reason)
        self.fault = fault


class _Refusal(Struct, frozen=True):
    """A login that did not work, with the reason, and the end of the pause."""

    login: Login
    fault: NoLogin
    pause_s: float
    until: float
    is_after_login: bool = False  # the server accepted the login but still required a login


class Logins:
    """The logins at all smart hosts. Only refresh() may be called in another thread."""

    def __init__(self, path: str = "") -> None:
        """If `path` is "", deliver logs in at no smart host.

        Raises UsageError if the file contains no usable logins.
        """
        self._file = ReloadedFile(path, _FORM) if path else None
        self._refusals: dict[Host, _Refusal] = {}
        self._worked: dict[Host, Login] = {}
        self._turns: dict[Host, asyncio.Lock] = {}
        # The login, and the number of connections in a row that used it and carried no mail.
        self._in_vain: dict[Host, tuple[Login, int]] = {}

    def of(self, host: Host) -> Login | None:
        """Return the login at this host, or None if the file has no login for the host."""
        return self._file.value.of(host) if self._file is not None else None

    def fault(self, host: Host, now: float) -> NoLogin | None:
        """Return why no connection to this host should be opened now; None if one may be opened."""
        return self._pause(host, self.of(host), now)

    def _pause(self, host: Host, login: Login | None, now: float) -> NoLogin | None:
        found = self._refusals.get(host)
        if found is None or found.until <= now or found.login != login:
            return None
        return NoLogin(found.fault.reason, found.until - now, found.fault.reply)

    @property
    def refused(self) -> int:
        """Return how many hosts refuse their login."""
        return len(self._refused())

    def status(self) -> str:
        """Return a note for /ready on the hosts that refuse their login."""
        return "; ".join(found.fault.reason for found in self._refused())

    def _refused(self) -> list[_Refusal]:
        found = list(self._refusals.items())
        return [refusal for host, refusal in found if refusal.login == self.of(host)]

    async def log_in(
        self, smtp: aiosmtplib.SMTP, host: Host, login: Login | None, limit_s: float
    ) -> None:
        """Log in with the login of this connection. If `login` is None, do nothing.

        The connection has the TLS that this login requires, so no other login is sent over this
        connection. Raises LoginRefused. Raises TimeoutError if other connections try the login for
        too long. Raises ConnectionError if the file now contains another login.
        """
        if login is None:
            return
        if self._worked.get(host) == login:
            await self._try(smtp, host, login, limit_s)
            return
        turn = self._turns.setdefault(host, asyncio.Lock())
        async with asyncio.timeout(limit_s):
            await turn.acquire()
        try:
            await self._try(smtp, host, login, limit_s)
        finally:
            turn.release()

    async def _try(self, smtp: aiosmtplib.SMTP, host: Host, login: Login, limit_s: float) -> None:
        loop = asyncio.get_running_loop()
        if login != self.of(host):
            raise ConnectionError(_CHANGED)
        if (known := self._pause(host, login, loop.time())) is not None:
            raise LoginRefused(known)
        try:
            reply = await authenticate(smtp, login, limit_s)
        except OSError as error:  # TimeoutError is an OSError
            reply = Reply(0, "", str(error) or "no reply to AUTH in time")
        if login != self.of(host):
            # The file changed while the server answered, so the answer is about the earlier login.
            if reply.is_positive:
                return
            raise ConnectionError(_CHANGED)
        if reply.is_positive:
            self._worked[host] = login
            known_one = self._refusals.get(host)
            if known_one is not None and not known_one.is_after_login:
                self._forget_refusal(host)
            return
        self._worked.pop(host, None)
        raise LoginRefused(self._remember(host, login, reply, loop.time()))

    def watch(self, host: Host, login: Login | None) -> Callable[[TransactionResult], None] | None:
        """Return the callback for the end of each transaction, or None if `login` is None."""
        return None if login is None else LoginWatch(self, host, login).ended

    def took_mail(self, host: Host, login: Login) -> None:
        """Record that a server answered a transaction without asking for a further login."""
        if login != self.of(host):
            return
        self._in_vain.pop(host, None)
        known_one = self._refusals.get(host)
        if known_one is not None and known_one.is_after_login and known_one.login == login:
            self._forget_refusal(host)

    def logged_in_vain(self, host: Host, login: Login, stage: Stage, reply: Reply) -> None:
        """Record that a server accepted the login but asked for a login in the next transaction."""
        if login != self.of(host):
            return
        counted_for, before = self._in_vain.get(host, (login, 0))
        count = before + 1 if counted_for == login else 1
        self._in_vain[host] = login, count
        if count < MOST_IN_VAIN:
            return
        said = f"the server took the login and answered {stage.value} with {_shown(reply)}"
        self._worked.pop(host, None)
        self._remember(
            host,
            login,
            Reply(reply.code, reply.enhanced, said),
            asyncio.get_running_loop().time(),
            is_after_login=True,
        )

    def _forget_refusal(self, host: Host) -> None:
        if self._refusals.pop(host, None) is not None:
            log.info("the smart host %s:%d accepts the login again", host.name, host.port)

    def _remember(
        self, host: Host, login: Login, reply: Reply, now: float, *, is_after_login: bool = False
    ) -> NoLogin:
        """Pause the login; a second refusal during the pause does not extend it."""
        if (paused := self._pause(host, login, now)) is not None:
            return paused
        before = self._refusals.get(host)
        is_new = before is None or before.login != login
        pause_s = FAULT_PAUSE_S
        if reply.is_permanent:
            last_s = 0.0 if before is None or is_new else before.pause_s
            pause_s = min(max(2 * last_s, FIRST_PAUSE_S), LONGEST_PAUSE_S)
        fault = NoLogin(f"{host.name}:{host.port}: {reply.text}", pause_s, _shown(reply))
        self._refusals[host] = _Refusal(login, fault, pause_s, now + pause_s, is_after_login)
        # The error is logged once per login; the metric shows that the refusal continues.
        log.log(
            logging.ERROR if is_new else logging.WARNING,
            "the smart host %s:%d does not let us log in as %s: %s; its mail is deferred, the next"
            " try is in %d s, or when %s has changed",
            host.name,
            host.port,
            login.user,
            reply.text,
            pause_s,
            SETTING,
        )
        return fault

    def refresh(self) -> None:
        """Load the file if it has changed. May be called in another thread."""
        if self._file is not None and self._file.refresh():
            log.info("logins at smart hosts reloaded", extra={"file": str(self._file.path)})


class LoginWatch:
    """Records whether a connection carries mail after it has logged in."""

    def __init__(self, logins: Logins, host: Host, login: Login) -> None:
        self._logins = logins
        self._host = host
        self._login = login
        self._is_known = False

    def ended(self, ending: TransactionResult) -> None:
        """Record that a transaction of the connection has ended."""
        if self._is_known or not isinstance(ending, Finished):
            return
        self._is_known = True
        if wants_login(ending.reply):
            self._logins.logged_in_vain(self._host, self._login, ending.stage, ending.reply)
        else:
            self._logins.took_mail(self._host, self._login)


def _shown(reply: Reply) -> str:
    return f"{reply.code} {reply.enhanced}".rstrip() if reply.code else ""
