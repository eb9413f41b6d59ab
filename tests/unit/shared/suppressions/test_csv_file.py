"""The recipients of a CSV file."""

import csv
import hashlib
import io

import pytest
from msgspec.structs import replace

from shared.suppressions.csv_file import NOT_UTF_8, FaultyLine, Recipient, as_csv, parse_rows
from shared.topics.suppressions import RecipientForm, Suppression, SuppressionReason

ADDRESS, SHA256, MD5 = RecipientForm.ADDRESS, RecipientForm.SHA256, RecipientForm.MD5
SHA = hashlib.sha256(b"a@x.example").hexdigest()
OLD = hashlib.md5(b"a@x.example").hexdigest()
FILES = {
    "a@x.example\nB@X.Example\n": [Recipient("a@x.example", ADDRESS), ("b@x.example")],
    f"{SHA.upper()}\n{OLD}": [Recipient(SHA, SHA256), Recipient(OLD, MD5)],
    "name,Email\nAnna,a@x.example\n": ["a@x.example"],
    "\ufeffrecipient\na@x.example\n\n,\n": ["a@x.example"],
    "a@x.example,Anna\n": ["a@x.example"],
    "a@x.example\nnobody\nb@x.example": ["a@x.example", FaultyLine(2, "nobody"), "b@x.example"],
    f"{SHA[:-1]}x\n": [FaultyLine(1, f"{SHA[:-1]}x")],
    "name,email\nAnna\n": [FaultyLine(2, "")],
    'a@x.example\n"b@x.example\n' + "c@x.example\n" * 300: [
        "a@x.example",
        FaultyLine(2, '"b@x.example', "a quote is not closed"),
        *["c@x.example"] * 300,
    ],
    b'j\xf6rg@x.example\n"b\xf6"@x.example\na@x.example'.decode("utf-8", NOT_UTF_8): [
        FaultyLine(1, "j\\xf6rg@x.example", "not UTF-8"),
        FaultyLine(2, '"b\\xf6"@x.example', "not UTF-8"),
        "a@x.example",
    ],
    "x" * 12_000_000 + "\nb@x.example": [
        FaultyLine(1, "x" * 100, "longer than 65,536 characters"),
        "b@x.example",
    ],
    'a@x.example,5" screen\nb@x.example\nc@x.example,7" screen\n': [
        *("a@x.example", "b@x.example", "c@x.example"),
    ],
    'email,note\na@x.example,"5"" screen"\nb@x.example,"""\nc@x.example\n': [
        "a@x.example",
        FaultyLine(3, 'b@x.example,"""', "a quote is not closed"),
        "c@x.example",
    ],
    'note,email\n"two\nc@x.example\nlines",a@x.example\n': ["a@x.example"],
    "": [],
    "a@x.example\n".encode("utf-16").decode("utf-8", NOT_UTF_8): [
        FaultyLine(1, "", "the file is UTF-16; save it as UTF-8")
    ],
    "client,email,reason,active\nshop,a@x.example,complaint,False\n": ["a@x.example"],
}
EXPORT = "client,recipient,form,reason,active,at_ms,author,note,mail_id,count\n"


@pytest.mark.parametrize(("text", "wanted"), FILES.items(), ids=range(len(FILES)))
def test_each_line_names_a_recipient_or_is_faulty(text: str, wanted: list[object]) -> None:
    named = [Recipient(each, ADDRESS) if isinstance(each, str) else each for each in wanted]
    assert list(parse_rows(io.StringIO(text, newline=""))) == named


def entry(recipient: str, form: RecipientForm = ADDRESS, note: str = "") -> Suppression:
    return Suppression("shop", SuppressionReason.MANUAL, recipient, form, note=note)


def test_what_was_exported_can_be_imported() -> None:
    """With its reasons: a client must not be able to remove a complaint after a recovery."""
    entries = [
        *(entry("=1+1@x.example"), entry(SHA, SHA256), entry(OLD, MD5, 'said "no",\nreally')),
        *(entry("a@x.example", note="=1+1"), entry("b@x.example", note="'quoted'")),
        *(replace(entry("c@x.example"), reason=reason) for reason in SuppressionReason),
        replace(entry("d@x.example"), active=False, at_ms=5, author="-x", mail_id="M", count=3),
        replace(entry("e@x.example"), client="bank"),
    ]
    assert list(parse_rows(io.StringIO("\ufeff" + as_csv(entries), newline=""))) == entries


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("shop,nobody,address,manual,True,0,,,,0", "neither one mail address"),
        ("shop,a@x.example,address,angry,True,0,,,,0", "reason: 'angry' is none of complaint, "),
        ("shop,a@x.example,address,manual,perhaps,0,,,,0", "active: 'perhaps' is neither"),
        ("shop,a@x.example,address,manual,True,-1,,,,0", "at_ms: '-1' is no whole number"),
        ("shop,a@x.example,address,manual,True,0,,,,1e9", "count: '1e9' is no whole number"),
        ("shop,a@x.example", "reason: '' is none of"),
    ],
)
def test_a_row_of_an_export_that_cannot_be_restored_says_why(row: str, fault: str) -> None:
    (found,) = parse_rows(io.StringIO(EXPORT + row, newline=""))
    assert isinstance(found, FaultyLine)
    assert (found.number, fault in found.reason) == (2, True), found


def test_a_note_is_no_formula() -> None:
    row = next(csv.DictReader(io.StringIO(as_csv([entry("a@x.example", note="=1+1")]))))
    assert row["note"] == "'=1+1"
