"""Declares the fields of clients.yaml, each with its parser, its description and its JSON Schema.
This module does no I/O.

A declaration has the name, the bounds and the description of a field, and says whether the field is
required. The declarations are used by clients_file.py, which reads the file, and by schema.py,
which generates the schema for editors. So both modules know the same fields. This module does not
own the type of a client and its defaults (client.py) and the parsing of single values (fields.py).

The schema of a kind is as strict as JSON Schema allows, but never stricter than the parser of this
kind, because an editor must not report a value that `clients apply` accepts. The parser reads every
value as text, whereas an editor distinguishes types. So if the text of a number or a boolean is a
valid name, the schema allows that type, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from msgspec import Struct

from shared.registry.client import OverQuota, Returns
from shared.registry.file import fields
from shared.topics.names import CLIENT_NAME_PATTERN
from shared.topics.records import MailClass, OnDoubt

MAX_CODES: Final = 10_000  # with this limit, a client's record is well below Kafka's 1 MB
MAX_IPS: Final = 1_000
MAX_PATTERNS: Final = 10_000
MAX_PATTERNS_CHARS: Final = 500_000  # the sum of all patterns; keeps a record below Kafka's 1 MB
# The highest number of patterns that must be compared with each recipient, because they cannot be
# looked up in a table. 100 patterns take 20 µs for a usual address, and about 6 ms for the longest
# address and deliberately slow patterns.
MAX_FREE_PATTERNS: Final = 100
MAX_LIMIT: Final = 1_000
MAX_AGE_BOUNDS_S: Final = (60, 30 * 86_400)
MAX_CONNECTIONS: Final = 10_000
MAX_MESSAGES_PER_MINUTE: Final = 1_000_000
MAX_QUOTA: Final = 10_000_000_000

Schema = Mapping[str, Any]


class Kind(Struct, frozen=True):
    """A kind of value: the parser of its text, and its JSON Schema."""

    parse: Callable[[str], Any]
    schema: Schema


class Field(Struct, frozen=True):
    """One key of a table in clients.yaml."""

    key: str
    kind: Kind
    description: str
    required: bool = False
    most: int = 0  # the highest number of values in a list, or 0 if the field is not a list


def _whole_number(lowest: int, highest: int) -> Kind:
    # A number in quotes is valid, too, but its bounds are only checked by `clients apply`.
    schema = {
        "type": ["integer", "string"],
        "minimum": lowest,
        "maximum": highest,
        "pattern": "^[0-9]{1,12}$",
    }
    return Kind(partial(fields.whole_number, lowest=lowest, highest=highest), schema)


def _text(parse: Callable[[str], Any], pattern: str, *types: str) -> Kind:
    bounds = {"minimum": 0} if types else {}
    return Kind(parse, {"type": ["string", *types], "pattern": f"^{pattern}$", **bounds})


# A label may be written in any script, so the pattern excludes only the ASCII characters that are
# not valid.
_LABEL: Final = r"[^\x00-\x2c\x2e\x2f\x3a-\x40\x5b-\x60\x7b-\x7f.。．｡\s]+"
_LABELS: Final = rf"{_LABEL}([.。．｡]{_LABEL})+"
_NAME: Final = _text(fields.name, f"(?:{CLIENT_NAME_PATTERN})", "integer", "boolean")
_PARENT: Final = _text(fields.parent, f"({CLIENT_NAME_PATTERN})?", "integer", "boolean")
_ID: Final = _text(fields.identifier, fields.ID_PATTERN, "number", "boolean")
_DOMAIN: Final = _text(fields.domain, rf"(?=.*[^0-9.][^.]*\.?$){_LABELS}\.?")
_ATOM: Final = r"""[^\s@.,:;<>()[\]"\\]+"""
_ADDRESS: Final = _text(fields.address, rf"(?=[^@]{{1,64}}@){_ATOM}(\.{_ATOM})*@{_LABELS}\.?")
_NETWORK: Final = _text(fields.network, r"(?=.*[.:])[0-9A-Fa-f:.]+(%[^/\s]+)?(/(?!0+$)[0-9.]+)?")
_PATTERN_PART: Final = r"""([^\s,;<>()[\]"\\@]|\\[*?])"""
_PATTERN: Final = Kind(
    fields.pattern,
    {
        "type": ["string", "number", "boolean"],
        "maxLength": fields.MAX_PATTERN_CHARS,
        "pattern": rf"^{_PATTERN_PART}*@?{_PATTERN_PART}*$",
        "minLength": 1,
    },
)
_LANE: Final = _text(fields.lane, f"({fields.LANE_PATTERN})?", "integer", "boolean")
_POOL: Final = _text(fields.pool, f"({fields.LANE_PATTERN})?", "integer", "boolean")
_CLASS: Final = Kind(fields.mail_class, {"type": ["string"], "enum": list(MailClass)})
_TRUTH: Final = Kind(
    fields.truth,
    {
        "type": ["boolean", "string"],
        "pattern": "^([Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee])$",
    },
)
_RETURNS: Final = Kind(fields.returns, {"type": ["string"], "enum": list(Returns)})
_OVER_QUOTA: Final = Kind(fields.over_quota, {"type": ["string"], "enum": list(OverQuota)})
_QUOTA: Final = _whole_number(0, MAX_QUOTA)
_ON_DOUBT: Final = Kind(fields.on_doubt, {"type": ["string"], "enum": list(OnDoubt)})
CODE_TEXT: Final = _text(fields.code, fields.CODE_PATTERN)

CLIENT: Final = (
    Field("name", _NAME, "The client's name: its login name and part of its topic names.", True),
    Field(
        "sending_domain",
        _DOMAIN,
        "The domain that is delegated to us. From and the envelope sender must be in it, not in a"
        " sub-domain, and no other client may have it.",
        True,
    ),
    Field(
        "forwarding_address",
        _ADDRESS,
        "The address for returned mail. Its host is neither the sending domain nor part of it.",
        True,
    ),
    Field("mailing_id", _ID, "The standard mailing ID, for mail without a code.", True),
    Field("mail_class", _CLASS, "The kind of mail."),
    Field("lane", _LANE, "The lane of all its mail. Empty: chosen by the recipient's domain."),
    Field(
        "pool",
        _POOL,
        "The pool of source addresses that its mail is sent from. Empty: by the kind of mail.",
    ),
    Field(
        "ips",
        _NETWORK,
        "Addresses and networks from which it may submit. None: any address.",
        most=MAX_IPS,
    ),
    Field(
        "block_list",
        _PATTERN,
        "Recipients that get no mail from it; * matches any text, ? one character; a backslash"
        r" before them (\*, \?) makes them literal."
        f" At most {MAX_FREE_PATTERNS} have wildcards other than a * for the whole local part.",
        most=MAX_PATTERNS,
    ),
    Field(
        "hard_limit",
        _whole_number(1, MAX_LIMIT),
        "Number of hard bounces after which a recipient gets no more mail.",
    ),
    Field(
        "soft_limit",
        _whole_number(1, MAX_LIMIT),
        "Number of soft bounces in a row after which a recipient gets no more mail.",
    ),
    Field(
        "max_age_s",
        _whole_number(*MAX_AGE_BOUNDS_S),
        "Seconds after which an undelivered message expires.",
    ),
    Field(
        "max_connections",
        _whole_number(0, MAX_CONNECTIONS),
        "SMTP connections it may have open at one front door. 0: the installation's limit.",
    ),
    Field(
        "max_messages_per_minute",
        _whole_number(0, MAX_MESSAGES_PER_MINUTE),
        "Messages per minute that it may submit by SMTP at one front door. 0: the installation's"
        " limit.",
    ),
    Field(
        "own_events",
        _TRUTH,
        "Whether its events are also written to its own topic, mail.events.<name>.",
    ),
    Field(
        "returns",
        _RETURNS,
        "What goes to the forwarding address, besides complaints, replies and mail to postmaster"
        " and abuse: reports on bounces, refused messages, messages to suppressed recipients."
        " Default: bounces.",
        most=len(Returns),
    ),
    Field(
        "parent",
        _PARENT,
        "The client whose suppressed recipients and block list it inherits, and those of the"
        " parents of that client. Empty: none.",
    ),
    Field(
        "monthly_quota",
        _QUOTA,
        "Messages that it may send per month: those accepted, less those that are cancelled. There"
        " are events at 80, 90 and 100 percent. 0: no quota.",
    ),
    Field(
        "over_quota",
        _OVER_QUOTA,
        "What happens to mail over its quota, or over that of a sub-client: warn (it is sent),"
        " hold (until the next month or a higher quota) or refuse. Default: warn.",
    ),
    Field(
        "on_doubt",
        _ON_DOUBT,
        "What happens to a message that a server may have already, for example after a crash: send"
        " sends it again, hold keeps it until an operator decides. Default: send.",
    ),
)

CODE: Final = (
    Field("mailing_id", _ID, "The mailing of messages with this code.", True),
    Field("sub_client", _ID, "The sub-client that is billed for them.", True),
    Field("active", _TRUTH, "Whether messages may use the code; if false, R8 refuses them."),
    Field(
        "monthly_quota",
        _QUOTA,
        "Messages that the sub-client may send per month; the same in all codes of the sub-client"
        " that have one. 0: no quota.",
    ),
    Field("on_doubt", _ON_DOUBT, "As for the client, for messages with this code."),
)
CODES_DESCRIPTION: Final = (
    "Values of X-bm-mailing, each with its mailing and the billed sub-client. Two codes must not"
    " differ by case only."
)
