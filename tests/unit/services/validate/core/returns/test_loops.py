"""Which returned mail is not forwarded, so that nothing goes round for ever."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from services.validate.core.returns.loops import Loop, hop_of, loop_of
from services.validate.core.returns.meaning import header_of, senders
from shared.mail.verp import Keys, parse_keys
from tests.support.returned_mail import ANNA, KEYS, SHOP, letter, mail_id_of, to_return_path

OTHER_KEYS = parse_keys("1 2026-01-01 " + "77" * 32)
ROTATED = parse_keys("1 2026-01-01 " + "5c" * 32 + "\n2 2026-05-01 " + "77" * 32)
HOP = hop_of(KEYS, 20_700, mail_id_of(5))
FOREIGN = hop_of(OTHER_KEYS, 20_700, mail_id_of(5))
BACK = SHOP.forwarding_address


def loop(content: bytes, sender: str = "", keys: Keys | None = KEYS) -> Loop | None:
    fields = header_of(content)
    returned = replace(to_return_path(1), sender=sender)
    return loop_of(content, fields, senders(returned, fields), SHOP, keys)


@pytest.mark.parametrize(
    ("content", "sender", "found"),
    [
        (letter(ANNA, "x"), "", None),
        (letter(ANNA, "x", headers=f"In-Reply-To: <{HOP}@news.shop.example>\n"), "", Loop.OWN_HOP),
        (letter(ANNA, "x", headers=f"References: <a@b> <{HOP}@x>\n"), "", Loop.OWN_HOP),
        (letter(ANNA, "x", f"Message-ID: <{HOP}@x>"), "", Loop.OWN_HOP),
        (letter(ANNA, "x", f"X-Sluice-Hop: 1; {HOP}"), "", Loop.OWN_HOP),
        (letter(ANNA, "x", f"Message-ID: <{FOREIGN}@x>"), "", None),
        (letter(ANNA, "x", f"Message-ID: <{HOP}0@x>"), "", None),
        (letter(ANNA, "x", f"Message-ID: <{HOP.swapcase()}@x>"), "", None),
        (letter(ANNA, "x", headers=f"X-Sluice-Hop: 1; {FOREIGN}\n"), "", Loop.OTHER_HOP),
        (letter(ANNA, "x", headers="x-sluice-hop: 1\n"), "", Loop.OTHER_HOP),
        (letter(ANNA, "x", "X-Sluice-Hop: 1"), "", None),
        (letter(ANNA, "x"), BACK, Loop.FORWARDING_ADDRESS),
        (letter(ANNA, "x"), BACK.upper(), Loop.FORWARDING_ADDRESS),
        (letter(f"Desk <{BACK}>", "x"), "", Loop.FORWARDING_ADDRESS),
        (letter("other@owner.example", "x"), "", None),
    ],
)
def test_mail_that_could_go_round_is_not_forwarded(
    content: bytes, sender: str, found: Loop | None
) -> None:
    assert loop(content, sender) == found


def test_a_hop_stays_known_after_a_rotation_of_keys_and_without_keys_the_field_counts() -> None:
    content = letter(ANNA, "x", f"Message-ID: <{HOP}@x>")
    assert loop(content, keys=ROTATED) is Loop.OWN_HOP
    assert loop(content, keys=None) is None
    unsigned = hop_of(None, 20_700, mail_id_of(5))
    assert loop(letter(ANNA, "x", headers=f"X-Sluice-Hop: 1; {unsigned}\n"), keys=None)


def test_many_hops_that_are_not_ours_are_not_all_verified() -> None:
    forged = "\n".join(hop_of(OTHER_KEYS, 1, mail_id_of(each)) for each in range(200))
    assert loop(letter(ANNA, "x", f"{forged}\n{HOP}")) is None
