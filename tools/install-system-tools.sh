#!/bin/sh
# What the tests need and no wheel brings: a Chromium, PostgreSQL 15, PgBouncer, pgBackRest, nginx,
# Caddy, promtool and systemd's own checker. On Debian as root they are installed; elsewhere everything that is missing
# is listed at once. Without them the tests that need them are skipped by name, and fail in CI
# (CI=true).
set -eu

packages=
missing=

need() { # package, what it is for
    packages="$packages $1"
    missing="$missing
  $2"
}

if [ -z "${CHROMIUM:-}" ] && ! command -v chromium > /dev/null; then
    need chromium "chromium, or CHROMIUM=/path/to/it"
fi

if [ -x /sbin/ldconfig ] && ! /sbin/ldconfig -p | grep -q 'libatomic\.so\.1 '; then
    need libatomic1 "libatomic (Playwright's driver is linked with it)"
fi

if [ ! -x "${PG15_BIN:-/usr/lib/postgresql/15/bin}/postgres" ]; then
    need postgresql-15 "PostgreSQL 15, or PG15_BIN=/path/to/its/bin"
fi

if [ -z "${PG15_BIN:-}" ] && [ ! -e /usr/lib/postgresql/15/lib/plpgsql_check.so ]; then
    need postgresql-15-plpgsql-check "plpgsql_check for PostgreSQL 15 (checks the bodies of functions)"
fi

if [ -z "${PGBOUNCER:-}" ] && ! command -v pgbouncer > /dev/null && [ ! -x /usr/sbin/pgbouncer ]; then
    need pgbouncer "pgbouncer, or PGBOUNCER=/path/to/it"
fi

if [ -z "${PG15_BIN:-}" ] && [ ! -e /usr/lib/postgresql/15/lib/pg_cron.so ]; then
    need postgresql-15-cron "pg_cron for PostgreSQL 15 (runs the retention jobs in the database)"
fi

if [ -z "${PROMTOOL:-}" ] && ! command -v promtool > /dev/null; then
    need prometheus "promtool (comes with Prometheus), or PROMTOOL=/path/to/it"
fi

if ! command -v pgbackrest > /dev/null; then
    need pgbackrest "pgbackrest (backups of a server of one's own)"
fi

if ! command -v nginx > /dev/null && [ ! -x /usr/sbin/nginx ]; then
    need nginx "nginx (the example in ops/nginx is started)"
fi

if ! command -v caddy > /dev/null; then
    need caddy "caddy (the example in ops/caddy is started)"
fi

if ! command -v systemd-analyze > /dev/null; then
    need systemd "systemd-analyze (reads the units in ops/systemd)"
fi

if [ -z "$packages" ]; then
    exit 0
fi

if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null && grep -qs '^12' /etc/debian_version; then
    echo "Installing$packages ..."
    apt-get update -qq
    # PostgreSQL's package would also start a server that nobody here asked for.
    mkdir -p /etc/postgresql-common
    [ -e /etc/postgresql-common/createcluster.conf ] ||
        echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf
    # Nor is any other service to be started by being installed.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' > "$policy"
        chmod +x "$policy"
        trap 'rm -f "$policy"' EXIT
    fi
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
        -o Dpkg::Options::=--force-confold $packages > /dev/null
    exit 0
fi

echo "Missing here, so some tests are skipped:$missing" >&2
[ "${CI:-}" != true ] || exit 1
