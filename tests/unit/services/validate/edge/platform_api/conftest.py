"""The API that the tests of this folder ask."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.platform_api import Api, open_api


@pytest.fixture
def api() -> Iterator[Api]:
    with open_api() as found:
        yield found
