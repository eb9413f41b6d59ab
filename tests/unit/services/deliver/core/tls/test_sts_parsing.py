"""What MTA-STS records, policies and the responses that carry them say."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.deliver.core.tls.policy import StsMode, StsPolicy
from services.deliver.core.tls.sts import (
    MAX_POLICY_BYTES,
    KnownPolicy,
    StsFault,
    body_of,
    parse_policy,
    parse_txt,
)

POLICY = (
    b"version: STSv1\r\nmode: enforce\r\nmx: mx.d.example\r\nmx: *.d.example\r\nmax_age: 604800\r\n"
)
PARSED = StsPolicy(StsMode.ENFORCE, 604_800, ("mx.d.example", "*.d.example"))

RECORDS = [
    (["v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
    (["v=STSv1;id=1"], "1"),
    (["other", "v=STSv1; x=y; id=1;"], "1"),
    ([], ""),
    (["v=STSv1;"], ""),
    (["v=STSv1; id=;"], ""),
    (["v=STSv1; id=a-b;"], ""),
    (["v=STSv1; id=" + "1" * 33], ""),
    (["v=STSv2; id=1"], ""),
    (["v=STSv1; id=1", "v=STSv1; id=1"], ""),
    (["id=1; v=STSv1"], ""),
]


@pytest.mark.parametrize(("rows", "expected"), RECORDS)
def test_a_record_counts_if_there_is_exactly_one_with_an_id(rows: list[str], expected: str) -> None:
    assert parse_txt(rows) == expected


GOOD = [
    (POLICY, PARSED),
    (POLICY.replace(b"\r\n", b"\n"), PARSED),
    (POLICY.removesuffix(b"\r\n"), PARSED),
    (b"extra: x\nextra2:\n" + POLICY, PARSED),
    (POLICY + b"mode: none\r\n", PARSED),
    (POLICY.replace(b"mx.d", b"MX.D").replace(b"604800", b"604800  "), PARSED),
    (b"version: STSv1\nmode: none\nmax_age: 0\n", StsPolicy(StsMode.NONE, 0)),
    (
        "version: STSv1\nmode: testing\nmx: *.bücher.example.\nmax_age: 1\n".encode(),
        StsPolicy(StsMode.TESTING, 1, ("*.xn--bcher-kva.example",)),
    ),
]


@pytest.mark.parametrize(("text", "expected"), GOOD)
def test_a_policy_is_read(text: bytes, expected: StsPolicy) -> None:
    assert parse_policy(text) == expected


BAD = [
    (b"", "version"),
    (b"<html>", "name: value"),
    (POLICY.replace(b"STSv1", b"STSv2"), "version"),
    (POLICY.replace(b"enforce", b"always"), "mode"),
    (POLICY.replace(b"604800", b"-1"), "max_age"),
    (POLICY.replace(b"604800", b"31557601"), "max_age"),
    (POLICY.replace(b"604800", b"99999999999"), "max_age"),
    (b"version: STSv1\nmode: enforce\nmax_age: 1\n", "no mx"),
    (POLICY.replace(b"*.d.example", b"*.*.example"), "not a host name"),
    (POLICY.replace(b"*.d.example", b"d*.example"), "not a host name"),
    (POLICY + b"mx: a.example\n" * 101, "more than 100"),
    (POLICY + b"\xff: x\n", "UTF-8"),
    (POLICY + b"x: " + b"y" * MAX_POLICY_BYTES, "larger"),
]


@pytest.mark.parametrize(("text", "reason"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_a_wrong_policy_is_refused(text: bytes, reason: str) -> None:
    with pytest.raises(StsFault, match=rf"\Asts-policy-invalid: .*{reason}"):
        parse_policy(text)


@given(st.binary(max_size=200))
def test_no_policy_raises_anything_else(text: bytes) -> None:
    with suppress(StsFault):
        assert isinstance(parse_policy(POLICY + text), StsPolicy)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n"
RESPONSES = [
    (HEAD + b"\r\nabc", b"abc"),
    (HEAD + b"Content-Length: 2\r\n\r\nabc", b"ab"),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;x=y\r\na\r\n2\r\nbc\r\n0\r\n\r\n", b"abc"),
    (b"HTTP/1.0 200\r\ncontent-type:TEXT/PLAIN\r\n\r\n", b""),
]


@pytest.mark.parametrize(("response", "body"), RESPONSES)
def test_the_body_of_a_response_is_found(response: bytes, body: bytes) -> None:
    assert body_of(response) == body


WRONG = [
    (b"", "no HTTP"),
    (b"220 mx.d.example ESMTP\r\n\r\n", "no HTTP"),
    (HEAD, "no HTTP"),
    (HEAD.replace(b"200", b"404") + b"\r\nx", "404"),
    (HEAD.replace(b"200 OK", b"301 x") + b"Location: https://x.example/\r\n\r\n", "301"),
    (HEAD.replace(b"text/plain", b"text/html") + b"\r\nx", "text/html"),
    (b"HTTP/1.1 200 OK\r\n\r\nx", "media type"),
    (HEAD + b"Content-Length: 9\r\n\r\nabc", "early"),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\n9\r\nab", "early"),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n", "no size"),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\na\r\n", "early"),
]


@pytest.mark.parametrize(("response", "reason"), WRONG)
def test_other_responses_have_no_policy(response: bytes, reason: str) -> None:
    with pytest.raises(StsFault, match=rf"\Asts-policy-fetch-error: .*{reason}"):
        body_of(response)


@pytest.mark.parametrize(
    ("age_s", "record_id", "is_valid", "is_current"),
    [
        (0, "1", True, True),
        (0, "2", True, False),
        (302_399, "1", True, True),
        (302_400, "1", True, False),
        (604_799, "1", True, False),
        (604_800, "1", False, False),
        (-1_000, "1", True, True),
    ],
)
def test_a_policy_is_fetched_again_after_half_of_its_age_and_used_to_its_end(
    age_s: float, record_id: str, is_valid: bool, is_current: bool
) -> None:
    known = KnownPolicy(PARSED, "1", 1e9)
    assert known.is_valid(1e9 + age_s) is is_valid
    assert known.is_current(record_id, 1e9 + age_s) is is_current
