// The purchase path: one hot draw, one quick pick an order, paid from the wallet, each order with a key of its own.
// RATE orders a second arrive whether the service keeps up or not.
import http from "k6/http";
import { check } from "k6";
import { API, bearer, drawOnSale, players } from "./common.js";

export const options = {
  scenarios: {
    buy: {
      executor: "constant-arrival-rate",
      rate: Number(__ENV.RATE || 1000),
      duration: __ENV.DURATION || "20s",
      preAllocatedVUs: 100,
      maxVUs: 500,
    },
  },
  thresholds: {
    "http_req_failed{scenario:buy}": ["rate<0.01"],
    "http_req_duration{scenario:buy}": ["p(95)<500", "p(99)<50"],
    checks: ["rate>0.999"],
    dropped_iterations: ["count<1"],
  },
  summaryTrendStats: ["min", "med", "p(95)", "p(99)", "max"],
  setupTimeout: "120s",
};

export function setup() {
  return { draw: drawOnSale(), tokens: players(), run: Date.now() };
}

const ORDER = JSON.stringify({ tickets: [{ quick_pick: true }], payment: "wallet" });

export default function ({ draw, tokens, run }) {
  const token = tokens[(__VU * 31 + __ITER) % tokens.length];
  const headers = { ...bearer(token), "Idempotency-Key": `${run}-${__VU}-${__ITER}` };
  const answer = http.post(`${API}/draws/${draw}/tickets`, ORDER, { headers });
  check(answer, { "bought": (it) => it.status === 201 && it.json("payment.status") === "paid" });
}
