"""The tables of the cells in PostgreSQL (cells_postgresql.py), and its errors.

`installation` is the setting `billing.cells_key`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg

from shared.store.client import StoreUnavailable

# Creating tables from two sessions at once fails otherwise.
_SCHEMA_LOCK: Final = 0x51C1CE
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS sluice_billing_state (
  installation text PRIMARY KEY,
  log text NOT NULL,         -- the topic id of mail.events; '' if there are no counts
  generation text NOT NULL,
  dropped boolean NOT NULL
);
CREATE TABLE IF NOT EXISTS sluice_billing_watermarks (
  installation text NOT NULL,
  partition integer NOT NULL,
  next_offset bigint,        -- NULL: nothing is counted yet
  hole text NOT NULL,        -- the last month from which records are missing
  PRIMARY KEY (installation, partition)
);
CREATE TABLE IF NOT EXISTS sluice_billing_months (
  installation text NOT NULL,
  month text NOT NULL,
  version bigint NOT NULL,   -- how many runs have changed it
  PRIMARY KEY (installation, month)
);
CREATE TABLE IF NOT EXISTS sluice_billing_cells (
  installation text NOT NULL,
  month text NOT NULL,
  cell_id bytea NOT NULL,    -- a hash of name: an index cannot hold long names
  name text NOT NULL,
  client text NOT NULL,
  mailing_id text NOT NULL,
  sub_client text NOT NULL,
  day text NOT NULL,
  counter text NOT NULL,
  detail text NOT NULL,
  count bigint NOT NULL,
  PRIMARY KEY (installation, month, cell_id)
);
"""
_COLUMNS: Final = (
    "(installation, month, cell_id, name, client, mailing_id, sub_client, day, counter, detail,"
    " count)"
)
COPY: Final = f"COPY sluice_billing_cells {_COLUMNS} FROM STDIN"
ADD: Final = f"""
INSERT INTO sluice_billing_cells AS cells {_COLUMNS}
SELECT %s, * FROM unnest(%s::text[], %s::bytea[], %s::text[], %s::text[], %s::text[], %s::text[],
  %s::text[], %s::text[], %s::text[], %s::bigint[])
ON CONFLICT (installation, month, cell_id) DO UPDATE SET count = cells.count + excluded.count
"""  # noqa: S608 - names of columns


def make_tables(connection: psycopg.Connection[Any]) -> None:
    """Make the tables that are missing; processes take turns."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_SCHEMA_LOCK,))
        connection.execute(SCHEMA)


@contextmanager
def postgresql_errors() -> Iterator[None]:
    """Turn every error of psycopg into StoreUnavailable, with its reason in one line."""
    try:
        yield
    except psycopg.Error as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise StoreUnavailable(f"PostgreSQL: {reason}") from error
