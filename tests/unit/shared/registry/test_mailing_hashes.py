"""The hashes by which return paths name mailings: one client's must differ."""

from __future__ import annotations

import yaml
from msgspec.structs import replace

from shared.mail.verp import mailing_hash
from shared.registry.client import Code
from tests.support.clients_files import ACME, GOOD, faults_in

# The hashes of these two mailings, with the sub-client `shop`, are the same.
TWINS = ("M-565818", "M-1033535")


def test_two_mailings_that_a_bounce_could_not_tell_apart_are_refused() -> None:
    codes = {
        "a": {"mailing_id": TWINS[0], "sub_client": "shop"},
        "b": {"mailing_id": TWINS[1], "sub_client": "shop"},
        "c": {"mailing_id": TWINS[1], "sub_client": "other"},
        "d": {"mailing_id": TWINS[0], "sub_client": "shop"},
    }
    faults = faults_in(yaml.safe_dump({"clients": [{**GOOD, "codes": codes}]}))
    assert list(faults) == ["clients[0].codes.b"]
    assert "bounces could not tell it from M-565818 with shop" in faults["clients[0].codes.b"]


def test_a_return_path_names_the_standard_mailing_and_those_of_all_codes() -> None:
    client = replace(ACME, codes={"a": Code("M-7", "shop"), "b": Code("M-8", "shop", active=False)})
    found = {(code.mailing_id, code.sub_client) for code in client.mailings.values()}
    assert found == {("M-1", ""), ("M-7", "shop"), ("M-8", "shop")}
    assert client.mailings[mailing_hash("M-8", "shop")].mailing_id == "M-8"
