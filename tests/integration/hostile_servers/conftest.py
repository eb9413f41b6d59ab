"""What became of the messages that were sent to the servers of a module."""

from __future__ import annotations

import pytest

from tests.support.hostile.cases import Met, meet_all


@pytest.fixture(scope="module")
def met(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Met]:
    """The result of each of the module's CASES; all messages are sent at once."""
    return meet_all(request.module.CASES, tmp_path_factory.mktemp("servers"))
