"""Opens the store of the cells that the settings name."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from services.billing.edge.cells import Cells, RedisCells
from services.billing.settings import BillingSettings
from shared.runtime.errors import UsageError
from shared.settings.sections import RedisSettings
from shared.store.client import connect

# All cells of an installation at once, a second per million.
BULK_TIMEOUT_S: Final = 60.0


def open_cells(
    billing: BillingSettings, redis: RedisSettings, *, is_waited_for: bool = False
) -> Cells:
    """Open the store. It connects when it is used. Raises UsageError.

    `is_waited_for`: somebody waits for each answer, so a server that does not answer in time is not
    asked again; only a broken connection is made again, at most three times.
    """
    if billing.store == "redis":
        once = {"retry": Retry(NoBackoff(), 1, (RedisConnectionError,))} if is_waited_for else {}
        # Sent once: a server that is slow with a million cells is not asked for them again.
        bulk = connect(redis, socket_timeout=BULK_TIMEOUT_S, retry=Retry(NoBackoff(), 0))
        return RedisCells(connect(redis, **once), billing.cells_key, bulk)
    if not billing.postgresql_url:
        raise UsageError(
            'billing.postgresql_url: nothing was found; billing.store = "postgresql" needs'
            " postgresql://USER@HOST[:PORT]/DATABASE"
        )
    # Imported only here: the driver takes a tenth of a second.
    from services.billing.edge.cells_postgresql import PostgresCells

    password = ""
    if billing.postgresql_password_file:
        try:
            password = Path(billing.postgresql_password_file).read_text("utf-8").strip()
        except (OSError, ValueError) as error:
            raise UsageError(f"billing.postgresql_password_file: {error}") from None
    return PostgresCells(billing.postgresql_url, billing.cells_key, password)
