#!/bin/sh
# A whole game with curl: an admin sells a draw, Ann buys tickets, the numbers are drawn, and Ann's wallet shows
# what it did to her money. Runs in sh, dash, bash and zsh, from the directory in which the service was started,
# as often as you like: the names are new each time.
#
#   sh docs/session.sh
#
# API names another address of the service, LOTTERY another path of the program, DATA another data directory.
set -eu
API=${API:-http://127.0.0.1:8080/api/v1}
LOTTERY=${LOTTERY:-./target/release/lottery}
ME=$(date +%s)
JSON='Content-Type: application/json'

step() { printf '\n\033[1m%s\033[0m\n' "$*"; }
# The first value of this name in the JSON that comes in.
field() { grep -o "\"$1\":[^,}]*" | head -n 1 | cut -d: -f2- | tr -d '"'; }
# JSON that a person can read, where the machine has a tool for it.
show() {
    if command -v jq > /dev/null; then jq .
    elif command -v python3 > /dev/null; then python3 -m json.tool --no-ensure-ascii
    else cat; echo; fi
}
# call TOKEN METHOD PATH [BODY [HEADER]]: the answer; an error ends the session with its text.
call() {
    answer=$(curl -sS -X "$2" "$API$3" -H "$JSON" -H "Authorization: Bearer $1" -H "${5:-Accept: application/json}" -d "${4:-}" -w '\n%{http_code}')
    code=$(printf '%s' "$answer" | tail -n 1)
    body=$(printf '%s' "$answer" | sed '$d')
    case $code in
        2*) printf '%s' "$body" ;;
        *) printf '%s %s: %s %s\n' "$2" "$3" "$code" "$body" >&2; return 1 ;;
    esac
}
log_in() { call '' POST /auth/login "{\"login\":\"$1\",\"password\":\"$2\"}" | field access_token; }

step "An admin is made on the command line, and logs in like everybody else"
echo 'correct horse' | "$LOTTERY" admin create --username "boss$ME" --email "boss$ME@example.com" --password-stdin
ADMIN=$(log_in "boss$ME" 'correct horse')

step "The admin makes a draw of 5 of 36, with 1,000 tickets in advance, and opens its sale"
DRAW=$(call "$ADMIN" POST /admin/draws '{"lottery":"5of36","sales_close_at":"2099-01-01T00:00:00Z"}' | field id)
call "$ADMIN" POST "/admin/draws/$DRAW/pool" '{"count":1000}' | show
call "$ADMIN" POST "/admin/draws/$DRAW/open" | show

step "Ann registers, logs in and pays 1,000.00 into her wallet by card (amounts are in kopecks)"
call '' POST /auth/register "{\"username\":\"ann$ME\",\"email\":\"ann$ME@example.com\",\"password\":\"battery staple\"}" | show
ANN=$(log_in "ann$ME" 'battery staple')
call "$ANN" POST /wallet/deposits '{"amount":100000,"token":"tok_visa"}' | show

step "She looks at three of the tickets made in advance"
call "$ANN" GET "/draws/$DRAW/pool?limit=3" | show

step "She buys three tickets from her wallet: her own numbers, a quick pick, and one made in advance"
call "$ANN" POST "/draws/$DRAW/tickets" \
    '{"tickets":[{"numbers":[1,7,13,22,36]},{"quick_pick":true},{"from_pool":true}],"payment":"wallet"}' \
    "Idempotency-Key: first-$ME" | show

step "She reserves one more, and pays for it by card"
PAYMENT=$(call "$ANN" POST "/draws/$DRAW/tickets" '{"tickets":[{"from_pool":true}],"payment":"later"}' | field id)
call "$ANN" POST "/payments/$PAYMENT/pay" '{"method":"card","token":"tok_visa"}' | show

step "The admin closes the sale and draws the numbers"
call "$ADMIN" POST "/admin/draws/$DRAW/close" | show
call "$ADMIN" POST "/admin/draws/$DRAW/conduct" | show

step "The result, Ann's tickets, and her wallet"
call '' GET "/draws/$DRAW/results" | show
call "$ANN" GET "/tickets?draw_id=$DRAW" | show
call "$ANN" GET /wallet/transfers | show
call "$ANN" GET /wallet | show

# In tests you act as the payment provider: sign the webhook with the secret that the service keeps.
SECRET=${DATA:-data}/webhook_secret
if ! [ -r "$SECRET" ]; then
    step "The webhook is left out: there is no $SECRET here (DATA names another data directory)"
    exit 0
fi
step "A card that takes its time: the provider tells the end of the charge with a signed webhook"
SLOW=$(call "$ANN" POST /wallet/deposits '{"amount":500,"token":"tok_async"}')
BODY="{\"payment\":\"$(printf '%s' "$SLOW" | field id)\",\"begun\":\"$(printf '%s' "$SLOW" | field updated_at)\",\"status\":\"paid\"}"
NOW=$(date +%s)
SIGNATURE=$(printf %s "$NOW.$BODY" | openssl dgst -sha256 -hmac "$(cat "$SECRET")" | sed 's/.* //')
call '' POST /webhooks/payments/sandbox "$BODY" "Stripe-Signature: t=$NOW,v1=$SIGNATURE" | show
call "$ANN" GET /wallet | show
