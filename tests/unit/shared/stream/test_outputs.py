"""The tallies of a transaction: each mail id once, under its mailing, in bounded records."""

from __future__ import annotations

import pytest

from shared.stream.outputs import MAX_TALLIED, tallies
from shared.topics.codec import decode_event
from shared.topics.records import Tally


@pytest.mark.parametrize(
    ("numbers", "records"),
    [
        ((), 0),
        ((1,), 1),
        ((MAX_TALLIED,), 1),
        ((MAX_TALLIED - 1, 2), 2),
        ((3, 0, 2 * MAX_TALLIED), 3),
    ],
)
def test_a_tally_names_so_many_mails_and_the_next_one_the_rest(
    numbers: tuple[int, ...], records: int
) -> None:
    received = {
        (f"client-{place}", "news", ""): [f"{place}-{each:024}" for each in range(number)]
        for place, number in enumerate(numbers)
    }
    found = list(tallies("validate", "validate.x", 5, received))
    assert len({output.key for output in found}) == len(found) == records
    assert all(len(output.value or b"") < 1_000_000 for output in found)
    listed: dict[tuple[str, str, str], list[str]] = {}
    for output in found:
        tally = decode_event(output.headers, output.value)
        assert isinstance(tally, Tally)
        for row in tally.rows:
            assert row.received == len(row.mail_ids)
            key = (row.client, row.mailing_id, row.sub_client)
            listed.setdefault(key, []).extend(row.mail_ids)
    assert listed == {key: ids for key, ids in received.items() if ids}
