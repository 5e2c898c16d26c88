#!/bin/sh
# Makes the database and its two logins. Patroni runs it once, on a new cluster, with a connection string of the
# superuser. The passwords are in files: owner_password and service_password in $SECRETS.
set -eu
SECRETS=${SECRETS:-/run/secrets}
export SECRETS
exec psql "$1" -v ON_ERROR_STOP=1 --quiet <<'SQL'
\set owner `cat "$SECRETS/owner_password"`
\set service `cat "$SECRETS/service_password"`
CREATE ROLE lottery LOGIN PASSWORD :'owner';
CREATE ROLE lottery_service LOGIN PASSWORD :'service';
CREATE DATABASE lottery OWNER lottery;
SQL
