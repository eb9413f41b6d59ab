"""Wrong use of `sluice trace` is said, and nothing is asked of Kafka or Redis."""

import pytest
from click.testing import CliRunner

from cli.trace.command import main


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--domain or --mail-id"),
        (["--domain", "a.example", "--mail-id", "x"], "either --domain or --mail-id"),
        (["--domain", "a b"], "'a b' is not a domain such as example.com"),
        (["--mail-id", "x"], "--mail-id: "),
        (["--domain", "a.example", "--for", "11m"], "--for: 11m is longer than 10m"),
        (["--domain", "a.example", "--for", "long"], "'long' is not a duration such as 60s or 5m"),
        (["--domain", "a.example", "--for", "0s"], "'0s' is not a duration"),
    ],
)
def test_wrong_use_names_the_option_and_how_to_mend_it(arguments: list[str], said: str) -> None:
    found = CliRunner().invoke(main, arguments)
    assert found.exit_code == 2
    assert said in found.output
