"""Judges one message for `sluice check`, and formats the verdict. Pure.

Owns: the verdict's shape for programs and its rows for people. Does not own: the rules, their
reasons and their fixes (shared/submission/rules.py); the validate service uses the same rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from cli.check.files import Message
from cli.check.lines import (
    HeaderLine,
    header_lines,
    line_to_fix,
    lines_meant,
    notes_for_date,
    notes_for_smtp,
    printable,
)
from shared.mail.headers import CODE_HEADER, Defect, scan, scan_normal_form
from shared.mail.likely_mistakes import mistake_in_bytes
from shared.submission.checks import case_of
from shared.submission.rules import RULES, UNREADABLE, Rule, Submission, judge
from shared.topics.records import Facts, Violation

_MAX_LINES_SHOWN: Final = 3  # This number limits the output if a header occurs very often.
_ENVELOPE_RULES: Final = ("R9", "R10", "R11")
_FIX_HEADER: Final = "Write the header as lines `Name: value`, followed by an empty line"
_FIX_UNREADABLE: Final[dict[str, str]] = {
    Defect.NUL_BODY: "Remove the NUL bytes, or encode the text as base64"
}


class Verdict(Struct, frozen=True):
    """The verdict on one message: the broken rules, each with the header lines that it concerns."""

    message: str
    first_line: int
    submission: Submission
    broken: dict[str, Violation]
    meant: dict[str, list[HeaderLine]]
    not_judged: frozenset[str]  # The rules that are not judged, because another rule is broken.
    defect: str  # The reason why the message cannot be read, or "".
    notes: tuple[str, ...]  # Problems that break no rule.

    @property
    def accepted(self) -> bool:
        """Return True if no rule is broken."""
        return not self.broken


class Row(Struct, frozen=True):
    """One line for people: the label at the margin, the text, and the kind of the line."""

    label: str
    text: str
    mark: str  # One of pass, fail, note and detail.
    cut: bool = False  # True if the text is cut instead of wrapped.


def check(message: Message, submission: Submission, code_header: bytes = CODE_HEADER) -> Verdict:
    """Judge a message in the same way as the validate service; `code_header` is lower-case."""
    facts, content = scan_normal_form(message.content, partial(scan, code_header=code_header))
    broken = {row.rule: row for row in judge(facts, submission)}
    if UNREADABLE in broken and (hint := mistake_in_bytes(message.content)):
        row = broken[UNREADABLE]
        broken[UNREADABLE] = replace(row, reason=f"{row.reason}; {hint}")
    lines = header_lines(content[: facts.header_bytes])
    # If the bytes are not a message, their header may end too early, so a Date may be missing.
    dates = () if UNREADABLE in broken else notes_for_date(lines)
    return Verdict(
        message.name,
        message.first_line,
        submission,
        broken,
        {rule: lines_meant(rule, lines, code_header) for rule in broken},
        _not_judged(facts, submission, broken),
        facts.defect,
        (*notes_for_smtp(message.content, message.first_line), *dates),
    )


def as_document(verdict: Verdict) -> dict[str, Any]:
    """Return the verdict as JSON: all twelve rules, `unreadable` if the message cannot be read, and
    `notes` if there are any.
    """
    names = [rule.id for rule in RULES]
    if UNREADABLE in verdict.broken:
        names.append(UNREADABLE)
    document = {
        "file": verdict.message,
        "accepted": verdict.accepted,
        "rules": {name: _as_entry(verdict, name) for name in names},
    }
    return {**document, "notes": list(verdict.notes)} if verdict.notes else document


def in_full(verdict: Verdict) -> Iterator[Row]:
    """Yield a row with pass or fail for every rule, as the output for a single message."""
    yield _head(verdict)
    yield from _unreadable(verdict)
    for rule in RULES:
        if rule.id in verdict.broken:
            yield from _failed(verdict, rule)
        elif rule.id in verdict.not_judged:
            yield Row(f"-     {rule.id}", f"not judged: {rule.title}", "detail")
        else:
            yield Row(f"pass  {rule.id}", rule.title, "pass")
    yield from _notes(verdict)


def in_short(verdict: Verdict) -> Iterator[Row]:
    """Yield a row for each rule that fails, and one row with the names of the other rules."""
    yield _head(verdict)
    if not verdict.accepted:
        yield from _failures(verdict)
    yield from _notes(verdict)


def _failures(verdict: Verdict) -> Iterator[Row]:
    yield from _unreadable(verdict)
    for rule in RULES:
        if rule.id in verdict.broken:
            yield from _failed(verdict, rule)
    kept = [rule.id for rule in RULES if rule.id not in {*verdict.broken, *verdict.not_judged}]
    if kept:
        yield Row("pass", " ".join(kept), "pass")
    missing = [rule.id for rule in RULES if rule.id in verdict.not_judged]
    if missing:
        yield Row("-", f"not judged: {' '.join(missing)}", "detail")


def _not_judged(
    facts: Facts, submission: Submission, broken: dict[str, Violation]
) -> frozenset[str]:
    sender = case_of(facts, submission).sender
    lacks = {
        "R9": not facts.from_address,
        "R10": not sender,
        "R11": not sender or not facts.from_address,
    }
    return frozenset(rule for rule, lacking in lacks.items() if lacking and rule not in broken)


def _as_entry(verdict: Verdict, rule: str) -> dict[str, Any]:
    broken = verdict.broken.get(rule)
    if broken is None:
        return {"ok": True, "reason": "", "header": ""}
    return {
        "ok": False,
        "reason": broken.reason,
        "header": line_to_fix(rule, verdict.meant[rule]),
    }


def _head(verdict: Verdict) -> Row:
    if verdict.accepted:
        return Row("accepted", printable(verdict.message), "pass")
    rules = " ".join(verdict.broken)
    return Row("refused", f"{printable(verdict.message)}  ({rules})", "fail")


def _unreadable(verdict: Verdict) -> Iterator[Row]:
    broken = verdict.broken.get(UNREADABLE)
    if broken is not None:
        yield Row("FAIL", f"{UNREADABLE}: {printable(broken.reason)}", "fail")
        fix = _FIX_UNREADABLE.get(verdict.defect, _FIX_HEADER)
        yield Row("", f"fix: {fix}", "detail")


def _notes(verdict: Verdict) -> Iterator[Row]:
    for note in verdict.notes:
        yield Row("note", note, "note")


def _failed(verdict: Verdict, rule: Rule) -> Iterator[Row]:
    yield Row(f"FAIL  {rule.id}", printable(verdict.broken[rule.id].reason), "fail")
    meant = verdict.meant[rule.id]
    for line in meant[:_MAX_LINES_SHOWN]:
        number = verdict.first_line - 1 + line.number
        yield Row("", f"line {number}: {printable(line.text)}", "detail", cut=True)
    if len(meant) > _MAX_LINES_SHOWN:
        yield Row("", f"and {len(meant) - _MAX_LINES_SHOWN} more", "detail")
    envelope = _envelope(verdict.submission, rule.id)
    if envelope:
        yield Row("", f"envelope: {printable(envelope)}", "detail", cut=True)
    yield Row("", f"fix: {rule.fix}", "detail")


def _envelope(submission: Submission, rule: str) -> str:
    """Return the part of the envelope that this rule compares with the message."""
    if rule in _ENVELOPE_RULES and submission.sender:
        return f"MAIL FROM {submission.sender}"
    if rule == "R3" and submission.recipient:
        return f"RCPT TO {submission.recipient}"
    return ""
