# Verbs of the project. `make test` prepares a fresh machine by itself; a second run of its set-up costs nothing.

# cargo is found where rustup puts it, also by a shell that was opened before it was installed.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

# Further words for cargo test, e.g. TEST_ARGS='--test decide' or TEST_ARGS='-- --show-output'.
TEST_ARGS ?=

.PHONY: help fmt fmt-check clippy deny lint setup test bench run

help:
	@echo 'make fmt      format the code'
	@echo 'make lint     formatting, clippy, and licences, bans and sources of the dependencies'
	@echo 'make test     set up what the tests need, then run them all'
	@echo 'make bench    run the benchmarks'
	@echo 'make run      build it and start the quickstart'

fmt:
	cargo fmt

fmt-check:
	cargo fmt --check

clippy:
	cargo clippy --locked --all-targets -- -D warnings

# Building cargo-deny takes minutes, so only lint asks for it and only once.
deny:
	@cargo deny --version >/dev/null 2>&1 || cargo install cargo-deny --locked
	cargo deny --locked check bans licenses sources

lint: fmt-check clippy deny

setup:
	@tests/sdk/setup.sh

test: setup
	cargo test --locked $(TEST_ARGS)

bench:
	cargo bench --locked

run:
	cargo run --release --locked -- quickstart
