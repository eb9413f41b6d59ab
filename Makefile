# Short names of the most common commands; ./sluice --help lists all commands.
.PHONY: demo up down test coverage check bench

demo:
	./sluice demo
up:
	./sluice up
down:
	./sluice down
test:
	./sluice test
# Branch coverage by the tests of the pure parts. Each core on its own must reach 95 %, because a high
# total can hide one core that lacks tests.
PURE = tests/unit tests/contract tests/golden tests/dialogs
CORES = services/ingest/core services/validate/core services/deliver/core services/billing/core \
	shared/mail shared/mailauth shared/responses shared/smtp shared/submission shared/topics
coverage:
	./sluice test $(PURE) --cov --cov-report=term:skip-covered
	@failed=0; for core in $(CORES); do echo "$$core"; .venv/bin/coverage report --skip-covered \
		--include="$$core/*" --fail-under=95 || failed=1; done; exit $$failed
check:
	.ci/run
bench:
	./sluice bench e2e
