"""A small run of the benchmark of deliver's engine, and its requirements from given figures."""

from __future__ import annotations

import msgspec
import pytest
from click.testing import CliRunner

from bench import opendkim
from bench.__main__ import main
from bench.deliver_result import (
    AIOSMTPLIB,
    ENGINE,
    LARGE,
    PLAIN,
    POSTFIX,
    SHAPED,
    SIGNING,
    SOURCE,
    TLS,
    UNSHAPED,
    Result,
    Row,
    bars_of,
    described,
)

ROWS = {ENGINE, SOURCE, AIOSMTPLIB, SIGNING, PLAIN, TLS, LARGE, UNSHAPED, SHAPED}
BARS = 6


def test_the_bench_measures_every_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opendkim, "is_there", lambda: False)  # few machines have it
    small = ("--messages", "100", "--repeats", "1", "--json")
    done = CliRunner().invoke(main, ["deliver", *small])
    assert done.exit_code in (0, 1), done.output  # a run with few messages need not meet the bars
    result = msgspec.json.decode(done.stdout, type=Result)
    assert {row.name for row in result.rows} == ROWS
    assert all(row.messages_per_s > 0 and row.cpu_us > 0 for row in result.rows)
    assert len(result.bars) == BARS - 1
    assert result.left_out == [f"{POSTFIX}: not measured, opendkim is not installed"]
    assert all(name in described(result) for name in ROWS)


def row(name: str, *rates: float, cpu_us: float = 100.0) -> Row:
    return Row(name, rates[0], cpu_us, rates, tuple(cpu_us for _ in rates))


GOOD = {
    ENGINE: row(ENGINE, 3_000.0),
    SOURCE: row(SOURCE, 3_000.0),
    AIOSMTPLIB: row(AIOSMTPLIB, 1_000.0),
    SIGNING: row(SIGNING, 900.0),
    POSTFIX: row(POSTFIX, 300.0, cpu_us=0.0),
    PLAIN: row(PLAIN, 1_000.0),
    TLS: row(TLS, 700.0),
    LARGE: row(LARGE, 200.0, cpu_us=4_000.0),
    UNSHAPED: row(UNSHAPED, 1_000.0),
    SHAPED: row(SHAPED, 900.0, cpu_us=110.0),
}


@pytest.mark.parametrize(
    "worse",
    [
        None,
        row(ENGINE, 2_900.0),
        row(AIOSMTPLIB, 1_100.0),
        row(POSTFIX, 310.0),
        row(TLS, 690.0),
        row(LARGE, 200.0, cpu_us=4_100.0),
        row(SHAPED, 1_000.0, cpu_us=112.0),
    ],
    ids=lambda worse: worse.name if worse else "none",
)
def test_a_requirement_that_is_not_met_is_named(worse: Row | None) -> None:
    rows = {**GOOD, **({worse.name: worse} if worse else {})}
    bars = bars_of(list(rows.values()))
    assert len(bars) == BARS
    assert all(bar.holds for bar in bars) is (worse is None)


def test_a_ratio_is_that_of_the_runs_beside_each_other() -> None:
    rows = [row(ENGINE, 100.0, 3_000.0, 900.0), row(SOURCE, 100.0, 1_000.0, 900.0)]
    assert [bar.found for bar in bars_of(rows)] == [1.0]
