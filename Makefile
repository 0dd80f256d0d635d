# The two commands of the README. Each does its own set-up on a fresh Debian machine with Rust.

.PHONY: help demo test machine
help:
	@echo "make demo   see Syncline at work on this machine (DEMO='--for 5m --seed 7' sets how)"
	@echo "make test   run every test"

machine:
	@sh infra/machine.sh

demo: machine
	cargo build -p syncline --no-default-features
	target/debug/syncline demo $(DEMO)

test: machine
	@sh infra/machine.sh tests
	@sh infra/clients.sh
	cargo build --workspace --all-targets
	target/debug/with-postgres cargo test --workspace --quiet
