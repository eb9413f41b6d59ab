"""Prints events, and what became of messages."""

from __future__ import annotations

from datetime import UTC, datetime

from shared.events.stories import WAITING, Story
from shared.topics.records import Event, EventType


def at(time_ms: int) -> str:
    """Return a time as it is shown: UTC, to the millisecond."""
    moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def event_line(event: Event) -> str:
    """Return one event as a line."""
    data = event.data
    parts = [at(data.at_ms), f"{event.type.value:<10}", event.subject, data.client]
    parts += [part for part in (data.recipient, _said(event)) if part]
    return "  ".join(parts)


def story_lines(story: Story) -> list[str]:
    """Return the lines of one message: what it is, its state, its events."""
    lines = [f"{story.mail_id}  {_state(story)}"]
    named = (
        ("client", _of(story.client, story.mailing_id, story.sub_client)),
        ("to", story.recipient),
        ("Message-ID", story.message_id),
        ("submission", story.submission_id),
        ("code", story.code),
        ("metadata", ", ".join(f"{name}={value}" for name, value in story.metadata.items())),
    )
    lines += [f"    {name:<11} {text}" for name, text in named if text]
    for event in story.events:
        said = _said(event)
        lines.append(f"    {at(event.data.at_ms)}  {event.type.value:<10}{said and '  ' + said}")
    return lines


def _state(story: Story) -> str:
    if story.state == WAITING and story.next_attempt_at_ms:
        return f"{WAITING}, next attempt at {at(story.next_attempt_at_ms)}"
    return story.state


def _of(client: str, mailing_id: str, sub_client: str) -> str:
    return ", ".join(part for part in (client, mailing_id, sub_client) if part)


def _said(event: Event) -> str:
    """Return an event as one line, without control characters: replies come from strangers."""
    data = event.data
    attempt = f"attempt {data.attempt}" if data.attempt else ""
    site = f"at {data.site}" if data.site else ""
    if event.type is EventType.SCHEDULED:
        return f"not before {at(data.next_attempt_at_ms)}"
    said = data.reply if event.type is EventType.DELIVERED else data.reason or data.reply
    text = ": ".join(part for part in (" ".join(filter(None, (attempt, site))), said) if part)
    return "".join(char if char.isprintable() else " " for char in text)
