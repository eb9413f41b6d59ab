"""How long a member has been without a confirmation of its place in the group."""

from __future__ import annotations

from typing import Any

from shared.stream.kafka_python.membership import Membership

SESSION_S = 10.0


class Coordinator:
    """The methods of kafka-python's coordinator that a Membership attaches to."""

    def reset_generation(self, member_id: str = "") -> None:
        pass

    def _handle_heartbeat_response(self, response: Any, send_time: float) -> Any:
        return response

    def _process_sync_group_response(self, response: Any, send_time: float) -> Any:
        return response

    async def _on_join_complete_async(self, *_: Any) -> None:
        pass


class Consumer:
    def __init__(self) -> None:
        self._coordinator: Any = Coordinator()
        self._subscription = None


def test_a_lease_lasts_a_session_from_the_last_confirmation_and_what_lies_beyond_is_counted() -> (
    None
):
    now = [100.0]
    consumer = Consumer()
    membership = Membership(consumer, SESSION_S, lambda: now[0])
    assert not membership.has_lease()
    assert membership.unconfirmed_s() == 0
    now[0] = 145.0
    assert membership.unconfirmed_s() == 35.0, "it never joined"
    consumer._coordinator._handle_heartbeat_response("ok", 144.0)
    assert membership.has_lease()
    assert membership.unconfirmed_s() == 0
    now[0] = 160.0
    assert not membership.has_lease()
    assert membership.unconfirmed_s() == 6.0
