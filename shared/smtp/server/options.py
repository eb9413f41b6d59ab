"""The options of ServerSession. Values only."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from shared.smtp.extensions import Extensions
from shared.smtp.server.auth import judge_mechanisms, no_nonce


class ServerOptions(Struct, frozen=True):
    """The behaviour of a session. Sizes in bytes; 0 means no limit for text lines, idle commands.

    `max_errors`: refused commands without an accepted message between them; `max_idle_commands`:
    NOOP, RSET, EHLO and similar commands without a message between them.

    `counts_refusals`: a recipient that the policy refuses for good (5yz) is an error too.

    `auth_mechanisms` (of auth.MECHANISMS) are offered only inside TLS; SCRAM needs
    `nonce`, a source of printable nonces. `is_secure`: TLS was begun before the greeting.
    """

    host: str
    extensions: Extensions = Extensions(
        pipelining=True,
        size=True,
        eight_bit_mime=True,
        smtputf8=True,
        enhanced_status_codes=True,
    )
    max_content_bytes: int = 307_200
    max_recipients: int = 100
    max_errors: int = 20
    max_idle_commands: int = 100
    max_text_line_bytes: int = 0
    refuse_bare_line_ends: bool = True
    refuse_nul: bool = True
    counts_refusals: bool = False
    auth_mechanisms: tuple[str, ...] = ()
    requires_auth: bool = False
    is_secure: bool = False
    nonce: Callable[[], str] = no_nonce

    def __post_init__(self) -> None:
        judge_mechanisms(self.auth_mechanisms, self.nonce)

    def offered(self, is_secure: bool) -> Extensions:
        """Return the extensions for EHLO: with the size limit, STARTTLS before TLS, AUTH inside."""
        return replace(
            self.extensions,
            size_limit_bytes=self.max_content_bytes,
            starttls=self.extensions.starttls and not is_secure,
            auth=self.auth_mechanisms if is_secure else (),
        )
