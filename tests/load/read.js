// The reads that everybody polls: the list of draws, one draw, the lotteries.
import http from "k6/http";
import { check } from "k6";
import { API, drawOnSale, openLoop } from "./common.js";

export const options = openLoop("read", 2000, 20);

export function setup() {
  return { draw: drawOnSale() };
}

export default function ({ draw }) {
  const paths = ["/draws", `/draws/${draw}`, "/lotteries"];
  const answer = http.get(`${API}${paths[__ITER % paths.length]}`);
  check(answer, { "answered": (it) => it.status === 200 });
}
