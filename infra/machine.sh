#!/bin/sh
# Installs what this machine lacks for `make demo` and `make test`: a C compiler for one dependency, PostgreSQL's server
# programs, and Python for the judge. With the argument `tests` it also installs what only the tests need: PgBouncer,
# Node, and the package managers of Python and Node. The packages come from the distribution (apt-get). The script asks
# before it uses sudo, and leaves no new database server running.
set -eu

missing=""
need() { missing="$missing $1"; }

command -v cc >/dev/null 2>&1 || need "gcc libc6-dev"
command -v python3 >/dev/null 2>&1 || need python3
command -v psql >/dev/null 2>&1 || need postgresql-client
if ! [ -x "$(pg_config --bindir 2>/dev/null)/initdb" ]; then
    ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || need postgresql
fi
if [ "${1:-}" = tests ]; then
    command -v pgbouncer >/dev/null 2>&1 || [ -x /usr/sbin/pgbouncer ] || need pgbouncer
    command -v node >/dev/null 2>&1 || need nodejs
    command -v npm >/dev/null 2>&1 || need npm
    python3 -m pip --version >/dev/null 2>&1 || need python3-pip
    python3 -c 'import ensurepip' >/dev/null 2>&1 || need python3-venv
fi
if ! command -v cargo >/dev/null 2>&1; then
    echo "Rust is not installed. Install it as https://rustup.rs describes, then run the same command again." >&2
    exit 1
fi
[ -n "$missing" ] || exit 0

by_hand() {
    echo "These packages are missing:$missing" >&2
    echo "Install them, on Debian or Ubuntu with: apt-get install --no-install-recommends$missing" >&2
    exit 1
}
command -v apt-get >/dev/null 2>&1 || by_hand
as_root=""
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null 2>&1 || by_hand
    [ -t 0 ] || by_hand
    printf 'These packages are missing:%s. Install them with sudo apt-get? [y/N] ' "$missing"
    read -r answer
    case "$answer" in y | Y | yes) as_root=sudo ;; *) by_hand ;; esac
fi

# Debian creates and starts a database cluster when it installs PostgreSQL, unless this file says not to.
if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    $as_root mkdir -p /etc/postgresql-common
    echo "create_main_cluster = false" | $as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
fi
$as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
# shellcheck disable=SC2086 # $missing is a list of packages
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    -o Dpkg::Options::=--force-confold $missing
# Debian starts PgBouncer as a service when it installs it. Tests start their own PgBouncer, so the service is disabled.
case "$missing" in
*pgbouncer*) $as_root systemctl disable --quiet --now pgbouncer >/dev/null 2>&1 || true ;;
esac
