"""Composes what prepares and signs outgoing mail, from the settings."""

from __future__ import annotations

from services.deliver.core.header.adding import MarketingFields
from services.deliver.core.signing.dkim import BodyForm
from services.deliver.edge.signing.key_follower import KeyFollower
from services.deliver.edge.signing.preparing import EightBit, FormSender, PreparingSender
from services.deliver.edge.signing.signer import Signer
from services.deliver.settings import DeliverSettings
from shared.runtime.clock import Clock


def load_keys(deliver: DeliverSettings) -> KeyFollower | None:
    """The DKIM keys of the settings, None where none are named; raises UsageError."""
    if not deliver.dkim_key_file and not deliver.dkim_keys:
        return None
    return KeyFollower(deliver.dkim_keys, deliver.dkim_key_file, deliver.dkim_selector)


def make_signer(deliver: DeliverSettings, keys: KeyFollower | None, clock: Clock) -> Signer | None:
    """The signer with these keys; None: mail is not signed."""
    return Signer(keys, clock, BodyForm(deliver.dkim_body)) if keys is not None else None


def make_preparing(
    deliver: DeliverSettings, sender: FormSender, keys: KeyFollower | None, clock: Clock
) -> PreparingSender:
    """Return the function that prepares the messages for `sender`."""
    return PreparingSender(
        sender,
        make_signer(deliver, keys, clock),
        EightBit(deliver.eight_bit),
        code_header=deliver.code_header,
        marketing=MarketingFields(deliver.unsubscribe_url, deliver.feedback_sender),
        has_token=deliver.recipient_token,
    )
