"""Fixtures of the unit tests."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Final

import pytest

_OURS: Final = ("services", "shared", "cli", "local", "tools", "bench", "tests")


@pytest.fixture(name="caplog")
def own_log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What the project logs; not what threads of libraries that other tests left behind say."""

    def is_ours(record: logging.LogRecord) -> bool:
        return record.name.partition(".")[0] in _OURS

    caplog.handler.addFilter(is_ours)
    yield caplog
    caplog.handler.removeFilter(is_ours)
