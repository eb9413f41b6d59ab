"""The header scan of any bytes: it never raises, and form makes no difference."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import asdict

from shared.mail.headers import scan
from tests.messages import Sample, load
from tests.support.header_forms import LINES, SLOTS
from tests.support.header_lines import GOOD, with_line, without_sizes


@pytest.mark.parametrize("sample", load(), ids=lambda sample: str(sample.name))
def test_line_ends_in_lf_make_no_difference(sample: Sample) -> None:
    content = sample.content
    header, _, body = content.partition(b"\r\n\r\n")
    if b"\n" in header.replace(b"\r\n", b"") or not body:
        return
    first = scan(content)
    second = scan(header.replace(b"\r\n", b"\n") + b"\n\n" + body)
    assert without_sizes(first) == without_sizes(second)


TEXT = st.binary(max_size=300)


@settings(deadline=None, max_examples=500)
@given(st.one_of(TEXT, LINES, LINES.map(lambda lines: lines + b"\r\nbody")))
def test_no_bytes_make_the_scan_raise(content: bytes) -> None:
    facts = scan(content)
    assert facts.size_bytes == len(content) >= facts.header_bytes
    if not facts.defect:
        assert content[: facts.header_bytes].endswith((b"\r\n\r\n", b"\n\n"))
    for value in asdict(facts).values():
        if isinstance(value, str):
            value.encode()


@settings(deadline=None)
@given(st.lists(st.integers(0, 40), max_size=3), st.sampled_from([b"\r\n ", b"\r\n\t"]))
def test_folding_before_white_space_makes_no_difference(places: list[int], fold: bytes) -> None:
    value = b' "Muster,  Max" (of the shop) <max@kunde.example>'
    folded = bytearray(value)
    spaces = [at for at, octet in enumerate(value) if octet == 32]
    for at in sorted({spaces[place % len(spaces)] for place in places}, reverse=True):
        if value[at + 1 : at + 2] != b" ":
            folded[at : at + 1] = fold
    plain = scan(GOOD.replace(b" max@kunde.example", value))
    facts = scan(GOOD.replace(b" max@kunde.example", bytes(folded)))
    assert facts.defect == plain.defect == ""
    assert facts.to_address == plain.to_address == "max@kunde.example"


@settings(deadline=None)
@given(st.sampled_from(sorted(SLOTS)), st.lists(st.booleans(), min_size=12, max_size=12))
def test_the_case_of_names_makes_no_difference(name: str, upper: list[bool]) -> None:
    written = "".join(
        letter.upper() if up else letter.lower()
        for letter, up in zip(name, upper + [False] * 4, strict=False)
    )
    lines = [f"{spelled}: y@z.example".encode() for spelled in (name, written)]
    assert scan(with_line(lines[0])) == scan(with_line(lines[1]))


@pytest.mark.parametrize(
    "content",
    [
        b"To: a\r\n" + b" x\r\n" * 80_000 + b"\r\n",
        b"a:\r\n" * 80_000 + b"\r\n",
        b"Subject: " + b"=?a?Q?" * 50_000 + b"\r\n\r\n",
        b"From: " + b"(" * 300_000 + b"\r\n\r\n",
        b"To: " + b'"' * 250_000 + b"\r\n\r\n",
        b"To: " + b"a." * 120_000 + b"@x.example\r\n\r\n",
        b"Message-ID: <" + b"a." * 120_000 + b"@x>\r\n\r\n",
        b"\n\r" * 150_000,
        b"\r\n" * 150_000,
        b"x" * 2_000_000,
        b"X-" + b"y" * 250_000 + b": z\r\n\r\n",
    ],
    ids=range(11),
)
def test_hostile_headers_cost_bounded_memory(content: bytes) -> None:
    tracemalloc.start()
    try:
        scan(content)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16_000_000
