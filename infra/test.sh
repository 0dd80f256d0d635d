#!/bin/sh
# Runs every test. The tests of the deployed stack are marked as ignored, because each deploys a stack and takes minutes,
# most of which it waits. So each of them runs at the same time as all other tests, and its output is printed at the end.
#
# Every command names the whole workspace: cargo then takes the programs as they were built, with the same features.
set -u
cd "$(dirname "$0")/.."
deployed="deployed adversity killed_functions upgrade"
features="--workspace --features syncline/demo"
running=""
# shellcheck disable=SC2086 # $features is several words, $running is a list of process ids
for test in $deployed; do
    timeout 1500 cargo test --quiet $features --test "$test" -- --ignored --nocapture >"target/e2e-$test.log" 2>&1 &
    running="$running $!"
done
# shellcheck disable=SC2086
trap 'kill $running 2>/dev/null; exit 130' INT TERM
failed=0
# shellcheck disable=SC2086
target/debug/with-postgres cargo test --quiet $features || failed=1
for process in $running; do
    wait "$process" || failed=1
done
for test in $deployed; do
    echo "output of the deployed-stack test $test:"
    grep -v '^running\|^$' "target/e2e-$test.log"
done
exit $failed
