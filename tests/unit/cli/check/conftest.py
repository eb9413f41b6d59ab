"""Fixtures of the tests of `sluice check`."""

from __future__ import annotations

import pytest
import yaml

from tests.messages import clients


@pytest.fixture(scope="package")
def registry(tmp_path_factory: pytest.TempPathFactory) -> str:
    rows = [
        {
            "name": client.name,
            "sending_domain": client.sending_domain,
            "forwarding_address": "back@office.example",
            "mailing_id": client.mailing_id,
            "codes": {
                code: {"mailing_id": row.mailing_id, "sub_client": row.sub_client}
                for code, row in client.codes.items()
            },
        }
        for client in clients().values()
    ]
    path = tmp_path_factory.mktemp("check") / "clients.yaml"
    path.write_text(yaml.safe_dump({"clients": rows}))
    return str(path)
