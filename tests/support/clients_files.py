"""Two clients, and files that describe them."""

from __future__ import annotations

import pytest
import yaml

from shared.registry.client import Client
from shared.registry.file.clients_file import parse_clients_yaml
from shared.registry.file.yaml_tree import RegistryError

ACME = Client("acme", "news.acme.example", "returns@acme.example", "M-1")
BETA = Client("beta", "mail.beta.example", "returns@beta.example", "M-2")
GOOD = {
    "name": "acme",
    "sending_domain": "news.acme.example",
    "forwarding_address": "returns@acme.example",
    "mailing_id": "M-1",
}


def parse_one(**fields: object) -> Client:
    (client,) = parse_clients_yaml(yaml.safe_dump({"clients": [{**GOOD, **fields}]}))
    return client


def faults_in(text: str) -> dict[str, str]:
    with pytest.raises(RegistryError) as caught:
        parse_clients_yaml(text)
    return {fault.path: str(fault) for fault in caught.value.faults}
