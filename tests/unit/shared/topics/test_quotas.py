"""The records of billing.quotas: what is written is read, and nothing else is."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.topics.codec import CodecError
from shared.topics.quotas import (
    USED_UP_TYPE,
    WARNING_TYPE,
    QuotaBeat,
    QuotaEvent,
    QuotaScope,
    QuotaState,
    decode_beat,
    decode_scope,
    decode_state,
    encode_beat,
    encode_quota_event,
    encode_scope,
    encode_state,
)

NUMBERS = st.integers(0, 2**62)
STATE = QuotaState("2026-11", 1_000, 2_000, 200, 199, (80, 90))


@given(st.builds(QuotaScope, st.text(), st.none() | st.text()))
def test_a_scope_is_read_as_it_was_written(scope: QuotaScope) -> None:
    assert decode_scope(encode_scope(scope)) == scope


def test_a_client_and_its_sub_client_without_a_name_are_two_scopes() -> None:
    whole, unnamed = QuotaScope("shop"), QuotaScope("shop", "")
    assert encode_scope(whole) != encode_scope(unnamed)
    assert [each.described() for each in (whole, QuotaScope("shop", "south"))] == [
        "shop",
        "shop/south",
    ]


@given(
    st.builds(
        QuotaState, st.text(), NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.tuples(st.integers(0, 100))
    ),
    st.builds(QuotaBeat, st.text(), NUMBERS, NUMBERS, NUMBERS),
)
def test_a_state_and_a_beat_are_read_as_they_were_written(
    state: QuotaState, beat: QuotaBeat
) -> None:
    assert decode_state(encode_state(state)) == state
    assert decode_beat(encode_beat(beat)) == beat


@pytest.mark.parametrize(
    ("decode", "field"),
    [(decode_scope, "key of a quota"), (decode_state, "quota"), (decode_beat, "beat")],
)
@pytest.mark.parametrize("value", [b"", b"{", b"null", b'{"month": 1}', b"[1]", b"[" * 100_000])
def test_a_record_of_another_program_is_an_error_that_says_what_it_was_read_as(
    decode: Callable[[bytes], Any], field: str, value: bytes
) -> None:
    with pytest.raises(CodecError, match=f"^{field}"):
        decode(value)


def test_fields_of_a_later_version_are_ignored() -> None:
    later = json.dumps({**json.loads(encode_state(STATE)), "later": {"a": [1]}}).encode()
    assert decode_state(later) == STATE


@pytest.mark.parametrize(("now_ms", "used"), [(999, 0), (1_000, 199), (1_999, 199), (2_000, 0)])
def test_what_was_used_in_another_month_is_not_used_now(now_ms: int, used: int) -> None:
    assert STATE.used_at(now_ms) == used


@pytest.mark.parametrize(
    ("sub_client", "threshold", "name", "kind"),
    [
        (None, 80, b"quota/2026-11/80/shop", WARNING_TYPE),
        ("south", 90, b"quota/2026-11/90/shop/south", WARNING_TYPE),
        ("south", 100, b"quota/2026-11/100/shop/south", USED_UP_TYPE),
    ],
)
def test_an_event_has_one_name_for_its_quota_month_and_threshold(
    sub_client: str | None, threshold: int, name: bytes, kind: str
) -> None:
    event = QuotaEvent("shop", sub_client, "2026-11", threshold, 200, 199, "hold", 7)
    key, value, headers = encode_quota_event(event)
    assert key == name
    assert dict(headers)["ce_id"] == name
    assert dict(headers)["ce_type"] == kind.encode()
    assert json.loads(value)["threshold"] == threshold
