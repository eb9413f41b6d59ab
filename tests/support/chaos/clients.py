"""The clients of a run of the chaos tests, as they are registered."""

from __future__ import annotations

from shared.registry.client import Client, Code
from shared.registry.credentials import Credential
from tests.support.chaos import mixture


def clients_of(run: str, credentials: tuple[Credential, ...]) -> tuple[Client, ...]:
    """Return the clients of the senders in the mixture of this run."""
    senders = mixture.senders(run)
    found = []
    for name in sorted({sender.client for sender in senders}):
        mine = [sender for sender in senders if sender.client == name]
        standard = next(sender for sender in mine if not sender.code)
        found.append(
            Client(
                name=name,
                sending_domain=standard.domain,
                forwarding_address=f"back@{name}.example.org",
                mailing_id=standard.mailing_id,
                codes={
                    sender.code: Code(sender.mailing_id, sender.sub_client)
                    for sender in mine
                    if sender.code
                },
                block_list=(mixture.BLOCKED_PATTERN,),
                credentials=credentials,
            )
        )
    return tuple(found)
