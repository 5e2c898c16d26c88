#!/bin/sh
# Makes the secrets of compose.yaml, each in a file of secrets/, which must not exist yet. The containers' users read the
# files, so their mode is 0644; the directory keeps everybody else out. The passwords are parts of URLs, so they are
# letters and digits. No TLS: nobody else is on the network between the two containers.
set -eu
umask 022
mkdir -m 700 secrets || { echo "the secrets that exist stay: the database keeps its first passwords" >&2; exit 1; }
random() { head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n'; }
owner=$(random) service=$(random)
printf %s "$owner" >secrets/owner_password
printf %s "$service" >secrets/service_password
printf %s "postgres://lottery:$owner@postgres/lottery?sslmode=disable" >secrets/owner_url
printf %s "postgres://lottery_service:$service@postgres/lottery?sslmode=disable" >secrets/database_url
random >secrets/jwt_secret
# Empty until the first change of the key: docs/operations.md.
: >secrets/jwt_secret_previous
