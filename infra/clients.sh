#!/bin/sh
# Installs the public Salesforce clients that the simulator is tested with into target/clients, once.
set -eu
cd "$(dirname "$0")/.."
[ -d target/clients/python/simple_salesforce ] ||
    python3 -m pip install --quiet --disable-pip-version-check --no-warn-script-location --root-user-action ignore \
        --target target/clients/python simple-salesforce==1.12.10
[ -d target/clients/node/node_modules/jsforce ] ||
    npm install --silent --no-audit --no-fund --no-save --prefix target/clients/node jsforce@3.10.16
