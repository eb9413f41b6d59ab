"""Defines the events of sessions. A policy handles server events, and a pool handles client events.

Each server event except Ended must be answered exactly once.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from shared.smtp.reply import Reply


class Hello(Struct, frozen=True):
    """The client has sent EHLO, or HELO if `is_extended` is False.

    The text of a positive answer is not used.
    """

    name: str
    is_extended: bool


class Mail(Struct, frozen=True):
    """The client has sent MAIL.

    The null sender is "". If MAIL has no SIZE, `size_bytes` is 0.
    """

    sender: str
    size_bytes: int
    is_eight_bit: bool
    is_smtputf8: bool


class Recipient(Struct, frozen=True):
    """The client has sent RCPT. `taken` is the number of recipients that were already accepted."""

    sender: str
    address: str
    taken: int


class Data(Struct, frozen=True):
    """The client has sent DATA. The answer 354 allows the client to send the content."""

    sender: str
    recipients: tuple[str, ...]


class Content(Struct, frozen=True):
    """The client has sent a complete message. Stuffed dots have been removed.

    If `refusal` is set, the answer must not be positive. In this case, the message violates the
    rules for lines, or it was too large and `content` is empty.
    """

    sender: str
    recipients: tuple[str, ...]
    content: bytes
    size_bytes: int
    refusal: Reply | None = None


class StartTls(Struct, frozen=True):
    """The client wants TLS. Write a positive answer, perform the handshake, and then call
    tls_started()."""


class Login(Struct, frozen=True):
    """The client has sent a name and a password by PLAIN or LOGIN. The answer must be 235 or a
    refusal."""

    username: str
    password: str

    def __repr__(self) -> str:
        return f"Login(username={self.username!r})"  # A password must not appear in logs.


class ScramStart(Struct, frozen=True):
    """SCRAM needs the salt for this name. The answer must be answer_scram() or a refusal."""

    username: str


class ScramFinish(Struct, frozen=True):
    """The SCRAM exchange is complete. `key_index` is the index of the key that matches the proof,
    or None.

    If `key_index` is None, the proof is wrong, and the answer must be a refusal. Otherwise, the
    answer must be 235 or a refusal.
    """

    username: str
    key_index: int | None


class Ended(Struct, frozen=True):
    """The session has ended. Send the output and close the connection. `reason` is for the log."""

    reason: str


LoginEvent = Login | ScramStart | ScramFinish
ServerEvent = Hello | Mail | Recipient | Data | Content | StartTls | LoginEvent | Ended


class Stage(StrEnum):
    """The step of the client to which a reply belongs."""

    CONNECT = "connect"
    EHLO = "ehlo"
    RSET = "rset"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    CONTENT = "content"
    QUIT = "quit"


class Send(Struct, frozen=True):
    """Bytes to write now. If `is_content` is True, they are the whole content of the message."""

    data: bytes
    is_content: bool


class Finished(Struct, frozen=True):
    """The transaction has ended because of `reply`. `stage` is the step that `reply` answers.

    The message is accepted only if `stage` is CONTENT and the reply is positive.
    """

    stage: Stage
    reply: Reply


ClientEvent = Send | Finished
