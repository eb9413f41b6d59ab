"""Generates messages and addresses: mostly well-formed, with all unusual forms of mail.

A message starts as one that passes all rules, so that the effect of a single change is visible.
"""

from __future__ import annotations

from base64 import b64encode
from random import Random
from typing import Final

OURS: Final = "news.shop.example"
CODES: Final = frozenset({"SPRING26", "WINTER25"})

_NAMES: Final = (
    *("From", "To", "Cc", "Bcc", "Subject", "Message-ID", "Reply-To", "Return-Path", "Date"),
    *("X-bm-mailing", "Sender", "Resent-To", "Resent-From", "Received", "X-Other", "MIME-Version"),
)
_ODD_NAMES: Final = (
    *("{} ", "{}\t", " {}", "\ufeff{}", "{}\x00", "\u00a0{}", "({}){}", "{}:", "X-{}", "{}s"),
)
_ATOMS: Final = (
    "max",
    "a",
    "news",
    "o'neil+x",
    "m=x",
    "Dr",
    "ü",
    "用户",
    "=?utf-8?Q?a?=",
    "%",
    "!",
)
_DOMAINS: Final = (
    *(OURS, "kunde.example", "KUNDE.Example", "x." + OURS, "shop.example", "müller.example"),
    *(
        "xn--mller-kva.example",
        "localhost",
        "x.example.",
        "192.0.2.1",
        "[192.0.2.1]",
        "x_y.example",
    ),
    *("sh\uff4fp.example", "a\u3002example", "sh\u00adop.example", "-x.example", "a..example", ""),
    *("b" * 64 + ".example", "b." * 126 + "example", "ban\u212a.example", "οδος.example", "a.٣"),
)
_TEXTS: Final = (
    *(
        "Order",
        "",
        " ",
        "\u200b",
        "=?utf-8?Q??=",
        "=?utf-8?Q?_?=",
        "=?x?B?AA==?=",
        "春",
        "=?utf-8?B?",
    ),
    *("=?utf-8?Q?=0D=0ABcc:_x?=", "=?iso-2022-jp?B?GyRCPVUbKEI=?=", "=?utf-16?B?/v8=?=", "\u3164"),
)
_FOLDS: Final = ("\r\n ", "\r\n\t", "\n ", "\r\n \r\n ", "\r\n", "\r ", "\n")
_SPACES: Final = ("", "", "", " ", "\t", "  ", "(c)", "(a(b)c)", '("x\\)")', "(", "\r\n ")


def domain(random: Random) -> str:
    return random.choice(_DOMAINS)


def local_part(random: Random) -> str:
    kind = random.randrange(8)
    if kind == 0:
        return '"' + random.choice(("max", "m x", "a@b", 'a\\"b', "", "\t", "ü", "\\\\")) + '"'
    if kind == 1:
        return random.choice(("", ".a", "a.", "a..b", "a" * 64, "a" * 65, "\u200b", "\uff20"))
    return ".".join(random.choice(_ATOMS) for _ in range(random.choice((1, 1, 1, 2, 3))))


def address(random: Random) -> str:
    """An addr-spec, sometimes with extra text inside."""
    if random.randrange(5):
        return random.choice((f"a@{OURS}", "max@kunde.example", f"{local_part(random)}@{OURS}"))
    space = random.choice(_SPACES) if not random.randrange(3) else ""
    return f"{local_part(random)}{space}@{space}{domain(random)}"


def display_name(random: Random) -> str:
    return random.choice(
        (
            *("", "Max", "Max Muster", '"Muster, Max"', "Dr. M.", "Muster, Max", '"a \\" b"', "ü"),
            *(
                "a@b.example",
                '"a@b.example"',
                "=?utf-8?Q?M=C3=BC?=",
                "=?utf-8?B?AA==?=",
                "Friends:",
            ),
            *('"x', "(only)", "[x]", "\x1b$B", "=?utf-8?Q?x=0A?=", '""', "x" * 300, "\u202e"),
        )
    )


