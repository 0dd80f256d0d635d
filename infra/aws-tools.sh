#!/bin/sh
# Installs into target/tools what the tests of the deployed stack and `make deploy-local` need: a local AWS (ministack),
# the SAM CLI, cargo-lambda with its linker, and cfn-lint. Does nothing if these versions are installed already.
set -eu
cd "$(dirname "$0")/.."
wanted="ministack==1.5.33 aws-sam-translator==1.113.0 aws-sam-cli==1.167.0 cargo-lambda==1.9.2 ziglang==0.17.1 cfn-lint==1.53.3"
have=target/tools/wanted
[ "$(cat "$have" 2>/dev/null)" = "$wanted" ] && exit 0
mkdir -p target/tools
[ -x target/tools/venv/bin/python ] || python3 -m venv target/tools/venv
# shellcheck disable=SC2086 # $wanted is a list of packages
target/tools/venv/bin/python -m pip install --quiet --disable-pip-version-check $wanted
echo "$wanted" >"$have"
