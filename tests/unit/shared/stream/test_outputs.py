"""The tallies of a transaction: each mail id once, under its mailing, in bounded records."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.stream.outputs import MAIL_ID_BYTES, MAX_TALLY_BYTES, Mailing, tallies
from shared.stream.transactions import Output
from shared.topics.codec import decode_event
from shared.topics.event_records import Tally

# With the time and the name of the service.
MAX_BYTES = MAX_TALLY_BYTES + 200
MOST = MAX_TALLY_BYTES // MAIL_ID_BYTES - 4  # messages of one mailing
LONGEST = "x" * 58


def mails(numbers: Mapping[Mailing, int]) -> dict[Mailing, list[str]]:
    return {
        mailing: [f"{place:05}-{each:020}" for each in range(number)]
        for place, (mailing, number) in enumerate(numbers.items())
    }


def checked(received: Mapping[Mailing, list[str]]) -> list[Output]:
    """The tallies, which have each mail once and are of a bounded size."""
    found = list(tallies("validate", "validate.x", 5, received))
    assert len({output.key for output in found}) == len(found)
    assert all(len(output.value or b"") <= MAX_BYTES for output in found)
    listed: dict[Mailing, list[str]] = {}
    for output in found:
        tally = decode_event(output.headers, output.value)
        assert isinstance(tally, Tally)
        for row in tally.rows:
            assert row.received == len(row.mail_ids) > 0
            key = (row.client, row.mailing_id, row.sub_client)
            listed.setdefault(key, []).extend(row.mail_ids)
    assert listed == {key: ids for key, ids in received.items() if ids}
    return found


@pytest.mark.parametrize(
    ("numbers", "records"),
    [
        ((), 0),
        ((1,), 1),
        ((10_000,), 1),
        ((MOST,), 1),
        ((MOST, 20), 2),
        ((3, 0, 2 * MOST + 20), 3),
        ((10_000, *[1] * 3_000), 2),
    ],
)
def test_a_tally_names_so_many_mails_and_the_next_one_the_rest(
    numbers: tuple[int, ...], records: int
) -> None:
    received = mails({(f"c{place}", "news", ""): each for place, each in enumerate(numbers)})
    assert len(checked(received)) == records


def test_ten_thousand_mails_of_as_many_mailings_with_the_longest_names_are_several_tallies() -> (
    None
):
    each = {(LONGEST, f"{LONGEST}{place:06}", LONGEST): 1 for place in range(10_000)}
    assert len(checked(mails(each))) == 8


names = st.text(max_size=64)


@settings(deadline=None, max_examples=40)
@given(
    st.dictionaries(
        st.tuples(names, names, names),
        st.sampled_from([0, 1, 2_000, 10_000, 10_400, 25_000]),
        max_size=5,
    )
)
def test_each_mail_is_named_once_whatever_the_names_and_numbers_are(
    numbers: dict[Mailing, int],
) -> None:
    checked(mails(numbers))
