"""What returned mail means, from its bytes to its event. Pure.

Owns: the order of the steps: what it says (shared/responses), whose message it is about
(owners.py), which message that is (identity.py), whom it counts against (meaning.py).
Guarantees: total for any bytes; bounded work, as each step says.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from services.validate.core.returns.identity import Verification, identify
from services.validate.core.returns.meaning import Meaning, Quoted, meaning_of
from services.validate.core.returns.owners import Owners, other_owner
from services.validate.core.returns.tokens import is_complaint, quoted_header, read_tokens
from shared.registry.client import Client
from shared.responses.mime.parts import Fields, read_message
from shared.responses.reading import understand_message
from shared.responses.rules.model import Rules
from shared.responses.understood import Understood
from shared.topics.records import Returned


class Judged(Struct, frozen=True):
    """The meaning of returned mail.

    `returned` and `client` are those of the client that it concerns: of a complaint the one whose
    message it is about. `is_proved`: it is known which message that is. `fields`: its own header.
    """

    returned: Returned
    client: Client | None
    fields: Fields
    understood: Understood
    meaning: Meaning
    is_proved: bool


def judge_returned(
    returned: Returned,
    content: bytes,
    client: Client | None,
    by: Verification | None,
    *,
    rules: Rules,
    clients: Owners,
) -> Judged:
    """Judge a message that came back to an address of `client`; `by` None: nothing is proved."""
    message = read_message(content)
    understood = understand_message(message, rules, not returned.sender)
    header = quoted_header(message, understood, rules)
    tokens = read_tokens(returned, message, header, understood, by)
    if is_complaint(understood):
        other = other_owner(returned, content, tokens, by, clients)
        if other is not None:
            client, returned = other, replace(returned, client=other.name)
    tokens = [each for each in tokens if each.client == returned.client]
    identity = identify(returned, content, client, by, tokens)
    meaning = meaning_of(returned, content, understood, identity, Quoted(header, tokens))
    return Judged(
        returned, client, message.fields, understood, meaning, is_proved=identity is not None
    )
