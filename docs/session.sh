#!/bin/sh
# A whole game with curl: an admin sells a draw, Ann buys tickets, the numbers are drawn, Ann verifies the draw, and her
# wallet shows what it did to her money. Runs in sh, dash, bash and zsh, from the directory in which the service was started,
# as often as you like: the names are new each time. Each request is shown before its answer.
#
#   sh docs/session.sh
#
# API names another address of the service, LOTTERY another path of the program, DATA another data directory.
set -eu
API=${API:-http://127.0.0.1:8080/api/v1}
for program in ./target/release/lottery ./target/debug/lottery lottery; do
    if command -v "$program" > /dev/null; then break; fi
done
LOTTERY=${LOTTERY:-$program}
command -v "$LOTTERY" > /dev/null || {
    echo "the program is neither under target/ nor in the path: run this where you built it, or set LOTTERY" >&2
    exit 1
}
ME=$(date +%s)$$
JSON='Content-Type: application/json'

bold='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$(printf '\033[1m') plain=$(printf '\033[0m')
fi
step() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
fail() { printf '%s\n' "$*" >&2; exit 1; }
# call TOKEN METHOD PATH [BODY [HEADER]]: leaves the answer in $body. An error ends the session with its text.
call() {
    printf '%s %s %s\n' "$2" "$3" "${4:-}"
    body=$(curl -sS -X "$2" "$API$3" -H "$JSON" -H "Authorization: Bearer $1" -H "${5:-Accept: application/json}" \
        -d "${4:-}" -w '\n%{http_code}') || fail "no service answers at $API: start it first"
    code=$(printf '%s' "$body" | tail -n 1)
    body=$(printf '%s' "$body" | sed '$d')
    case $code in
        2*) ;;
        *) fail "$2 $3: $code $body" ;;
    esac
}
# The first value of this name in the answer.
field() { printf '%s' "$body" | grep -o "\"$1\":[^,}]*" | head -n 1 | cut -d: -f2- | tr -d '"'; }
# The answer, so that a person can read it, where the machine has a tool for that.
show() {
    if command -v jq > /dev/null; then printf '%s' "$body" | jq .
    elif command -v python3 > /dev/null; then printf '%s' "$body" | python3 -m json.tool --no-ensure-ascii
    else printf '%s\n' "$body"; fi
}
# A token is valid for 15 minutes.
log_in() {
    call '' POST /auth/login "{\"login\":\"$1\",\"password\":\"$2\"}"
    TOKEN=$(field access_token)
}

step "An admin is made on the command line, and logs in like everybody else"
echo 'correct horse' | "$LOTTERY" admin create --username "boss$ME" --email "boss$ME@example.com" --password-stdin
log_in "boss$ME" 'correct horse'
ADMIN=$TOKEN

step "The admin makes a draw of 5 of 36"
call "$ADMIN" POST /admin/draws '{"lottery":"5of36","sales_close_at":"2099-01-01T00:00:00Z"}'
DRAW=$(field id)
show

step "The admin makes 1,000 tickets in advance, and opens the sale"
call "$ADMIN" POST "/admin/draws/$DRAW/pool" '{"count":1000}'
show
call "$ADMIN" POST "/admin/draws/$DRAW/open"

step "Ann registers and logs in"
call '' POST /auth/register "{\"username\":\"ann$ME\",\"email\":\"ann$ME@example.com\",\"password\":\"battery staple\"}"
show
log_in "ann$ME" 'battery staple'
ANN=$TOKEN

step "Ann pays 1,000.00 into her wallet by card (amounts are in kopecks)"
call "$ANN" POST /wallet/deposits '{"amount":100000,"token":"tok_visa"}'
show

step "She looks at three of the tickets made in advance"
call "$ANN" GET "/draws/$DRAW/pool?limit=3"
show

step "She buys three tickets from her wallet: her own numbers, a quick pick, and one made in advance"
call "$ANN" POST "/draws/$DRAW/tickets" \
    '{"tickets":[{"numbers":[1,7,13,22,36]},{"quick_pick":true},{"from_pool":true}],"payment":"wallet"}' \
    "Idempotency-Key: first-$ME"
show
# The answer has a receipt: it proves later that these tickets are in the list of the draw.
RECEIPT=$(mktemp)
trap 'rm -f "$RECEIPT"' EXIT
printf '%s' "$body" > "$RECEIPT"

step "She reserves one more, and pays for it by card"
call "$ANN" POST "/draws/$DRAW/tickets" '{"tickets":[{"from_pool":true}],"payment":"later"}'
PAYMENT=$(field id)
call "$ANN" POST "/payments/$PAYMENT/pay" '{"method":"card","token":"tok_visa"}'
show

step "The admin closes the sale and draws the numbers"
call "$ADMIN" POST "/admin/draws/$DRAW/close"
call "$ADMIN" POST "/admin/draws/$DRAW/conduct"
show

step "The result"
call '' GET "/draws/$DRAW/results"
show

step "Ann's tickets"
call "$ANN" GET "/tickets?draw_id=$DRAW"
show

step "Ann verifies the draw, and that her order is in its sealed list: from what the service publishes, and her receipt"
"$LOTTERY" verify "$RECEIPT" --draw "$API/draws/$DRAW"

# In tests you act as the payment provider: sign the webhook with the secret that the service keeps. Ann logs in again,
# so this part also works when the one before was long ago.
SECRET=${DATA:-data}/webhook_secret
if ! [ -r "$SECRET" ]; then
    step "The webhook is left out: there is no $SECRET here (DATA names another data directory)"
elif ! command -v openssl > /dev/null; then
    step "The webhook is left out: openssl, which signs it, is not installed"
else
    step "A card that takes its time: the provider tells the end of the charge with a signed webhook"
    log_in "ann$ME" 'battery staple'
    ANN=$TOKEN
    call "$ANN" POST /wallet/deposits '{"amount":500,"token":"tok_async"}'
    show
    BODY="{\"payment\":\"$(field id)\",\"begun\":\"$(field updated_at)\",\"status\":\"paid\"}"
    # A signature is valid for five minutes.
    NOW=$(date +%s)
    SIGNATURE=$(printf %s "$NOW.$BODY" | openssl dgst -sha256 -hmac "$(cat "$SECRET")" | sed 's/.* //')
    call '' POST /webhooks/payments/sandbox "$BODY" "Stripe-Signature: t=$NOW,v1=$SIGNATURE"
fi

step "What all this did to Ann's wallet: every transfer, newest first, and the balance"
call "$ANN" GET /wallet/transfers
show
call "$ANN" GET /wallet
show
