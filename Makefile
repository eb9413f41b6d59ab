# The daily commands; ./sluice has all of them.
.PHONY: demo up down test check bench

demo:
	./sluice demo
up:
	./sluice up
down:
	./sluice down
test:
	./sluice test
check:
	.ci/run
bench:
	./sluice bench e2e
