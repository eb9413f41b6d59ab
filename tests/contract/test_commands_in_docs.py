"""Every command shown in README and docs is run by a test; these tests check the list.

The mark is a text of that test that its file contains once or twice, so that it disappears with
the test; it must not be a common word.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
# A mark that occurs more often does not identify a test.
MOST_MARKS = 6
_INLINE = re.compile(r"`(\./sluice[^`]*)`")

# The command as shown, and the test that runs it (file, a text of that test).
RUN_BY = {
    "./sluice demo": ("integration/test_line.py", "two_demos_side_by_side"),
    "./sluice test": ("unit/tools/test_run_tests.py", "test_the_tests_are_spread_unless_told_how"),
    "./sluice test tests/unit": ("unit/tools/test_run_tests.py", '"tests/unit"'),
    "./sluice test --long": ("unit/support/test_long_runs.py", '"--long"'),
    "./sluice test --long --kind pause --seeds 3": ("unit/support/test_long_runs.py", '"pause"'),
    "./sluice up": ("integration/test_line.py", '"up"'),
    "./sluice up --detach": ("integration/test_line.py", '"--detach"'),
    "./sluice status": ("integration/test_line.py", '"status"'),
    "./sluice down": ("integration/test_line.py", '"down"'),
    "./sluice clients apply -f clients.yaml": ("integration/test_line.py", '"apply"'),
    "./sluice check tests/messages/plain-english.eml --clients local/demo/clients.yaml"
    " --client acme": ("unit/cli/test_check.py", "test_the_command_of_the_docs"),
    "./sluice topics plan": ("integration/test_line_state.py", '"plan"'),
    "./sluice topics apply": ("integration/test_line_state.py", '"apply"'),
    "./sluice billing adopt-log": ("integration/test_billing_process.py", '"adopt-log"'),
    "./sluice billing rebuild": ("integration/test_billing_process.py", '"rebuild"'),
    "./sluice config show": ("integration/test_config_show.py", "cli.config.command"),
    "./sluice audit": ("integration/test_line.py", "cli.audit.command"),
    "./sluice billing recount": ("integration/test_line.py", '"recount"'),
    "./sluice bench front-door": ("integration/test_bench_front_door.py", '"front-door"'),
    "./sluice bench rules": ("unit/bench/test_bench_rules.py", '"rules"'),
    "PYTHONPATH=. .venv/bin/python -m tests.fuzz headers --runs 100000 --seed 1"
    " --corpus ~/corpus/headers": ("fuzz/test_slices.py", '"--corpus"'),
    "./sluice lock": ("unit/cli/test_launcher.py", "test_neutralising_twice"),
}


def shown() -> set[str]:
    commands: set[str] = set()
    for page in PAGES:
        text = page.read_text()
        for block in _BLOCK.findall(text):
            commands.update(line.strip() for line in block.splitlines() if line.strip())
        commands.update(match.strip() for match in _INLINE.findall(text))
    return commands


def test_every_command_shown_is_in_the_list() -> None:
    assert shown() <= RUN_BY.keys()


@pytest.mark.parametrize("command", RUN_BY)
def test_the_test_that_runs_a_command_is_there(command: str) -> None:
    name, mark = RUN_BY[command]
    assert 1 <= (ROOT / "tests" / name).read_text().count(mark) <= MOST_MARKS
