"""Formats a report as the lines that `sluice audit` prints. Pure."""

from __future__ import annotations

from typing import Final

from msgspec.structs import astuple

from cli.terminal import Column, Kind, lay_out
from shared.audit.report import FaultKind, Report, ReturnedReport, ReturnedRow
from shared.plurals import counted

_KEYS: Final = {"client": "client", "mailing_id": "mailing ID", "sub_client": "sub-client"}
_UNDER_WAY: Final = frozenset({FaultKind.MISSING, FaultKind.WAITING_RETURNED})
_HEADINGS: Final = {"not_forwarded": "failed"}
_ALWAYS_SHOWN: Final = ("received", "waiting")


def table_lines(report: Report, width: int) -> list[str]:
    """Return the counts of each mailing as a table, without columns that contain only zeros."""
    numbers = [
        name
        for name in report.rows[0].__struct_fields__
        if name not in _KEYS
        and (name in _ALWAYS_SHOWN or any(getattr(row, name) for row in report.rows))
    ]
    columns = [Column(heading) for heading in _KEYS.values()]
    columns += [Column(name.replace("_", " "), Kind.COUNT) for name in numbers]
    rows = [[str(getattr(row, name)) for name in (*_KEYS, *numbers)] for row in report.rows]
    return ["received = final events + held + waiting", "", *lay_out(columns, rows, width), ""]


def returned_lines(returned: ReturnedReport, width: int) -> list[str]:
    """Return the table of returned mail by client; empty if no mail was returned."""
    if not returned.rows:
        return []
    headings = [
        _HEADINGS.get(name, name.replace("_", " ")) for name in ReturnedRow.__struct_fields__
    ]
    columns = [Column(headings[0]), *(Column(each, Kind.COUNT) for each in headings[1:])]
    rows = [list(map(str, astuple(row))) for row in returned.rows]
    title = "returned mail: came back = events + not understood + open"
    return [title, "", *lay_out(columns, rows, width), ""]


def verdict_of(report: Report) -> str:
    """Return the verdict: balanced, not balanced, or not settled because messages still wait."""
    if report.balanced:
        return "balances"
    if all(fault.kind in _UNDER_WAY for fault in report.faults):
        return "NOT settled"
    return "does NOT balance"


def summary_lines(report: Report) -> list[str]:
    """Return the verdict with its equation, and a hint if messages still wait."""
    if not report.rows and report.balanced:
        return ["balances: nothing has been received yet"]
    held = f" + {report.held} held" if report.held else ""
    lost = f" + {report.lost} in no queue" if report.lost else ""
    lines = [
        f"{verdict_of(report)}: {report.received} received = {report.finals} final"
        f"{held} + {report.waiting - report.lost} waiting{lost};"
        f" {report.first_dispatches} dispatched"
    ]
    if report.lost:
        have = "has" if report.lost == 1 else "have"
        are = "is" if report.lost == 1 else "are"
        lines.append(
            f"{counted(report.lost, 'message')} {have} no final event and {are} in no queue."
        )
    if report.returned is not None and report.returned.rows:
        back = report.returned
        lines.append(
            f"returned mail: {back.came_back} came back, {back.events} events,"
            f" {back.waiting} waiting"
        )
    if verdict_of(report) == "NOT settled":
        lines.append("The counts are right so far, but messages still wait: try again later.")
    return lines
