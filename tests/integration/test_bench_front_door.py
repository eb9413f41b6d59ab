"""A small run of the front door's benchmark: every row is measured, and its counts are correct."""

from __future__ import annotations

from pathlib import Path

import msgspec
from click.testing import CliRunner

from bench import smtp_sink
from bench.__main__ import main
from bench.front_door_parts import Server, run_load, run_smtp_source
from bench.front_door_result import ROWS, Idle, Ratios, Result, bars_of, described
from bench.smtp_load import Plan, Talk
from tests.support.patience import PATIENCE_S


def test_the_bench_measures_every_row_and_tells_its_ratios(
    kafka_bootstrap: str, redis_url: str
) -> None:
    small = [
        "--messages",
        "100",
        "--sessions",
        "5",
        "--repeats",
        "1",
        "--idle",
        "200",  # about 5 MB: memory that ingest has free takes ten without growing
        "--warm-up",
        "0",
        "--json",
    ]
    where = ("--kafka", kafka_bootstrap, "--redis", redis_url)
    done = CliRunner().invoke(main, ["front-door", *small, *where])
    assert done.exit_code in (0, 1), done.output  # a run with few messages need not meet the bars
    result = msgspec.json.decode(done.stdout, type=Result)
    assert [(row.server, row.load) for row in result.rows] == ROWS
    assert all(row.messages_per_s > 0 and len(row.rates) == 1 for row in result.rows)
    ratios = msgspec.structs.asdict(result.ratios)
    assert all(ratio > 0 for ratio in ratios.values()), ratios
    assert result.idle is not None
    assert result.idle.connections == 200
    assert result.idle.with_mb > result.idle.before_mb > 0
    told = described(result)
    assert all(name in told for name, _ in ROWS)


def test_both_loads_hand_in_exactly_as_many_messages_as_they_are_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with smtp_sink.running(tmp_path) as sink:
        server = Server(sink.address, {"smtp-sink": sink.process.pid})
        sent = 0
        for talk in Talk:
            plan = Plan(
                sink.address, "news.bench.example", "r.example.net", 3, 50, 2_000, "r", talk
            )
            run_load(server, plan)
            sent += plan.messages
            sink.wait_for(sent, PATIENCE_S)
        run_smtp_source(server, plan)
        sink.wait_for(sent + plan.messages, PATIENCE_S)
        assert sink.count() == sent + plan.messages


def test_a_bar_is_met_only_by_what_reaches_it() -> None:
    ratios = Ratios(4.0, 2.0, 1.0, 3.0, 5.0, 0.7, 0.5, 0.59, 0.8)
    assert [bar.holds for bar in bars_of(ratios, None)] == [True, False, True]
    assert [bar.holds for bar in bars_of(ratios, Idle(2_000, 80.0, 150.1, 35.0))][-1:] == [False]
    assert len(bars_of(ratios, Idle(10, 80.0, 81.0, 24.0))) == 3
