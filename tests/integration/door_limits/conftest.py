"""The front doors of the tests of limits: one with few places, one that waits for nobody."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from tests.support.front_door import register, running_door
from tests.support.limited_door import (
    CLIENT,
    IDLE_S,
    MESSAGES_A_MINUTE,
    MOST_OF_CLIENT,
    NEW_A_MINUTE,
    RATED,
    SLOW,
    Limited,
)


@pytest.fixture(scope="package")
def limited(kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Limited]:
    clients = register(kafka_bootstrap, CLIENT, replace(CLIENT, name=RATED))
    with running_door(
        kafka_bootstrap,
        tmp_path_factory.mktemp("limited"),
        smtp_max_connections_per_client=str(MOST_OF_CLIENT),
        smtp_messages_per_minute=str(MESSAGES_A_MINUTE),
        smtp_new_connections_per_minute=str(NEW_A_MINUTE),
    ) as door:
        yield Limited(door, {client.name: client for client in clients})


@pytest.fixture(scope="package")
def impatient(kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Limited]:
    clients = register(kafka_bootstrap, replace(CLIENT, name=SLOW))
    with running_door(
        kafka_bootstrap,
        tmp_path_factory.mktemp("impatient"),
        smtp_idle_timeout_s=str(IDLE_S),
        smtp_login_timeout_s=str(IDLE_S),
        smtp_data_timeout_s="3",
        smtp_handshake_timeout_s="3",
    ) as door:
        yield Limited(door, {client.name: client for client in clients})
