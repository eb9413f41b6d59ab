"""The account of returned mail: it balances for correct counts, and every fault is found."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from shared.audit.report import FaultKind
from shared.audit.returned import ReturnedBooks
from shared.topics import ids
from shared.topics.records import Event, EventType, MailEvent, ReturnAddressKind, Returned

IDS = [ids.derive("mail.returned", 0, offset, 1_700_000_000_000) for offset in range(8)]
PATH = ReturnAddressKind.RETURN_PATH


@pytest.fixture
def books() -> Iterator[ReturnedBooks]:
    made = ReturnedBooks()
    yield made
    made.close()


def take(
    books: ReturnedBooks,
    *numbers: int,
    kind: ReturnAddressKind = PATH,
    is_done: bool = True,
    is_refused: bool = False,
) -> None:
    for number in numbers:
        returned = Returned(IDS[number], "shop", "", "", 0, kind)
        books.add_record(returned, is_done=is_done, is_refused=is_refused)


def tell(
    books: ReturnedBooks,
    *numbers: int,
    kind: EventType = EventType.RETURNED,
    is_before: bool = True,
) -> None:
    for number in numbers:
        data = MailEvent("shop", return_id=IDS[number])
        books.add_event(Event("e", kind, "m", data), is_before=is_before)


def faults(
    books: ReturnedBooks, *, settled: bool = True, is_whole: bool = True
) -> dict[FaultKind, tuple[int, list[str]]]:
    return {each.kind: (each.count, each.examples) for each in books.faults(settled, is_whole)}


def test_one_event_of_any_kind_for_each_message_balances(books: ReturnedBooks) -> None:
    take(books, 0, 1, 2)
    for number, kind in enumerate(
        (EventType.RETURNED, EventType.COMPLAINED, EventType.UNSUBSCRIBED)
    ):
        tell(books, number, kind=kind)
    tell(books, 0, kind=EventType.FORWARDED)
    tell(books, 1, kind=EventType.FORWARDING_FAILED)
    assert faults(books) == {}
    (row,) = books.report().rows
    assert (row.came_back, row.events, row.open) == (3, 3, 0)
    assert (row.forwarded, row.not_forwarded, row.kept_back) == (1, 1, 1)


def test_every_message_that_was_read_is_forwarded_failed_or_kept_back(books: ReturnedBooks) -> None:
    take(books, 0, 1, 2, 3)
    take(books, 4, 5, kind=ReturnAddressKind.UNDELIVERED)
    take(books, 6, is_done=False)
    take(books, 7, is_refused=True)
    for number, kind in ((0, EventType.FORWARDED), (4, EventType.FORWARDED)):
        tell(books, number, kind=kind)
    tell(books, 1, kind=EventType.FORWARDING_FAILED)
    (row,) = books.report().rows
    read = row.came_back + row.given_up - 2  # one waits, one is not understood
    assert (row.kept_back, row.forwarded + row.not_forwarded + row.kept_back) == (3, read)


def test_a_message_without_event_is_named(books: ReturnedBooks) -> None:
    take(books, 0, 1, 2)
    tell(books, 0, 2)
    assert faults(books, settled=False) == {FaultKind.LOST_RETURNED: (1, [IDS[1]])}


def test_a_message_with_two_events_is_named(books: ReturnedBooks) -> None:
    take(books, 0, 1)
    tell(books, 0, 1, 1, 1)
    assert faults(books) == {FaultKind.DOUBLED_RETURNED: (2, [IDS[1]])}


def test_a_message_that_is_forwarded_twice_is_named(books: ReturnedBooks) -> None:
    take(books, 0)
    tell(books, 0)
    tell(books, 0, kind=EventType.FORWARDED)
    tell(books, 0, kind=EventType.FORWARDING_FAILED)
    assert faults(books) == {FaultKind.DOUBLED_FORWARD: (1, [IDS[0]])}


def test_an_event_without_a_message_is_named_unless_kafka_has_deleted_messages(
    books: ReturnedBooks,
) -> None:
    take(books, 0)
    tell(books, 0, 3)
    assert faults(books) == {FaultKind.STRANGE_RETURNED: (1, [IDS[3]])}
    assert faults(books, is_whole=False) == {}


def test_what_was_written_while_the_account_was_made_is_no_fault(books: ReturnedBooks) -> None:
    take(books, 0)
    tell(books, 0)
    tell(books, 4, is_before=False)  # its message is after the end
    take(books, 5, is_done=False)
    tell(books, 5, is_before=False)  # its event came after the offsets were asked
    assert faults(books) == {}


def test_what_waits_is_a_fault_only_if_nothing_may_be_under_way(books: ReturnedBooks) -> None:
    take(books, 0, 1, is_done=False)
    assert books.report().waiting == 2
    assert faults(books, settled=False) == {}
    assert faults(books) == {FaultKind.WAITING_RETURNED: (2, [])}


def test_a_message_on_mail_refused_has_its_end_and_a_second_one_is_found(
    books: ReturnedBooks,
) -> None:
    take(books, 0, is_refused=True)
    assert faults(books) == {}
    assert books.report().rows[0].not_understood == 1
    tell(books, 0)
    assert faults(books) == {FaultKind.STRANGE_RETURNED: (1, [IDS[0]])}


@pytest.mark.parametrize(
    "kind",
    [ReturnAddressKind.REFUSED, ReturnAddressKind.SUPPRESSED, ReturnAddressKind.UNDELIVERED],
)
def test_a_message_that_a_service_gave_up_needs_no_further_event(
    books: ReturnedBooks, kind: ReturnAddressKind
) -> None:
    take(books, 0, kind=kind)
    assert faults(books) == {}
    assert books.report().rows[0].given_up == 1


def test_a_record_that_is_not_readable_is_a_fault(books: ReturnedBooks) -> None:
    books.add_unreadable()
    assert faults(books) == {FaultKind.UNREADABLE_RETURNED: (1, [])}


def test_a_click_to_unsubscribe_is_no_returned_mail(books: ReturnedBooks) -> None:
    event = Event("e", EventType.UNSUBSCRIBED, "m", MailEvent("shop"))
    books.add_event(event, is_before=True)
    assert books.report().rows == []
    assert faults(books) == {}
