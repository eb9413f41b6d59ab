"""Which recipients the bounce door takes mail for, and what their records say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.core.bounce_door.recipients import (
    REPLIES,
    Accepted,
    Known,
    Refusal,
    judge_recipient,
    returned,
)
from services.ingest.core.front_door.policy import judge_sender
from shared.mail import verp
from shared.registry.client import Client
from shared.topics.records import ReturnAddressKind, Returned
from tests.support.bounce_door import CLIENT, DOMAIN, HOST, KEYS, MAIL_ID, RECIPIENT, local_part

TODAY = verp.parse_keys("1 2026-11-29 " + "00" * 16).signing(0).first_day
OTHER = Client("other", "xn--mller-kva.example", "back@other.example.org", "M-1")
CLIENTS = {each.sending_domain: each for each in (CLIENT, OTHER)}
KNOWN = Known(CLIENTS.get, KEYS, TODAY, 60, HOST, OTHER)
WITHOUT_KEYS = Known(CLIENTS.get, None, TODAY, 60, HOST)
LOCAL = local_part(TODAY)
RETURN_PATH, FROM = ReturnAddressKind.RETURN_PATH, ReturnAddressKind.FROM


@pytest.mark.parametrize(
    ("address", "client", "normal", "kind"),
    [
        (f"{LOCAL}@{DOMAIN}", CLIENT, f"{LOCAL}@{DOMAIN}", RETURN_PATH),
        (f"{LOCAL.upper()}@{DOMAIN.upper()}", CLIENT, f"{LOCAL}@{DOMAIN}", RETURN_PATH),
        (f'"{LOCAL}"@{DOMAIN}', CLIENT, f"{LOCAL}@{DOMAIN}", RETURN_PATH),
        (f"{local_part(TODAY - 60)}@{DOMAIN}", CLIENT, "", RETURN_PATH),
        (f"{local_part(TODAY + 3)}@{DOMAIN}", CLIENT, "", RETURN_PATH),
        (f"News@{DOMAIN}", CLIENT, f"News@{DOMAIN}", FROM),
        (f"news+tag@{DOMAIN}", CLIENT, f"news+tag@{DOMAIN}", FROM),
        (f'"odd one"@{DOMAIN}', CLIENT, f'"odd one"@{DOMAIN}', FROM),
        (f"rp-news@{DOMAIN}", CLIENT, f"rp-news@{DOMAIN}", FROM),
        (f"jörg@{DOMAIN}", CLIENT, f"jörg@{DOMAIN}", FROM),
        ("news@Müller.example", OTHER, "news@xn--mller-kva.example", FROM),
        (f"POSTmaster@{DOMAIN}", CLIENT, "", ReturnAddressKind.POSTMASTER),
        (f"abuse@{DOMAIN}", CLIENT, "", ReturnAddressKind.ABUSE),
        ("Postmaster", OTHER, f"postmaster@{HOST}", ReturnAddressKind.POSTMASTER),
        (f"postmaster@{HOST.upper()}", OTHER, f"postmaster@{HOST}", ReturnAddressKind.POSTMASTER),
        (f"abuse@{HOST}", OTHER, f"abuse@{HOST}", ReturnAddressKind.ABUSE),
    ],
)
def test_a_recipient_is_taken(
    address: str, client: Client, normal: str, kind: ReturnAddressKind
) -> None:
    found = judge_recipient(address, KNOWN)
    assert isinstance(found, Accepted)
    assert (found.client.name, found.kind) == (client.name, kind)
    assert found.address == (normal or address)


@pytest.mark.parametrize(
    ("address", "refusal"),
    [
        (f"rp=@{DOMAIN}", Refusal.FORGED),
        (f"rp=news@{DOMAIN}", Refusal.FORGED),
        (f"RP={'0' * 61}@{DOMAIN}", Refusal.FORGED),
        (f'"rp=news"@{DOMAIN}', Refusal.FORGED),
        (f"{LOCAL}@{OTHER.sending_domain}", Refusal.FORGED),  # signed for another client
        (f"{local_part(TODAY - 61)}@{DOMAIN}", Refusal.EXPIRED),
        (f"{LOCAL}@sub.{DOMAIN}", Refusal.RELAYING),
        (f"{LOCAL}@elsewhere.example", Refusal.RELAYING),
        ("max@r.example.net", Refusal.RELAYING),
        (f"news@{HOST}", Refusal.RELAYING),
        (f"max%r.example@{HOST}", Refusal.RELAYING),
        (f"postmaster@[192.0.2.1]{HOST}", Refusal.RELAYING),
        ("news", Refusal.RELAYING),
        ("", Refusal.RELAYING),
        (f"a..b@{DOMAIN}", Refusal.SYNTAX),
        (f"{'x' * 65}@{DOMAIN}", Refusal.SYNTAX),
        (f"@{DOMAIN}", Refusal.SYNTAX),
    ],
)
def test_a_recipient_is_refused_for_good(address: str, refusal: Refusal) -> None:
    assert judge_recipient(address, KNOWN) is refusal
    assert REPLIES[refusal].code == 550


@pytest.mark.parametrize("address", ["postmaster", f"abuse@{HOST}"])
def test_the_doors_own_postmaster_is_refused_if_no_client_has_its_mail(address: str) -> None:
    assert judge_recipient(address, WITHOUT_KEYS) is Refusal.POSTMASTER


def test_without_keys_no_return_path_is_taken_and_other_addresses_are() -> None:
    assert judge_recipient(f"{LOCAL}@{DOMAIN}", WITHOUT_KEYS) is Refusal.FORGED
    assert isinstance(judge_recipient(f"news@{DOMAIN}", WITHOUT_KEYS), Accepted)


def test_the_record_says_what_the_return_path_carries() -> None:
    accepted = judge_recipient(f"{LOCAL.upper()}@{DOMAIN}", KNOWN)
    assert isinstance(accepted, Accepted)
    assert returned(accepted, "R1", "", 5, "192.0.2.1") == Returned(
        return_id="R1",
        client=CLIENT.name,
        recipient=f"{LOCAL}@{DOMAIN}",
        sender="",
        received_at_ms=5,
        address_kind=RETURN_PATH,
        peer="192.0.2.1",
        mailing_id="spring-mailing",
        sub_client="shop",
        mail_id=MAIL_ID,
        recipient_hash=verp.recipient_hash(MAIL_ID, RECIPIENT),
    )


def test_the_mail_id_is_known_though_the_code_of_the_mailing_was_removed() -> None:
    bare = Client(CLIENT.name, DOMAIN, "back@returns.example.org", "returns-mailing")
    known = Known({DOMAIN: bare}.get, KEYS, TODAY, 60)
    accepted = judge_recipient(f"{LOCAL}@{DOMAIN}", known)
    assert isinstance(accepted, Accepted)
    record = returned(accepted, "R1", "", 5, "")
    assert (record.mailing_id, record.sub_client, record.mail_id) == ("", "", MAIL_ID)


def test_the_record_of_another_address_has_nothing_of_a_return_path() -> None:
    accepted = judge_recipient(f"News@{DOMAIN}", KNOWN)
    assert isinstance(accepted, Accepted)
    record = returned(accepted, "R1", "max@r.example", 5, "192.0.2.1")
    assert record == Returned(
        "R1", CLIENT.name, f"News@{DOMAIN}", "max@r.example", 5, FROM, "192.0.2.1"
    )


@given(st.text(max_size=80), st.sampled_from([DOMAIN, "", HOST, "r.example.net"]))
def test_nothing_is_taken_for_a_domain_that_is_not_a_clients(local: str, domain: str) -> None:
    found = judge_recipient(f"{local}@{domain}" if domain else local, KNOWN)
    if isinstance(found, Accepted):
        at_sending_domain = found.address.endswith(f"@{found.client.sending_domain}")
        assert at_sending_domain or found.address in (f"postmaster@{HOST}", f"abuse@{HOST}")
        assert found.kind is not RETURN_PATH


@given(st.integers(0, len(LOCAL) - 1), st.sampled_from("0123456789abcdefghijklmnopqrstuv"))
def test_a_return_path_with_a_changed_character_is_never_taken_as_one(at: int, letter: str) -> None:
    changed = LOCAL[:at] + letter + LOCAL[at + 1 :]
    found = judge_recipient(f"{changed}@{DOMAIN}", KNOWN)
    if changed != LOCAL and verp.is_return_path(changed):
        assert found in (Refusal.FORGED, Refusal.EXPIRED)


@given(st.text(max_size=30), st.sampled_from([DOMAIN, "r.example.net", OTHER.sending_domain]))
def test_neither_door_takes_what_belongs_to_the_other(local: str, domain: str) -> None:
    """A submission names a sender of the client; returned mail names a recipient of it."""
    address = f"{local}@{domain}"
    is_submitted = judge_sender(CLIENT, address) is None
    is_returned = isinstance(judge_recipient(address, KNOWN), Accepted)
    if domain == "r.example.net":
        assert not is_submitted
        assert not is_returned
    assert judge_sender(CLIENT, "") is not None, "a bounce has the null sender"
