# The daily commands; ./sluice has all of them.
.PHONY: demo up down test coverage check bench

demo:
	./sluice demo
up:
	./sluice up
down:
	./sluice down
test:
	./sluice test
# Branch coverage by the tests of the pure parts; the cores must have 95 %.
PURE = tests/unit tests/contract tests/golden tests/dialogs
CORES = services/*/core/*,shared/mail/*,shared/mailauth/*,shared/smtp/*,shared/submission/*
coverage:
	./sluice test $(PURE) --cov --cov-report=term:skip-covered
	.venv/bin/coverage report --skip-covered --include='$(CORES)' --fail-under=95
check:
	.ci/run
bench:
	./sluice bench e2e
