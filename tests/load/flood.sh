#!/bin/sh
# How many purchases a second: one hot draw, one quick pick an order, paid from the wallet, by 256 players over 64,
# 256 and 512 connections, without and with idempotency keys; then beside a hundred log-ins at a time; then the list
# of draws. Needs wrk and curl, and a service with limits.enabled: false and limits.orders_in_flight: 4096 beside it.
# With NAIVE, the way of pgbench to its database, the same rows are written naively too (naive.sql).
#
#   ADMIN_LOGIN=boss ADMIN_PASSWORD='correct horse' NAIVE='-h data/postgres.sock -U lottery lottery' tests/load/flood.sh
set -eu
API=${API:-http://127.0.0.1:8080/api/v1}
SECONDS_EACH=${SECONDS_EACH:-5}
HERE=$(cd "$(dirname "$0")" && pwd)
ROOM=$(mktemp -d)
trap 'rm -rf "$ROOM"' EXIT
RUN=$(date +%s)

field() { sed "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/"; }
call() { curl -sf "$API$1" -H 'Content-Type: application/json' -H "Authorization: Bearer $2" -d "$3"; }

ADMIN=$(call /auth/login '' "{\"login\":\"$ADMIN_LOGIN\",\"password\":\"$ADMIN_PASSWORD\"}" | field access_token)
DRAW=$(call /admin/draws "$ADMIN" '{"lottery":"5of36","sales_close_at":"2099-01-01T00:00:00Z"}' | sed 's/{"id":\([0-9]*\).*/\1/')
call "/admin/draws/$DRAW/open" "$ADMIN" '' > /dev/null

for n in $(seq 256); do
    NAME="flood-$RUN-$n"
    call /auth/register '' "{\"username\":\"$NAME\",\"email\":\"$NAME@example.com\",\"password\":\"battery staple\"}" > /dev/null
    TOKEN=$(call /auth/login '' "{\"login\":\"$NAME\",\"password\":\"battery staple\"}" | field access_token)
    call /wallet/deposits "$TOKEN" '{"amount":100000000,"token":"tok_visa"}' > /dev/null
    for again in 2 3 4 5 6 7 8 9 10; do
        call /wallet/deposits "$TOKEN" '{"amount":100000000,"token":"tok_visa"}' > /dev/null
    done
    echo "$TOKEN" >> "$ROOM/tokens"
done

export DRAW TOKENS="$ROOM/tokens"
for KEYED in '' 1; do
    export KEYED
    for CONNECTIONS in 64 256 512; do
        echo "$CONNECTIONS connections${KEYED:+, with keys}:"
        wrk -t1 -c"$CONNECTIONS" -d"$SECONDS_EACH" --latency -s "$HERE/flood.lua" "$API" \
            | grep -E '99%|Requests/sec|Non-2xx'
    done
done
echo "64 connections, with keys, beside a hundred log-ins at a time:"
wrk -t1 -c100 -d$((SECONDS_EACH + 2)) -s "$HERE/login.lua" "$API" > "$ROOM/logins" &
sleep 1
wrk -t1 -c64 -d"$SECONDS_EACH" --latency -s "$HERE/flood.lua" "$API" | grep -E '99%|Requests/sec|Non-2xx'
wait
if [ -n "${NAIVE:-}" ]; then
    # A draw that the service does not sell.
    DRAW=$(call /admin/draws "$ADMIN" '{"lottery":"5of36","sales_close_at":"2099-01-01T00:00:00Z"}' | sed 's/{"id":\([0-9]*\).*/\1/')
    FIRST=$(curl -sf "$API/me" -H "Authorization: Bearer $(head -n 1 "$TOKENS")" | sed 's/{"id":\([0-9]*\).*/\1/')
    for CONNECTIONS in 4 16; do
        echo "naively, without HTTP, $CONNECTIONS connections:"
        # shellcheck disable=SC2086 # several words
        pgbench -n -M prepared -c "$CONNECTIONS" -T "$SECONDS_EACH" -D draw="$DRAW" -D first="$FIRST" \
            -f "$HERE/naive.sql" $NAIVE | grep -E '^tps'
    done
fi
echo "GET /draws:"
wrk -t1 -c64 -d"$SECONDS_EACH" --latency "$API/draws" | grep -E '99%|Requests/sec|Non-2xx'
