"""The events of sessions: the server's for a policy, the client's for a pool.

Owns: only their shapes. Each server event except Ended waits for exactly one answer.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from shared.smtp.reply import Reply


class Hello(Struct, frozen=True):
    """EHLO, or HELO if not `is_extended`. The text of a positive answer is not used."""

    name: str
    is_extended: bool


class Mail(Struct, frozen=True):
    """A sender; "" is the null sender. `size_bytes` is 0 if it was not declared."""

    sender: str
    size_bytes: int
    is_eight_bit: bool
    is_smtputf8: bool


class Recipient(Struct, frozen=True):
    """One more recipient of the open transaction; `taken` were accepted so far."""

    sender: str
    address: str
    taken: int


class Data(Struct, frozen=True):
    """The client wants to send the content; 354 allows it."""

    sender: str
    recipients: tuple[str, ...]


class Content(Struct, frozen=True):
    """A complete message, with dots unstuffed.

    If `refusal` is set, the content must not be accepted: it is empty because it was too large,
    or it breaks the line rules. Then the answer must not be positive.
    """

    sender: str
    recipients: tuple[str, ...]
    content: bytes
    size_bytes: int
    refusal: Reply | None = None


class StartTls(Struct, frozen=True):
    """The client wants TLS. After a positive answer: write it, do the handshake, tls_started()."""


class Login(Struct, frozen=True):
    """PLAIN or LOGIN has sent a name and a password. 235 accepts the login, or it is refused."""

    username: str
    password: str

    def __repr__(self) -> str:
        return f"Login(username={self.username!r})"  # a password must not appear in logs


class ScramStart(Struct, frozen=True):
    """SCRAM needs the salt of this name: answer with answer_scram(), or a refusal."""

    username: str


class ScramFinish(Struct, frozen=True):
    """SCRAM is complete: `key_index` is the key that matches the proof; None: the proof is wrong.

    235 accepts the login, or it is refused; a wrong proof can only be refused.
    """

    username: str
    key_index: int | None


class Ended(Struct, frozen=True):
    """There are no more commands: send the output and close. `reason` is for the log."""

    reason: str


LoginEvent = Login | ScramStart | ScramFinish
ServerEvent = Hello | Mail | Recipient | Data | Content | StartTls | LoginEvent | Ended


class Stage(StrEnum):
    """The step of the client that a reply answers."""

    CONNECT = "connect"
    EHLO = "ehlo"
    RSET = "rset"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    CONTENT = "content"
    QUIT = "quit"


class Send(Struct, frozen=True):
    """Write these bytes now. `is_content`: they are the whole content of the message."""

    data: bytes
    is_content: bool


class Finished(Struct, frozen=True):
    """The transaction is over. `reply` decided it, and answered `stage`.

    The message is accepted only if `stage` is CONTENT and the reply is positive.
    """

    stage: Stage
    reply: Reply


ClientEvent = Send | Finished
