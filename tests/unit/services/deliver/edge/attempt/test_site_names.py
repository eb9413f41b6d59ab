"""The labels of sites in metrics are few, and none is taken back."""

from services.deliver.edge.attempt.attempt_records import (
    BUSY_EVENTS,
    MAX_COUNTED,
    MAX_NAMED,
    NONE,
    OTHER,
    SiteNames,
)
from shared.runtime.telemetry import MAX_LABEL_SETS
from shared.topics.records import EventType, MailClass


def make_busy(names: SiteNames, site: str) -> str:
    return [names.count_event(site) for _ in range(BUSY_EVENTS)][-1]


def test_a_site_has_its_name_once_it_is_busy() -> None:
    names = SiteNames()
    before = {names.count_event("mx.example") for _ in range(BUSY_EVENTS - 1)}
    assert before == {OTHER}
    assert names.count_event("mx.example") == "mx.example"
    assert names.count_event("mx.other.example") == OTHER


def test_an_event_without_a_site_is_not_that_of_a_site() -> None:
    assert make_busy(SiteNames(), "") == NONE


def test_sites_beyond_the_limit_are_counted_together_and_names_stay() -> None:
    names = SiteNames()
    sites = [f"mx{number}.example" for number in range(MAX_NAMED + 1)]
    assert [make_busy(names, site) for site in sites] == [*sites[:-1], OTHER]
    assert names.count_event(sites[0]) == sites[0]


def test_a_flood_of_other_sites_does_not_forget_a_site_that_goes_on() -> None:
    names = SiteNames()
    found = ""
    for number in range(BUSY_EVENTS):
        found = names.count_event("mx.example")
        for other in range(MAX_COUNTED // 50):
            names.count_event(f"mx{number}-{other}.example")
    assert found == "mx.example"


def test_a_flood_between_two_events_makes_a_site_begin_again() -> None:
    names = SiteNames()
    for _ in range(BUSY_EVENTS - 1):
        names.count_event("mx.example")
    for other in range(MAX_COUNTED):
        names.count_event(f"mx{other}.example")
    assert names.count_event("mx.example") == OTHER


def test_all_labels_fit_into_the_metric() -> None:
    kinds = {
        EventType.DELIVERED,
        EventType.BOUNCED,
        EventType.EXPIRED,
        EventType.CANCELLED,
        EventType.DEFERRED,
        EventType.IN_DOUBT,
        EventType.FORWARDED,
        EventType.FORWARDING_FAILED,
    }
    assert (MAX_NAMED + 2) * len(kinds) * len(MailClass) < MAX_LABEL_SETS
