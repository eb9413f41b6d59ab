"""Which TLS sessions are kept, and for how long."""

import ssl
import weakref
from typing import Any, cast

from services.deliver.edge.smtp.server_memory import (
    MAX_AGE_S,
    MAX_SESSIONS,
    SessionKey,
    TlsSessions,
)

KEY = SessionKey("mx.example", 25, "192.0.2.1", "", "opportunistic")
CONTEXT, OTHER = (ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) for _ in range(2))


class Session:
    has_ticket = True
    id = b""

    def __init__(self, lifetime_s: int = 0) -> None:
        self.ticket_lifetime_hint = lifetime_s


class Peer:
    """What is asked of an SSLObject."""

    def __init__(self, session: Any, context: ssl.SSLContext, *, is_reused: bool) -> None:
        self.session = session
        self.context = context
        self.session_reused = is_reused


def peer(
    session: Any, context: ssl.SSLContext = CONTEXT, *, is_reused: bool = False
) -> ssl.SSLObject:
    return cast(ssl.SSLObject, Peer(session, context, is_reused=is_reused))


def test_a_session_is_found_by_its_key_with_its_context_only() -> None:
    sessions, session = TlsSessions(), cast(Any, Session())
    sessions.keep(KEY, peer(session), 0.0)
    assert sessions.find(KEY, CONTEXT, 1.0) is session
    assert sessions.find(KEY, OTHER, 1.0) is None
    sessions.forget(KEY)
    assert sessions.find(KEY, CONTEXT, 1.0) is None


def test_resuming_does_not_make_the_check_of_the_certificate_younger() -> None:
    sessions, again = TlsSessions(), cast(Any, Session())
    sessions.keep(KEY, peer(Session()), 0.0)
    sessions.keep(KEY, peer(again, is_reused=True), MAX_AGE_S - 1)
    assert sessions.find(KEY, CONTEXT, MAX_AGE_S - 0.5) is again
    assert sessions.find(KEY, CONTEXT, MAX_AGE_S) is None


def test_a_session_is_found_for_as_long_as_its_ticket_is_valid() -> None:
    sessions, again = TlsSessions(), Session(1_000)
    sessions.keep(KEY, peer(Session(600)), 0.0)
    assert sessions.find(KEY, CONTEXT, 599.0) is not None
    sessions.keep(KEY, peer(again, is_reused=True), 599.0)
    assert sessions.find(KEY, CONTEXT, 600.0) is None
    sessions.keep(KEY, peer(Session(100_000)), 1_000.0)
    assert sessions.find(KEY, CONTEXT, 1_000.0 + MAX_AGE_S) is None


def test_a_session_that_is_too_old_is_not_held_in_memory() -> None:
    sessions = TlsSessions()
    old = [Session(600) for _ in range(3)]
    watched = [weakref.ref(each) for each in old]
    for port, session in enumerate(old):
        sessions.keep(SessionKey("mx.example", port, "", "", ""), peer(session), 0.0)
    del session
    old.clear()
    # Another session makes the memory look for old ones.
    sessions.keep(KEY, peer(Session()), 599.0)
    assert [each() is None for each in watched] == [False] * 3
    sessions.keep(KEY, peer(Session()), 600.0)
    assert [each() is None for each in watched] == [True] * 3


def test_a_resumed_session_whose_handshake_is_forgotten_is_not_kept() -> None:
    sessions = TlsSessions()
    sessions.keep(KEY, peer(Session(), is_reused=True), 0.0)
    assert sessions.find(KEY, CONTEXT, 0.0) is None


def test_a_session_that_cannot_be_resumed_is_not_kept() -> None:
    sessions, session = TlsSessions(), cast(Any, Session())
    session.has_ticket = False
    sessions.keep(KEY, peer(session), 0.0)
    sessions.keep(KEY, peer(None), 0.0)
    assert sessions.find(KEY, CONTEXT, 0.0) is None


def test_the_oldest_sessions_are_forgotten_first() -> None:
    sessions = TlsSessions()
    keys = [SessionKey("mx.example", port, "", "", "") for port in range(MAX_SESSIONS + 1)]
    for key in keys:
        sessions.keep(key, peer(Session()), 0.0)
    assert sessions.find(keys[0], CONTEXT, 0.0) is None
    assert sessions.find(keys[1], CONTEXT, 0.0) is not None
