"""Every command shown in README and docs is run by a test; these tests check the list.

The mark is a text of that test that its file contains once or twice, so that it disappears with
the test; it must not be a common word.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Its benchmarks are checked against the commands there are, by test_promises.py.
GENERATED = ROOT / "docs" / "promises.md"
PAGES = [ROOT / "README.md", *sorted({*(ROOT / "docs").glob("*.md")} - {GENERATED})]
_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
# A mark that occurs more often does not identify a test.
MOST_MARKS = 6
_INLINE = re.compile(r"`(\./sluice[^`]*)`")

# The command as shown, and the test that runs it (file, a text of that test).
CLASSIFY = "unit/cli/test_responses_classify.py"
RUN_BY = {
    "./sluice demo": ("integration/line/test_demo.py", "two_demos_side_by_side"),
    "./sluice test": ("unit/tools/test_run_tests.py", "test_the_tests_are_spread_unless_told_how"),
    "./sluice test tests/unit": ("unit/tools/test_run_tests.py", '"tests/unit"'),
    "./sluice test --junitxml=FILE": ("unit/tools/test_run_tests.py", "--junitxml"),
    "./sluice test --long": ("unit/support/test_long_runs.py", '"--long"'),
    "./sluice test --long --kind pause --seeds 3": ("unit/support/test_long_runs.py", '"pause"'),
    "./sluice test --long -k random_moments": ("chaos/test_random_kills.py", "random_moments"),
    "./sluice test --long -k three_broker": (
        "chaos/test_three_brokers.py",
        "def test_one_broker_is_killed_then_a_second",
    ),
    "./sluice test --long -k door_moves": (
        "chaos/test_bounce_door_moves.py",
        "def test_the_bounce_door_moves_out_of_ingest_and_back",
    ),
    "./sluice test --long -k two_versions --previous REVISION": (
        "chaos/test_two_versions.py",
        'getoption("--previous")',
    ),
    "./sluice up --brokers 3": ("unit/local/test_kafka_cluster.py", '"--brokers", "3"'),
    "./sluice up --apart": ("integration/line/conftest.py", '"--apart"'),
    "./sluice up": ("integration/line/test_up.py", '"up"'),
    "./sluice up --detach": ("integration/line/test_newcomer.py", '"--detach"'),
    "./sluice status": ("integration/line/test_up.py", '"status"'),
    "./sluice down": ("integration/line/test_up.py", '"down"'),
    "./sluice clients apply -f clients.yaml": ("integration/line/test_newcomer.py", '"apply"'),
    "./sluice check tests/messages/plain-english.eml --clients local/demo/clients.yaml"
    " --client acme": ("unit/cli/check/test_check.py", "test_the_command_of_the_docs"),
    "./sluice dkim rotate --client shop --domain news.shop.example --after 48h": (
        "unit/cli/test_dkim.py",
        '"rotate", "--folder", folder',
    ),
    "./sluice dkim dns": ("unit/cli/test_dkim.py", '"dns", "--print"'),
    "./sluice dkim list": ("unit/cli/test_dkim.py", '"list", "--folder"'),
    "./sluice tls report --day 2026-12-01": (
        "integration/test_tls_report.py",
        'report("--day", DAY)',
    ),
    "./sluice topics plan": ("integration/test_line_state.py", '"plan"'),
    "./sluice topics apply": ("integration/test_line_state.py", '"apply"'),
    './sluice clients remove shop --mail hold --reason "invoice 17"': (
        "integration/test_removed_clients.py",
        '"remove", name, "--mail", "hold", "--reason"',
    ),
    "./sluice clients list --removed": (
        "integration/test_removed_clients.py",
        '"list", "--removed"',
    ),
    "./sluice clients restore shop": ("integration/test_removed_clients.py", '"restore", name'),
    "./sluice clients forget shop": ("integration/test_removed_clients.py", '"forget", name'),
    './sluice suspend --client shop --domain example.com --reason "blocked there" --for 2h': (
        "unit/cli/control/test_verbs.py",
        '"blocked there"',
    ),
    "./sluice resume --client C --provider P": (
        "integration/test_orders.py",
        '"--client", CLIENT, "--provider", "google"',
    ),
    "./sluice resume --client shop --domain example.com": (
        "integration/test_orders.py",
        'place.run("resume", "--client", CLIENT, "--domain", "held.example")',
    ),
    './sluice bounce --client shop --mailing spring-26 --reason "wrong prices"': (
        "unit/cli/control/test_verbs.py",
        '"wrong prices"',
    ),
    "./sluice expire --lane bulk": ("unit/cli/control/test_verbs.py", '"expire", "--lane"'),
    "./sluice reroute --domain example.com --to relay.example.net:25": (
        "unit/cli/control/test_verbs.py",
        '"relay.example.net:25"',
    ),
    "./sluice orders": ("integration/test_orders.py", 'place.run("orders") == []'),
    "./sluice trace --domain example.com --for 60s": (
        "integration/test_trace_command.py",
        '"--domain", "Shown.Example", "--for", "10m"',
    ),
    "./sluice trace --mail-id 01HZZZZZZZ0000000000000000 --json": (
        "integration/test_trace_command.py",
        '"--mail-id", "01JDWJ5Z3M0000000000000001"',
    ),
    "./sluice message order-7": ("integration/test_orders.py", '("order-7", f"<named@{DOMAIN}>"'),
    './sluice message "<1@news.shop.example>"': (
        "integration/test_orders.py",
        '("order-7", f"<named@{DOMAIN}>"',
    ),
    "./sluice events --client shop --follow": (
        "integration/test_orders.py",
        '"cli.events.command", "--follow"',
    ),
    "./sluice queue summary": (
        "integration/test_orders.py",
        'place.run("command", "summary", module="queue")',
    ),
    "./sluice queue top --by domain": (
        "integration/test_orders.py",
        '"top", "--by", "domain", module="queue"',
    ),
    "./sluice queue show 01HZZZZZZZ0000000000000000": (
        "integration/test_orders.py",
        '"show", "01HZZZZZZZ0000000000000000"',
    ),
    './sluice cancel 01HZZZZZZZ0000000000000000 --reason "sold out"': (
        "integration/test_orders.py",
        '"--reason", "sold out"',
    ),
    "./sluice indoubt list": ("chaos/test_in_doubt.py", 'codes.run("list")'),
    './sluice indoubt send 01HZZZZZZZ0000000000000000 --reason "asked by phone"': (
        "chaos/test_in_doubt.py",
        'decision = "send" if',
    ),
    './sluice indoubt drop 01HZZZZZZZ0000000000000000 --reason "expired"': (
        "chaos/test_in_doubt.py",
        'else "drop"',
    ),
    "./sluice acls": ("unit/cli/test_acls.py", "test_commands_can_be_pasted_into_a_shell"),
    "./sluice acls --apply": (
        "integration/security/test_pipeline.py",
        'run(acls, "--kafka", place.secured.admin, "--apply")',
    ),
    "./sluice acls --services-only --apply": (
        "integration/security/test_pipeline.py",
        '"--services-only", "--apply"',
    ),
    "./sluice acls --services-only --compare": (
        "integration/security/test_pipeline.py",
        '"--services-only", "--compare"',
    ),
    "./sluice billing adopt-log": ("integration/test_billing_process.py", '"adopt-log"'),
    "./sluice billing rebuild --lose-counts": (
        "unit/services/billing/cli/test_rebuild.py",
        '"--lose-counts"',
    ),
    "./sluice config show": ("integration/test_config_show.py", "cli.config.command"),
    "./sluice audit": ("integration/line/test_newcomer.py", "cli.audit.command"),
    "./sluice billing recount": ("integration/line/test_newcomer.py", '"recount"'),
    "./sluice bench backlog": ("unit/bench/test_bench_backlog.py", '"backlog"'),
    "./sluice bench bad-sites tarpit": ("unit/bench/test_bench_bad_sites.py", '"tarpit", "--json"'),
    "./sluice bench deliver": ("integration/test_bench_deliver.py", '"deliver"'),
    "./sluice bench front-door": ("integration/test_bench_front_door.py", '"front-door"'),
    "./sluice bench rules": ("unit/bench/test_bench_rules.py", '"rules"'),
    "./sluice bench responses": (
        "unit/bench/test_bench_responses.py",
        '["responses", str(tmp_path)]',
    ),
    "./sluice bench unsubscribe": ("integration/test_bench_unsubscribe.py", '"unsubscribe"'),
    "./sluice validate api": ("integration/test_platform_api.py", "test_one_click_ends_the_mail"),
    "./sluice bench suppressions-rebuild": (
        "integration/test_bench_suppressions_rebuild.py",
        '"suppressions-rebuild"',
    ),
    "./sluice bench recipients": ("unit/bench/test_bench_recipients.py", '"recipients"'),
    "PYTHONPATH=. .venv/bin/python -m tests.fuzz headers --runs 100000 --seed 1"
    " --corpus ~/corpus/headers": ("fuzz/test_slices.py", '"--corpus"'),
    "PYTHONPATH=. .venv/bin/python -m tools.docs promises --record --bench e2e=e2e.json"
    " --bench long=.sluice/long/chaos.json": (
        "unit/tools/promises/test_promises.py",
        "test_the_figures_of_a_benchmark_get_on_the_page",
    ),
    "PYTHONPATH=. .venv/bin/python -m tools.measure_replies FOLDER": (
        "unit/tools/test_measure_replies.py",
        "main, [str(tmp_path)]",
    ),
    "PYTHONPATH=. .venv/bin/python -m tools.measure_returned FOLDER --wrong": (
        "unit/tools/test_measure_returned.py",
        'main, [str(tmp_path), "--wrong"]',
    ),
    "./sluice responses classify bounce.eml": (CLASSIFY, "test_a_message_has_a_row_per_recipient"),
    "./sluice responses classify --json ~/Maildir/new returned.mbox": (
        CLASSIFY,
        "test_an_mbox_is_classified_message_by_message",
    ),
    "./sluice responses classify - < bounce.eml": (CLASSIFY, "test_a_dash_is_standard_input"),
    "./sluice test tests/chart": ("unit/tools/test_run_tests.py", '"tests/chart"'),
    "docker build -t registry.example.com/sluice:0.1.0 .": (
        "chart/test_image.py",
        "test_the_last_stage_is_the_image_of_the_services",
    ),
    "helm install sluice helm -n mail -f values.yaml": (
        "chart/test_notes.py",
        "test_a_safe_installation_has_no_warning",
    ),
    "helm test sluice -n mail": ("chart/test_notes.py", "test_the_script_of_helm_test_reports"),
    "kubectl -n mail exec -i deploy/sluice-operator -- sluice clients apply -f - < clients.yaml": (
        "chart/test_image.py",
        "test_an_operator_runs_commands_by_their_names",
    ),
    "kubectl -n mail exec deploy/sluice-operator -- sluice topics plan": (
        "chart/test_image.py",
        "test_every_operators_command_runs_in_the_image",
    ),
    "./sluice shaping explain DOMAIN --client C": (
        "integration/test_shaping_command.py",
        '"explain", "gmail.com", "--client", "shop"',
    ),
    "./sluice shaping explain gmail.com --client shop": (
        "integration/test_shaping_command.py",
        '"explain", "gmail.com", "--client", "shop"',
    ),
    "./sluice shaping providers": (
        "unit/services/deliver/cli/test_explaining.py",
        "def test_the_providers_are_listed",
    ),
    "./sluice shaping check my-shaping.toml": (
        "integration/test_shaping_command.py",
        '"check", str(path)',
    ),
    "./sluice shaping explain gmail.com --source mx2": (
        "integration/test_shaping_command.py",
        '"explain", "gmail.com", "--source", "mx2"',
    ),
    "./sluice sources check": (
        "integration/test_sources_command.py",
        'run("check")',
    ),
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
