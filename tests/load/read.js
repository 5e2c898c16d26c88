// The reads that everybody polls: the list of draws, one draw, the lotteries.
import http from "k6/http";
import { check } from "k6";
import { API, drawOnSale } from "./common.js";

export const options = {
  scenarios: {
    read: {
      executor: "constant-arrival-rate",
      rate: Number(__ENV.RATE || 2000),
      duration: __ENV.DURATION || "20s",
      preAllocatedVUs: 100,
      maxVUs: 500,
    },
  },
  thresholds: {
    "http_req_failed{scenario:read}": ["rate<0.01"],
    "http_req_duration{scenario:read}": ["p(95)<500", "p(99)<20"],
    checks: ["rate>0.999"],
    dropped_iterations: ["count<1"],
  },
  summaryTrendStats: ["min", "med", "p(95)", "p(99)", "max"],
};

export function setup() {
  return { draw: drawOnSale() };
}

export default function ({ draw }) {
  const paths = ["/draws", `/draws/${draw}`, "/lotteries"];
  const answer = http.get(`${API}${paths[__ITER % paths.length]}`);
  check(answer, { "answered": (it) => it.status === 200 });
}
