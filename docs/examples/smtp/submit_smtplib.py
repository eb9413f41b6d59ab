"""Submit one message with Python's smtplib.

    SLUICE_PASSWORD=... python submit_smtplib.py HOST PORT tls|starttls CLIENT RECIPIENT MESSAGE.eml

Exit code: 0 if the message is accepted, 1 if it is refused permanently, 75 if it must be submitted
again later, as when the server cannot be reached or refuses the login; 2 if the command is wrong.
Prints the reply, which contains the mail id or the broken rules.
"""

import email.policy
import os
import re
import smtplib
import ssl
import sys
from contextlib import closing, suppress
from email.parser import BytesParser
from pathlib import Path

WRONG_USE = 2
TEMPORARY = 75
ARGUMENTS = 7


def connect(host: str, port: int, tls: str) -> smtplib.SMTP:
    """Return an encrypted connection; the certificate and its host name are verified."""
    context = ssl.create_default_context()
    if tls == "tls":
        return smtplib.SMTP_SSL(host, port, timeout=60, context=context)
    smtp = smtplib.SMTP(host, port, timeout=60)
    smtp.starttls(context=context)
    return smtp


def submit(smtp: smtplib.SMTP, sender: str, recipient: str, content: bytes) -> tuple[int, str]:
    """Return the reply to the first refused command, else the reply to the message."""
    options = ["BODY=8BITMIME"]
    if not (sender + recipient).isascii():
        smtp.command_encoding = "utf-8"
        options.append("SMTPUTF8")
    code, text = smtp.mail(sender, options)
    if code == 250:
        code, text = smtp.rcpt(recipient)
    if code == 250:
        code, text = smtp.data(content)
    return code, text.decode()


def main(host: str, port: str, tls: str, client: str, recipient: str, path: str) -> None:
    """Submit the file with CRLF at the end of each line, as SMTP requires (RFC 5321, 2.3.8)."""
    content = re.sub(rb"\r?\n", b"\r\n", Path(path).read_bytes())
    message = BytesParser(policy=email.policy.SMTPUTF8).parsebytes(content, headersonly=True)
    sender = message["From"].addresses[0].addr_spec  # this address is also the envelope sender
    try:
        with closing(connect(host, int(port), tls)) as smtp:
            smtp.login(client, os.environ["SLUICE_PASSWORD"])
            code, text = submit(smtp, sender, recipient, content)
            with suppress(OSError):  # the reply to the message is known
                smtp.quit()
    except smtplib.SMTPDataError as refused:  # the command DATA was refused
        code, text = refused.smtp_code, bytes(refused.smtp_error).decode()
    except OSError as error:  # including all other errors of smtplib
        print(error, file=sys.stderr)
        sys.exit(TEMPORARY)
    print(code, text)
    if code != 250:
        sys.exit(TEMPORARY if code < 500 else 1)


if __name__ == "__main__":
    if len(sys.argv) != ARGUMENTS or "SLUICE_PASSWORD" not in os.environ:
        print(__doc__, file=sys.stderr)
        sys.exit(WRONG_USE)
    main(*sys.argv[1:])
