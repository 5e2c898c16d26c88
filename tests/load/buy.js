// The purchase path: one hot draw, one quick pick an order, paid from the wallet, each order with a key of its own.
import http from "k6/http";
import { check } from "k6";
import { API, bearer, drawOnSale, openLoop, players } from "./common.js";

export const options = openLoop("buy", 1000, 50);

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
