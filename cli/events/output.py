"""Prints events, and the state of messages.

At a terminal, a line that is wider than the terminal continues in indented lines. In a pipe or a
file (`width` is None) each event is one line, so that grep finds the whole event.
"""

from __future__ import annotations

import textwrap
from datetime import UTC, datetime
from typing import Final

from rich.cells import cell_len

from shared.events.stories import WAITING, Story
from shared.topics.records import Event, EventType

_MARGIN: Final = "    "
# The minimum width of a wrapped reply, even if the terminal is narrower.
_MIN_WIDTH: Final = 40


def at(time_ms: int) -> str:
    """Return a time as text in UTC, with a precision of one millisecond."""
    moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def event_lines(event: Event, width: int | None) -> list[str]:
    """Return one event as a line, or as several lines if the terminal is narrower."""
    data = event.data
    named = "  ".join([at(data.at_ms), f"{event.type.value:<10}", event.subject, data.client])
    rest = "  ".join(part for part in (data.recipient, _said(event)) if part)
    return _fitted(named, rest, _MARGIN, width)


def story_lines(story: Story, width: int | None) -> list[str]:
    """Return the lines of one message: its identity, its state, its events."""
    lines = [f"{story.mail_id}  {_state(story)}"]
    named = (
        ("client", _of(story.client, story.mailing_id, story.sub_client)),
        ("to", story.recipient),
        ("Message-ID", story.message_id),
        ("submission", story.submission_id),
        ("code", story.code),
        ("metadata", ", ".join(f"{name}={value}" for name, value in story.metadata.items())),
    )
    lines += [f"{_MARGIN}{name:<11} {text}" for name, text in named if text]
    for event in story.events:
        named_at = f"{_MARGIN}{at(event.data.at_ms)}  {event.type.value:<10}"
        lines += _fitted(named_at, _said(event), 2 * _MARGIN, width)
    return lines


def _fitted(head: str, rest: str, margin: str, width: int | None) -> list[str]:
    """Return both parts as one line if they fit; otherwise, put the rest into indented lines.

    A long word is not cut.
    """
    whole = f"{head}  {rest}" if rest else head
    if not rest or width is None or cell_len(whole) <= width:
        return [whole]
    wrapped = textwrap.wrap(
        rest,
        max(width, _MIN_WIDTH),
        initial_indent=margin,
        subsequent_indent=margin,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [head.rstrip(), *wrapped]


def _state(story: Story) -> str:
    if story.state == WAITING and story.next_attempt_at_ms:
        return f"{WAITING}, next attempt at {at(story.next_attempt_at_ms)}"
    return story.state


def _of(client: str, mailing_id: str, sub_client: str) -> str:
    return ", ".join(part for part in (client, mailing_id, sub_client) if part)


def _said(event: Event) -> str:
    """Return an event as one line; the control characters of a server's reply are removed."""
    data = event.data
    attempt = f"attempt {data.attempt}" if data.attempt else ""
    site = f"at {data.site}" if data.site else ""
    if event.type is EventType.SCHEDULED:
        return f"not before {at(data.next_attempt_at_ms)}"
    said = data.reply if event.type is EventType.DELIVERED else data.reason or data.reply
    text = ": ".join(part for part in (" ".join(filter(None, (attempt, site))), said) if part)
    return "".join(char if char.isprintable() else " " for char in text)
