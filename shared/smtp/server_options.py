"""How a server's session behaves, and what that means for the content it is sent. Pure."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from shared.smtp import refusals
from shared.smtp.content import decode_content, has_longer_line, has_only_crlf
from shared.smtp.extensions import Extensions
from shared.smtp.reply import Reply
from shared.smtp.server_auth import judge_mechanisms, no_nonce


class ServerOptions(Struct, frozen=True):
    """How a session behaves. Sizes in bytes; 0 means no limit for text lines.

    `auth_mechanisms` (of server_auth.MECHANISMS) are offered inside TLS only; SCRAM needs
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
    max_text_line_bytes: int = 0
    refuse_bare_line_ends: bool = True
    auth_mechanisms: tuple[str, ...] = ()
    requires_auth: bool = False
    is_secure: bool = False
    nonce: Callable[[], str] = no_nonce

    def __post_init__(self) -> None:
        judge_mechanisms(self.auth_mechanisms, self.nonce)

    def offered(self, is_secure: bool) -> Extensions:
        """What EHLO is told: the size limit, STARTTLS before TLS and AUTH inside it."""
        return replace(
            self.extensions,
            size_limit_bytes=self.max_content_bytes,
            starttls=self.extensions.starttls and not is_secure,
            auth=self.auth_mechanisms if is_secure else (),
        )


def read_content(
    stuffed: bytes, dropped_bytes: int, options: ServerOptions
) -> tuple[bytes, int, Reply | None]:
    """A message's content, its size and the refusal it must have.

    Of a message that was too large to be held, `dropped_bytes` are missing from `stuffed`.
    """
    if dropped_bytes:
        return b"", len(stuffed) + dropped_bytes, refusals.TOO_LARGE
    content = decode_content(stuffed)
    return content, len(content), _judge(content, options)


def _judge(content: bytes, options: ServerOptions) -> Reply | None:
    if len(content) > options.max_content_bytes:
        return refusals.TOO_LARGE
    if options.refuse_bare_line_ends and not has_only_crlf(content):
        return refusals.BARE
    longest = options.max_text_line_bytes
    return refusals.LONG_TEXT if longest and has_longer_line(content, longest) else None
