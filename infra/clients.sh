#!/bin/sh
# Installs into target/clients the public Salesforce client libraries with which the simulator is tested. Does nothing
# for a library that is installed already.
set -eu
cd "$(dirname "$0")/.."
[ -d target/clients/python/simple_salesforce ] ||
    python3 -m pip install --quiet --disable-pip-version-check --no-warn-script-location --root-user-action ignore \
        --target target/clients/python simple-salesforce==1.12.10
[ -d target/clients/node/node_modules/jsforce ] ||
    npm install --silent --no-audit --no-fund --no-save --prefix target/clients/node jsforce@3.10.16
