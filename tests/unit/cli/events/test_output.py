"""How events and messages are shown, at a terminal and elsewhere."""

import pytest
from msgspec.structs import replace
from rich.cells import cell_len

from cli.events.output import event_lines, story_lines
from shared.events.stories import WAITING, stories
from shared.topics.codec import event_id
from shared.topics.records import Event, EventType, MailEvent

MAIL_ID = "01JDEXAMP0E0000000000000ZZ"
RECIPIENT = "Anna@xn--mnchen-3ya.example"
REPLY = "451 4.7.1 Greylisting in action, please come back later, after some minutes"
NARROW = (80, 100)


DATA = MailEvent(
    client="shop",
    mailing_id="spring",
    recipient=RECIPIENT,
    at_ms=1_795_467_600_000,
    metadata={"order": "7"},
)


def event(kind: EventType, **fields: object) -> Event:
    data = replace(DATA, **fields)
    return Event(event_id(MAIL_ID, kind, data.attempt), kind, MAIL_ID, data)


DEFERRED = event(EventType.DEFERRED, site="mx.example", attempt=1, reason=REPLY)


def test_elsewhere_than_at_a_terminal_an_event_is_a_line() -> None:
    (line,) = event_lines(DEFERRED, None)
    assert line.endswith(f"{MAIL_ID}  shop  {RECIPIENT}  attempt 1 at mx.example: {REPLY}")


def test_an_event_that_fits_the_terminal_is_a_line() -> None:
    delivered = event(EventType.DELIVERED)
    assert event_lines(delivered, 120) == event_lines(delivered, None)


@pytest.mark.parametrize("width", NARROW)
def test_an_event_that_is_wider_than_the_terminal_goes_on_in_indented_lines(width: int) -> None:
    first, *more = event_lines(DEFERRED, width)
    assert first.endswith(f"{MAIL_ID}  shop")
    assert all(line.startswith("    ") for line in more)
    assert all(cell_len(line) <= width for line in (first, *more))
    shown = " ".join(line.strip() for line in more)
    assert shown.split() == f"{RECIPIENT} attempt 1 at mx.example: {REPLY}".split()


def test_a_message_is_shown_with_all_its_names() -> None:
    deferred = event(
        EventType.DEFERRED, attempt=1, site="mx.example", reason="451 later\x1b[31m\nnow"
    )
    (story,) = stories([deferred])
    lines = story_lines(story, None)
    assert lines[0] == f"{MAIL_ID}  {WAITING}"
    assert lines[1].split() == ["client", "shop,", "spring"]
    assert lines[-1].endswith("attempt 1 at mx.example: 451 later [31m now")
    assert "order=7" in "\n".join(lines)


@pytest.mark.parametrize("width", NARROW)
def test_the_events_of_a_message_fit_the_terminal(width: int) -> None:
    (story,) = stories([DEFERRED])
    lines = story_lines(story, width)
    assert all(cell_len(line) <= width for line in lines)
    shown = " ".join(" ".join(lines).split())
    assert f"attempt 1 at mx.example: {REPLY}" in shown
