// What both scripts need: a load that does not wait for the answers, an admin's draw on sale, and players with money. `setup` makes them over the API alone.
import http from "k6/http";
import { fail } from "k6";

export const API = __ENV.API || "http://127.0.0.1:8080/api/v1";
const PLAYERS = Number(__ENV.PLAYERS || 64);
const JSON_BODY = { "Content-Type": "application/json" };

// RATE requests a second (else `rate`) arrive for DURATION, whether the service keeps up or not; `p99` in milliseconds.
export function openLoop(name, rate, p99) {
  return {
    scenarios: {
      [name]: {
        executor: "constant-arrival-rate",
        rate: Number(__ENV.RATE || rate),
        duration: __ENV.DURATION || "20s",
        preAllocatedVUs: 100,
        maxVUs: 500,
      },
    },
    thresholds: {
      [`http_req_failed{scenario:${name}}`]: ["rate<0.01"],
      [`http_req_duration{scenario:${name}}`]: ["p(95)<500", `p(99)<${p99}`],
      checks: ["rate>0.999"],
      dropped_iterations: ["count<1"],
    },
    summaryTrendStats: ["min", "med", "p(95)", "p(99)", "max"],
    // The players' passwords are hashed one by one.
    setupTimeout: "120s",
  };
}

export function bearer(token) {
  return { ...JSON_BODY, Authorization: `Bearer ${token}` };
}

function must(answer, status, what) {
  if (answer.status !== status) fail(`${what}: ${answer.status} ${answer.body}`);
  return answer.body ? answer.json() : null;
}

function logIn(login, password) {
  const answer = http.post(`${API}/auth/login`, JSON.stringify({ login, password }), { headers: JSON_BODY });
  return must(answer, 200, "log in").access_token;
}

// ADMIN_LOGIN and ADMIN_PASSWORD name an admin made with `lottery admin create`.
export function drawOnSale() {
  const headers = bearer(logIn(__ENV.ADMIN_LOGIN, __ENV.ADMIN_PASSWORD));
  const made = http.post(
    `${API}/admin/draws`,
    JSON.stringify({ lottery: "5of36", sales_close_at: "2099-01-01T00:00:00Z" }),
    { headers },
  );
  const draw = must(made, 201, "make a draw").id;
  must(http.post(`${API}/admin/draws/${draw}/open`, null, { headers }), 200, "open it");
  return draw;
}

export function players() {
  const run = `${Date.now()}`;
  const tokens = [];
  for (let n = 0; n < PLAYERS; n++) {
    const username = `k6-${run}-${n}`;
    const password = "correct horse battery";
    const body = JSON.stringify({ username, email: `${username}@example.com`, password });
    must(http.post(`${API}/auth/register`, body, { headers: JSON_BODY }), 201, "register");
    const token = logIn(username, password);
    const money = JSON.stringify({ amount: 100000000, token: "tok_visa" });
    must(http.post(`${API}/wallet/deposits`, money, { headers: bearer(token) }), 201, "deposit");
    tokens.push(token);
  }
  return tokens;
}
