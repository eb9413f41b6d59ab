"""`python -m tools.measure_replies FOLDER` classifies SMTP refusals that others have collected.

Owns: the mapping from the samples' labels to our bounce classes. FOLDER has `replies.jsonl`: one
object per line with `line` (a reply), `label` and, for ZoneMTA, `category`. The samples do not
belong to this repository. If the label of a sample does not say the reason of the refusal, the
sample is left out. The number of these samples is printed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import click
from msgspec import Struct

from shared.responses.replies.reply_rules import (
    CONTENT,
    HARD,
    NETWORK,
    POLICY,
    SOFT,
    ReplyRule,
    classify,
    load_reply_rules,
)
from shared.smtp.events import Stage
from shared.smtp.reply import make_reply

REQUIRED_SHARE: Final = 0.97
_AUTHENTICATION: Final = "authentication"
_REFUSES_US: Final = frozenset({POLICY, _AUTHENTICATION})

# KumoMTA's classes. Uncategorized, Undefined, Other, ProtocolErrors, MessageExpired,
# TransientFailure, BadConfiguration and similar classes are left out, because none of our classes
# corresponds to them.
KUMOMTA: Final[dict[str, frozenset[str]]] = {
    "InvalidRecipient": frozenset({HARD}),
    "BadDomain": frozenset({HARD}),
    "InactiveMailbox": frozenset({HARD}),
    "QuotaIssues": frozenset({SOFT}),
    "AuthenticationFailed": _REFUSES_US,
    "InvalidSender": _REFUSES_US,
    "PolicyRelated": _REFUSES_US,
    "RelayingIssues": frozenset({POLICY}),
    "SpamBlock": frozenset({POLICY}),
    "SpamContent": frozenset({POLICY, CONTENT}),
    "ContentRelated": frozenset({CONTENT}),
    "ProhibitedAttachment": frozenset({CONTENT}),
    "VirusRelated": frozenset({CONTENT}),
    "BadConnection": frozenset({NETWORK}),
    "DNSFailure": frozenset({NETWORK}),
    "NoAnswerFromHost": frozenset({NETWORK}),
    "RoutingErrors": frozenset({NETWORK}),
}

# ZoneMTA's categories. "other" is left out, because ZoneMTA also uses it for meaningless text.
# ZoneMTA's action (defer, reject) is not used. The action only says whether to try again from
# another host, and we have no class for this. "capacity" means a full mailbox or a rate limit;
# "spam" means our host or the content; "policy" includes forged senders.
ZONE_MTA: Final[dict[str, frozenset[str]]] = {
    "blacklist": _REFUSES_US,
    "greylist": frozenset({POLICY}),
    "spam": frozenset({POLICY, CONTENT}),
    "policy": _REFUSES_US,
    "virus": frozenset({CONTENT}),
    "recipient": frozenset({HARD}),
    "capacity": frozenset({SOFT, POLICY}),
    "network": frozenset({NETWORK}),
}


class Row(Struct, frozen=True):
    """One sample: the classes that its label allows, and the class that Sluice found."""

    line: str
    label: str
    expected: frozenset[str]
    found: str

    @property
    def is_right(self) -> bool:
        """Return True if the label allows the class."""
        return self.found in self.expected


@click.command(help="Classify the replies of FOLDER/replies.jsonl and compare with their labels.")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--stage", type=click.Choice(["rcpt", "content"]), default="rcpt", show_default=True)
def main(folder: Path, stage: str) -> None:
    """Print the share, the confusion and the wrong rows; exit with 1 if the share is too small."""
    rules = load_reply_rules()
    samples = [json.loads(line) for line in (folder / "replies.jsonl").open(encoding="utf-8")]
    rows = list(measure(rules, Stage(stage), samples))
    for line in report(rows, len(samples)):
        click.echo(line)
    if not is_enough(rows):
        raise SystemExit(1)


def measure(
    rules: Sequence[ReplyRule], stage: Stage, samples: Sequence[dict[str, Any]]
) -> Iterator[Row]:
    """Classify the samples whose label is in our mapping."""
    for sample in samples:
        label = sample.get("category") or sample["label"]
        expected = (ZONE_MTA if sample.get("category") else KUMOMTA).get(label)
        line = sample["line"].strip()
        if expected is None:
            continue
        found = classify(rules, stage, make_reply(int(line[:3]), line[4:])).bounce_class
        yield Row(line, label, expected, found)


def is_enough(rows: Sequence[Row]) -> bool:
    """Return True if the share of right samples is large enough and held_against() returns none."""
    right = sum(row.is_right for row in rows)
    return bool(rows) and right >= REQUIRED_SHARE * len(rows) and not held_against(rows)


def held_against(rows: Sequence[Row]) -> list[Row]:
    """Return the refusals that were classified as hard, although their reason is the sender."""
    return [row for row in rows if row.found == HARD and row.expected & _REFUSES_US]


def report(rows: Sequence[Row], total: int) -> Iterator[str]:
    """Yield the lines to print."""
    right = sum(row.is_right for row in rows)
    yield f"{total} samples, {total - len(rows)} left out (their label names no reason)"
    yield f"{right} of {len(rows)} right: {right / max(1, len(rows)):.1%}"
    yield f"{len(held_against(rows))} refusals for policy or authentication came out hard"
    confusion = Counter((row.label, "/".join(sorted(row.expected)), row.found) for row in rows)
    for (label, expected, found), count in sorted(confusion.items()):
        yield f"{label:22} {expected:22} -> {found:15} {count:5}"
    for row in rows:
        if not row.is_right:
            yield f"wrong: {row.label} -> {row.found}: {row.line[:200]}"


if __name__ == "__main__":
    main()
