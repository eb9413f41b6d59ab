"""What the sessions tell their users: the server's events to a policy, the client's to a pool.

Owns: the shapes only. Each of the server's events but Ended waits for exactly one answer.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from shared.smtp.reply import Reply


class Hello(Struct, frozen=True):
    """EHLO, or HELO where not `is_extended`. A positive answer's text is not used."""

    name: str
    is_extended: bool


class Mail(Struct, frozen=True):
    """A sender; "" is the null sender. `size_bytes` is 0 where it was not declared."""

    sender: str
    size_bytes: int
    is_eight_bit: bool
    is_smtputf8: bool


class Recipient(Struct, frozen=True):
    """One more recipient of the open transaction; `taken` is how many were accepted so far."""

    sender: str
    address: str
    taken: int


class Data(Struct, frozen=True):
    """The client wants to send the content; 354 lets it."""

    sender: str
    recipients: tuple[str, ...]


class Content(Struct, frozen=True):
    """A whole message, dots unstuffed.

    Where `refusal` is set the content must not be taken: it is empty because it was too large,
    or it breaks the line rules. Only an answer that is not positive is possible then.
    """

    sender: str
    recipients: tuple[str, ...]
    content: bytes
    size_bytes: int
    refusal: Reply | None = None


class StartTls(Struct, frozen=True):
    """The client wants TLS. After a positive answer: write it, shake hands, tls_started()."""


class Login(Struct, frozen=True):
    """PLAIN or LOGIN has brought a name and a password. 235 lets in, a refusal does not."""

    username: str
    password: str

    def __repr__(self) -> str:
        return f"Login(username={self.username!r})"  # a password belongs in no log


class ScramStart(Struct, frozen=True):
    """SCRAM asks for the salt of this name: answered with answer_scram(), or a refusal."""

    username: str


class ScramFinish(Struct, frozen=True):
    """SCRAM is through: `key_index` says which key the proof is right for, None is wrong.

    235 lets in, a refusal does not; a wrong proof can only be refused.
    """

    username: str
    key_index: int | None


class Ended(Struct, frozen=True):
    """No more commands: send the output and close. `reason` is for the log."""

    reason: str


LoginEvent = Login | ScramStart | ScramFinish
ServerEvent = Hello | Mail | Recipient | Data | Content | StartTls | LoginEvent | Ended


class Stage(StrEnum):
    """Which of the client's steps a reply answers."""

    CONNECT = "connect"
    EHLO = "ehlo"
    RSET = "rset"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    CONTENT = "content"
    QUIT = "quit"


class Send(Struct, frozen=True):
    """Write these bytes now. `is_content`: with them the message is sent to its end."""

    data: bytes
    is_content: bool


class Finished(Struct, frozen=True):
    """The transaction is over. `reply` decided it, and answered `stage`.

    Accepted only where `stage` is CONTENT and the reply positive.
    """

    stage: Stage
    reply: Reply


ClientEvent = Send | Finished
