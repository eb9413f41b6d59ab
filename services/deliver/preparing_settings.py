"""The deliver service's settings for preparing a message: signatures, fields, 8-bit text."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from shared.mailauth.dkim_keys.table import MAX_SELECTOR_CHARS, SELECTOR_PATTERN
from shared.settings.addresses import FOLDER, PATH


class PreparingSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The changes that the deliver service makes to a message before the message is sent."""

    dkim_key_file: Annotated[
        str,
        Meta(
            extra=PATH,
            description="PEM file of the private key for DKIM signatures: RSA of 2048 to 4096 bits,"
            " or Ed25519. Mail is signed for the domain of the envelope sender. This key signs mail"
            " that no key of `deliver.dkim_keys` signs. If both settings are empty, mail is not"
            " signed.",
        ),
    ] = ""
    dkim_keys: Annotated[
        str,
        Meta(
            extra=FOLDER,
            description="Folder of DKIM keys by client and domain: the table `keys.toml` and the"
            " key files that it names, as `sluice dkim rotate` writes them; reloaded on change.",
        ),
    ] = ""
    dkim_body: Annotated[
        Literal["relaxed", "simple"],
        Meta(
            description="How DKIM signatures treat the body: `relaxed` ignores changes of white"
            " space within lines and at their ends; `simple` ignores only empty lines at the end.",
        ),
    ] = "relaxed"
    code_header: Annotated[
        str,
        Meta(
            pattern=r"^([!-9;-~]{1,64})?\Z",
            extra={"expected": "the name of a header, or nothing"},
            description="Header that is removed from outgoing mail: the mailing code, as in"
            " `ingest.code_header`. Empty: none.",
        ),
    ] = "X-bm-mailing"
    dkim_selector: Annotated[
        str,
        Meta(
            pattern=SELECTOR_PATTERN,
            max_length=MAX_SELECTOR_CHARS,
            extra={"expected": "at most 63 letters, digits, `-` and `.`, as in a domain name"},
            description="Where each sending domain publishes the public key: a TXT record at"
            " `<selector>._domainkey.<domain>`.",
        ),
    ] = "sluice"
    unsubscribe_url: Annotated[
        str,
        Meta(
            pattern=r"^((https://[A-Za-z0-9.-]+|http://(localhost|127\.0\.0\.1))(:[0-9]+)?"
            r"(/[!$-;=?-~]*)?)?\Z",
            max_length=200,
            extra={
                "expected": "an https URL in ASCII without #, such as https://news.example/u, or"
                " nothing (http only for localhost)"
            },
            description="Page for unsubscribing: the address at which recipients reach `/u` of"
            " `validate api`. Marketing mail without List-Unsubscribe gets this field with the page"
            " (`<this>/<token>`) and an address, and List-Unsubscribe-Post (RFC 8058). Needs"
            " `return_path.keys_file`. Empty: nothing is added.",
        ),
    ] = ""
    feedback_sender: Annotated[
        str,
        Meta(
            pattern=r"^([A-Za-z0-9]{5,15})?\Z",
            extra={"expected": "5 to 15 letters and digits, or nothing"},
            description="Last part of the Feedback-ID that marketing mail without a Feedback-ID"
            " gets (`<mailing ID>:<client>:marketing:<this>`). Empty: none is added.",
        ),
    ] = ""
    recipient_token: Annotated[
        bool,
        Meta(
            description="Add `X-Sluice-Recipient-Token` to mail that gets no List-Unsubscribe. The "
            "header contains the recipient, readable (base64url) and signed, so that a "
            "complaint is counted even if the mailbox provider has hidden the recipient. "
            "Needs `return_path.keys_file`.",
        ),
    ] = True
    eight_bit: Annotated[
        Literal["convert", "bounce"],
        Meta(
            description="What to do with 8-bit text for a server without 8BITMIME, and with raw"
            " UTF-8 in a header for a server without SMTPUTF8: `convert` it (a body to"
            " quoted-printable or base64, a header to encoded words) before the message is signed,"
            " or `bounce` the message.",
        ),
    ] = "convert"
