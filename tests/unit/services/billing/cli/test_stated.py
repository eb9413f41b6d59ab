"""A client that there is not is refused; one that was counted is known for ever."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from services.billing.cli import stated as known
from services.billing.core.cells import Cell, encode_cell
from services.billing.edge.log_ends import KafkaUnavailable
from shared.registry.client import Client
from shared.runtime.errors import UsageError
from shared.store.read_cells import Snapshot

CELL = encode_cell(Cell("counted", "M-1", "", "billed"))


class Counts:
    """The cells of one month."""

    def read(self, *_: str) -> Snapshot:
        return Snapshot(True, "", {}, {}, {}, versions={"2025-01": 1})

    @contextmanager
    def reading(self, *months: str) -> Iterator[tuple[Snapshot, Any]]:
        yield self.read(), ((month, CELL, 1) for month in months)


class Topic:
    """Statements of one closed month, whose cells were deleted from the store since."""

    is_away = False

    def __init__(self, _: object) -> None:
        lines = [SimpleNamespace(client="stated")]
        month = SimpleNamespace(
            statement=SimpleNamespace(month="2024-12"), stated=lambda _month: iter(lines)
        )
        self.chain = SimpleNamespace(closed={"2024-12": month})

    def read(self) -> None:
        if self.is_away:
            raise KafkaUnavailable("Kafka is unavailable")

    def close(self) -> None:
        pass


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Any:
    client = Client("shop", "news.shop.example", "a@b.example", "standard")
    monkeypatch.setattr(known, "load_known", lambda _: {"shop": client})
    monkeypatch.setattr(known, "StatementTopic", Topic)
    return SimpleNamespace(kafka=None, options=None, cells=Counts())


@pytest.mark.parametrize("client", ["", "shop", "counted", "stated"])
def test_what_is_registered_or_was_ever_counted_is_known(parts: Any, client: str) -> None:
    known.require_known(parts, client)


def test_another_name_is_refused(parts: Any) -> None:
    with pytest.raises(UsageError, match=r"^no client 'nobody' is registered; known: shop$"):
        known.require_known(parts, "nobody")


def test_without_kafka_nothing_is_refused_and_that_is_said(
    parts: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Topic, "is_away", True)
    known.require_known(parts, "nobody")
    assert "was not checked: Kafka is unavailable" in capsys.readouterr().err