def mailbox(random: Random) -> str:
    """A mailbox, list, group, route or a similar form."""
    spec = address(random)
    around = random.choice(_SPACES)
    if random.randrange(3) == 0:
        return f"{around}{spec}{random.choice(_SPACES)}"
    route = random.choice(("@relay.example:", "@a,@b:", " ")) if not random.randrange(8) else ""
    value = f"{display_name(random)} {around}<{route}{spec}>{random.choice(_SPACES)}"
    match random.randrange(14):
        case 0:
            return f"{value}, {mailbox(random)}"
        case 1:
            return f"{value},"
        case 2:
            return f"Friends: {value};"
        case 3:
            return f"{value}{value}"
        case _:
            return value


def text(random: Random) -> str:
    if random.randrange(4):
        return "".join(random.choice(_TEXTS) for _ in range(random.randrange(1, 4)))
    charset = random.choice(("utf-8", "iso-8859-1", "utf-7", "gb2312", "zip", "utf-8*en", ""))
    octets = random.randbytes(random.randrange(8))
    return f"=?{charset}?{random.choice('BbQqX')}?{b64encode(octets).decode()}?="


def message_id(random: Random) -> str:
    left = random.choice(("1", "a.b", "a..b", '"q"', "ü", "", "a b", "a@b", "x" * 990))
    right = random.choice((OURS, "b", "[192.0.2.1]", "[x", "", "b.", "b c"))
    form = random.choice(("<{}@{}>",) * 6 + ("{}@{}", "<{}@{}> (c)", "<<{}@{}>>", "< {}@{} >"))
    return form.format(left, right) * random.choice((1, 1, 1, 1, 2))


def value_of(name: str, random: Random) -> str:
    """A valid or invalid value for the header."""
    match name.lower():
        case "from" | "to" | "cc" | "bcc" | "reply-to" | "return-path" | "sender":
            return mailbox(random)
        case "subject":
            return text(random)
        case "message-id":
            return message_id(random)
        case "x-bm-mailing":
            return random.choice(("SPRING26", "spring26", "", " SPRING26 ", "NONE", "SPRING26 (c)"))
        case _:
            return random.choice(("", "x", "1.0", "x" * 1_200, "ü", "\x07"))


def line(random: Random) -> str:
    name = random.choice(_NAMES)
    spelled = random.choice((name, name, name.upper(), name.lower(), name.swapcase()))
    if not random.randrange(12):
        spelled = random.choice(_ODD_NAMES).format(name, name)
    value = value_of(name, random)
    if not random.randrange(4):
        at = random.randrange(len(value) + 1)
        value = value[:at] + random.choice(_FOLDS) + value[at:]
    return f"{spelled}:{random.choice((' ', ' ', ' ', '', '  '))}{value}"


_GOOD: Final = (
    ("From", f"News <a@{OURS}>"),
    ("To", "Max Muster <max@kunde.example>"),
    ("Message-ID", f"<1@{OURS}>"),
    ("Subject", "Order"),
    ("Date", "Mon, 2 Mar 2026 10:00:00 +0000"),
    ("X-bm-mailing", "SPRING26"),
)


def message(random: Random) -> bytes:
    """A message that passes, with up to three lines replaced, added, repeated or removed."""
    lines = [f"{name}: {value}" for name, value in _GOOD]
    random.shuffle(lines)
    for _ in range(random.choice((0, 1, 1, 1, 2, 3))):
        at = random.randrange(len(lines))
        match random.randrange(6):
            case 0 | 1:
                lines.insert(at, line(random))
            case 2 | 3:
                name = lines[at].partition(":")[0]
                lines[at] = f"{name}: {value_of(name, random)}"
            case 4:
                lines.insert(at, lines[random.randrange(len(lines))])
            case _:
                del lines[at]
        lines = lines or [line(random)]
    end = random.choice(("\r\n",) * 7 + ("\n",))
    body = random.choice(("Hello", "", "To: x\r\n", "\n\r\n", "\0", "."))
    return (end.join(lines) + end + end + body).encode("utf-8", "surrogatepass")
