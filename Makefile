# The front door. Everything behind it is cargo and tests/run.sh.
PREFIX ?= /usr/local
CARGO ?= cargo
ARGS ?=

.PHONY: help run test bench soak fuzz install clean

help: ## Show what can be made
	@sed -nE 's/^([a-z]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 10

run: ## Build the release binary and start the relay with safe defaults
	$(CARGO) build --release --locked
	target/release/vizard serve $(ARGS)

test: ## Install what the tests need and run them all
	tests/run.sh

bench: ## Measure vizard, coturn and a bare forwarder side by side (root; ARGS: see benches/compare/main.rs)
	$(CARGO) bench --locked --bench compare -- $(ARGS)

soak: ## Calls of eleven minutes, and the generated tests at length: VIZARD_CASES schedules each
	tests/stacks/run.sh soak
	VIZARD_CASES=$${VIZARD_CASES:-1000000} $(CARGO) test --release -p vizard-proto

fuzz: ## Fuzz the core; SECONDS_EACH seconds for each target
	fuzz/run.sh $${SECONDS_EACH:-600}

install: ## Install the binary, the unit and the example (DESTDIR and PREFIX are honoured)
	$(CARGO) build --release --locked
	install -Dm755 target/release/vizard $(DESTDIR)$(PREFIX)/bin/vizard
	install -Dm644 config.example.toml $(DESTDIR)$(PREFIX)/share/vizard/config.example.toml
	sed 's|/usr/local|$(PREFIX)|' systemd/vizard.service | install -Dm644 /dev/stdin $(DESTDIR)/etc/systemd/system/vizard.service

clean: ## Remove what was built
	$(CARGO) clean
