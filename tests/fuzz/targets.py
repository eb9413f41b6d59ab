"""The targets of `python -m tests.fuzz` by name."""

from __future__ import annotations

from random import Random
from typing import Final

from tests.fuzz import mail_grammar, talk_grammar
from tests.fuzz.client_target import check_answers
from tests.fuzz.engine import Target
from tests.fuzz.mail_targets import check_address, check_message
from tests.fuzz.record_target import check_record
from tests.fuzz.server_target import check_session


def _address(random: Random) -> bytes:
    return mail_grammar.mailbox(random).encode("utf-8", "surrogatepass")


TARGETS: Final = {
    target.name: target
    for target in (
        Target("headers", mail_grammar.message, check_message),
        Target("addresses", _address, check_address),
        Target("sessions", talk_grammar.session, check_session),
        Target("answers", talk_grammar.replies, check_answers),
        Target("records", talk_grammar.record, check_record),
    )
}
