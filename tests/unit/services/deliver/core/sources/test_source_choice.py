"""Which source of its pool a message takes."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.deliver.core.sources.table import Pool, Source, order

MAILS = [f"{number:026}" for number in range(4_000)]
NAMES = st.lists(st.from_regex(r"[a-z][a-z0-9]{0,5}", fullmatch=True), min_size=2, unique=True)


def pool(weights: dict[str, int]) -> Pool:
    return Pool("p", tuple((Source(name, f"{name}.example"), w) for name, w in weights.items()))


@pytest.mark.parametrize("weights", [{"a": 1, "b": 1}, {"a": 1, "b": 3}, {"a": 2, "b": 5, "c": 13}])
def test_the_shares_of_the_sources_are_their_weights(weights: dict[str, int]) -> None:
    counted = Counter(order(pool(weights), mail_id)[0].name for mail_id in MAILS)
    for name, weight in weights.items():
        share = weight / sum(weights.values())
        # Five standard deviations of a binomial distribution.
        spread = 5 * (share * (1 - share) / len(MAILS)) ** 0.5
        assert abs(counted[name] / len(MAILS) - share) < spread


@given(names=NAMES, mail_id=st.text(max_size=26))
def test_each_source_stands_once_and_the_order_of_the_settings_does_not_matter(
    names: list[str], mail_id: str
) -> None:
    found = order(pool(dict.fromkeys(names, 1)), mail_id)
    assert sorted(one.name for one in found) == sorted(names)
    assert found == order(pool(dict.fromkeys(reversed(names), 1)), mail_id)


@given(names=NAMES, mail_id=st.text(max_size=26))
def test_removing_a_source_moves_no_mail_of_the_others(names: list[str], mail_id: str) -> None:
    before = [one.name for one in order(pool(dict.fromkeys(names, 1)), mail_id)]
    after = [one.name for one in order(pool(dict.fromkeys(names[1:], 1)), mail_id)]
    assert after == [name for name in before if name != names[0]]
