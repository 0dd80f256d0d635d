#!/bin/sh
# Runs every test. The tests of the deployed stack spend most of their time waiting, for messages to be delivered again
# or for a minute to pass. So each of them runs at the same time as all other tests, and its output is printed at the
# end.
set -u
cd "$(dirname "$0")/.."
deployed="deployed adversity kills upgrade"
running=""
for test in $deployed; do
    timeout 1200 cargo test --quiet -p e2e --test "$test" -- --nocapture >"target/e2e-$test.log" 2>&1 &
    running="$running $!"
done
# shellcheck disable=SC2086 # $running is a list of process ids
trap 'kill $running 2>/dev/null; exit 130' INT TERM
failed=0
target/debug/with-postgres cargo test --workspace --features syncline/demo --exclude e2e --quiet || failed=1
target/debug/with-postgres cargo test --quiet -p e2e --lib --test contract --test steps --test template \
    --test salesforce_side || failed=1
for process in $running; do
    wait "$process" || failed=1
done
for test in $deployed; do
    echo "output of the deployed-stack test $test:"
    grep -v '^running\|^$' "target/e2e-$test.log"
done
exit $failed
