"""How often a store that does not answer is asked while somebody waits."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
from msgspec import Struct

from services.billing.edge.cells import open_cells
from services.billing.settings import BillingSettings
from shared.settings.sections import RedisSettings
from shared.store.client import StoreUnavailable
from tests.support.patience import PATIENCE_S


class Server(Struct):
    """Takes connections and never replies, as a paused server; or ends them at once."""

    listener: socket.socket
    ends: bool = False
    taken: int = 0

    def run(self) -> None:
        kept = []
        while True:
            try:
                found, _ = self.listener.accept()
            except OSError:
                return
            self.taken += 1
            kept.append(found)
            if self.ends:
                found.close()


@pytest.fixture
def server() -> Iterator[Server]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        found = Server(listener)
        thread = threading.Thread(target=found.run)
        thread.start()
        yield found
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(PATIENCE_S)


# redis-py tries again on two levels: it opens a connection, and it sends the greeting on it. If the
# end of the connection is seen while the greeting is sent, both do: four connections. If it is seen
# when the answer is read, two.
@pytest.mark.parametrize(("ends", "most"), [(False, 1), (True, 4)])
def test_a_store_that_is_paused_is_asked_once_and_a_broken_connection_made_again(
    server: Server, ends: bool, most: int
) -> None:
    server.ends = ends
    port = server.listener.getsockname()[1]
    settings = RedisSettings(url=f"redis://127.0.0.1:{port}/0")
    cells = open_cells(BillingSettings(), settings, is_waited_for=True)
    with pytest.raises(StoreUnavailable, match="Redis"):
        cells.read()
    assert 1 <= server.taken <= most
