#!/bin/sh
# Checks the licences, the sources and the bans of deny.toml with cargo-deny, which it installs into target/tools, once.
# Advisories are checked where the advisory database can be reached.
set -eu
cd "$(dirname "$0")/.."
version=0.20.2
deny=target/tools/bin/cargo-deny
if ! "$deny" --version 2>/dev/null | grep -q "$version"; then
    cargo install --quiet --locked --root target/tools --version "$version" cargo-deny
fi
"$deny" check --hide-inclusion-graph bans licenses sources
