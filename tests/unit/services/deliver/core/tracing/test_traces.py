"""Which traces concern a message."""

from typing import Any

from services.deliver.core.tracing.traces import NO_TRACES, Traces
from shared.topics.traces import CLOCK_SKEW_MS, MAX_TRACES, Trace

NOW = 1_795_467_600_000
MAIL_ID = "01JDWJ5Z3M0000000000000001"


def trace(trace_id: str, at_ms: int = NOW, **fields: Any) -> Trace:
    return Trace(trace_id, at_ms=at_ms, expires_at_ms=at_ms + 60_000, **fields)


DOMAIN = trace("domain00", domain="example.net")
MAIL = trace("mail0000", mail_id=MAIL_ID)


def ids_of(traces: Traces, mail_id: str, recipient: str, now_ms: int = NOW) -> list[str]:
    return [each.trace_id for each in traces.find(mail_id, recipient, now_ms)]


def test_a_trace_concerns_mail_to_its_domain_or_its_message() -> None:
    traces = Traces([DOMAIN, MAIL], NOW)
    assert traces.is_any
    assert ids_of(traces, "other", "x@Example.NET") == ["domain00"]
    assert ids_of(traces, MAIL_ID, "x@example.org") == ["mail0000"]
    assert ids_of(traces, MAIL_ID, "x@example.net") == ["domain00", "mail0000"]
    assert ids_of(traces, "other", "x@sub.example.net") == []


def test_a_trace_ends_at_its_expiry_and_begins_in_spite_of_a_clock_that_is_behind() -> None:
    traces = Traces([DOMAIN], NOW)
    assert ids_of(traces, "", "x@example.net", NOW + 59_999) == ["domain00"]
    assert ids_of(traces, "", "x@example.net", NOW + 60_000) == []
    assert ids_of(traces, "", "x@example.net", NOW - CLOCK_SKEW_MS) == ["domain00"]
    assert ids_of(traces, "", "x@example.net", NOW - CLOCK_SKEW_MS - 1) == []


def test_nothing_is_traced_without_traces_or_with_those_that_are_over() -> None:
    assert not NO_TRACES.is_any
    assert not Traces([DOMAIN, MAIL], NOW + 60_000).is_any


def test_the_latest_of_too_many_traces_are_left_out() -> None:
    many = [trace(f"trace-{number}", NOW + number, domain="d.example") for number in range(20)]
    found = Traces(reversed(many), NOW).find("", "x@d.example", NOW + 100)
    assert found == many[:MAX_TRACES]
