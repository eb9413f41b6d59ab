"""Which refused and suppressed messages go back to their client."""

from __future__ import annotations

import pytest

from services.validate.core.batch import returned_of
from shared.registry.client import Client, Returns
from shared.topics import ids
from shared.topics.records import (
    Envelope,
    EventType,
    Facts,
    MailEvent,
    Message,
    Origin,
    ReturnAddressKind,
)

MAIL_ID = ids.derive("mail.intake.shop", 0, 1, 7)
ENVELOPE = Envelope(MAIL_ID, "shop", "a@n.example", "b@r.example", "", 0, Origin(), Facts())
MESSAGE = Message(ENVELOPE, b"Subject: x\r\n\r\n")
EVENT = MailEvent("shop", "spring", "north", "b@r.example", at_ms=7, enhanced="5.7.1", reason="why")


@pytest.mark.parametrize(
    ("kind", "wanted", "address_kind"),
    [
        (EventType.REFUSED, Returns.REFUSED, ReturnAddressKind.REFUSED),
        (EventType.SUPPRESSED, Returns.SUPPRESSED, ReturnAddressKind.SUPPRESSED),
        (EventType.CANCELLED, None, None),
    ],
)
def test_a_message_goes_back_if_the_client_wants_that(
    kind: EventType, wanted: Returns | None, address_kind: ReturnAddressKind | None
) -> None:
    for returns in ((), (Returns.BOUNCES,), (Returns.REFUSED,), tuple(Returns)):
        client = Client("shop", "n.example", "back@o.example", "m", returns=returns)
        found = returned_of(kind, MESSAGE, EVENT, client)
        assert (found is not None) is (wanted in returns)
        if found is not None:
            assert found.address_kind is address_kind
            assert (found.mail_id, found.mailing_id, found.sub_client) == (
                MAIL_ID,
                "spring",
                "north",
            )
            assert (found.reason, found.status, found.recipient) == ("why", "5.7.1", "b@r.example")
            assert found.return_id != MAIL_ID
            assert found == returned_of(kind, MESSAGE, EVENT, client)


def test_nobody_gets_back_what_an_unknown_client_submitted() -> None:
    assert returned_of(EventType.REFUSED, MESSAGE, EVENT, None) is None
