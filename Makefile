# The two commands of the README. Each does its own set-up on a fresh Debian machine with Rust.

.PHONY: help demo test check simulate record machine deploy-local deploy-local-down
help:
	@echo "make demo   see Syncline at work on this machine (DEMO='--for 5m --seed 7' sets how)"
	@echo "make test   run every test"
	@echo "make check  format, lints, unit tests and 500 simulated seeds: what to run before each commit (needs no Node, no SAM)"
	@echo "make simulate   run random schedules over everything that can go wrong (SEEDS=1000000 START=0 set which)"
	@echo "make record     write the hashes of the recorded seeds anew, after a change of behaviour on purpose"
	@echo "make deploy-local        deploy the stack to a local AWS, with a database and a simulated Salesforce"
	@echo "make deploy-local-down   end that"

machine:
	@sh infra/machine.sh

demo: machine
	cargo build -p syncline --no-default-features --features demo
	target/debug/syncline demo $(DEMO)

test: machine
	@sh infra/machine.sh tests
	@sh infra/clients.sh
	@sh infra/aws-tools.sh
	@sh infra/previous.sh
	cargo build --workspace --all-targets --features syncline/demo
	@sh infra/test.sh

# The unit tests of every library, the use cases in memory and the recorded seeds. No database, no Node, no SAM.
CHECKED = -p syncline-engine -p syncline-sync -p syncline-salesforce -p syncline-postgres -p syncline-embedded \
	-p syncline-config -p syncline-aws -p ingest -p poll -p applier -p planner -p support
check:
	cargo fmt --check
	cargo clippy --workspace --all-targets --features syncline/demo --quiet -- -D warnings
	cargo test --quiet $(CHECKED) --lib
	cargo test --quiet -p syncline --bins
	cargo test --quiet -p simulation --test use_cases
	cargo test --quiet -p simulation --test schedules recorded_seeds_write_what_they_wrote

SEEDS ?= 100000
START ?= 0
simulate: machine
	cargo build --profile simulation -p simulation
	target/simulation/simulation --seeds $(SEEDS) --start $(START) --covered

# Only after a change of behaviour on purpose: the test over these hashes says that nothing else changed it.
record: machine
	cargo build --profile simulation -p simulation
	target/simulation/simulation --record tests/simulation/seeds/recorded.txt

deploy-local: machine
	@sh infra/machine.sh tests
	@sh infra/aws-tools.sh
	cargo build -p e2e -p syncline -p ingest -p poll -p applier
	target/debug/deploy-local up

deploy-local-down:
	@target/debug/deploy-local down
