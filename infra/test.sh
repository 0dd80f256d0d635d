#!/bin/sh
# Runs every test. Those of the deployed stack mostly wait (for messages to come again, for a minute to pass), so they
# run beside all others, and what they say is shown after them.
set -u
cd "$(dirname "$0")/.."
log=target/e2e.log
target/debug/with-postgres cargo test --quiet -p e2e >"$log" 2>&1 &
deployed=$!
trap 'kill "$deployed" 2>/dev/null' INT TERM
target/debug/with-postgres cargo test --workspace --exclude e2e --quiet
others=$?
echo "the deployed stack:"
wait "$deployed"
stack=$?
cat "$log"
[ "$others" = 0 ] && [ "$stack" = 0 ]
