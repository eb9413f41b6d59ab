"""What `clients check` says if it does not know the name of the installation's mail server."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from cli.clients.command import main

CLIENTS = """
clients:
  - name: acme
    sending_domain: news.acme.example
    forwarding_address: returns@office.example
    mailing_id: M-1
"""
NEEDED = (
    "give --mail-host, the name of this installation's mail server, which the client's MX record"
    " has to name; for example --mail-host mx.example.com (the setting ingest.smtp_host_name,"
    " 'laptop', is not a domain name)"
)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], NEEDED),
        (
            ["--mail-host", "mx"],
            "--mail-host: 'mx' is not the name of a host; for example mx.example.com",
        ),
    ],
)
def test_the_mail_host_is_explained_with_an_example(
    options: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICE_INGEST__SMTP_HOST_NAME", "laptop")
    done = CliRunner().invoke(main, ["check", "acme", "--clients", "-", *options], input=CLIENTS)
    assert done.exit_code == 2
    assert said in done.output


def test_a_client_that_there_is_not_is_said_before_what_its_check_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SLUICE_INGEST__SMTP_HOST_NAME", "laptop")
    done = CliRunner().invoke(main, ["check", "acem", "--clients", "-"], input=CLIENTS)
    said = "sluice: no client 'acem' is registered; known: acme; did you mean acme?\n"
    assert (done.exit_code, done.stderr) == (2, said)
