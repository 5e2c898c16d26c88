// One timer for every countdown of the page.

import { t } from "./i18n.js";

const ticking = new Set();
let timer = null;

function tick() {
  const now = Date.now();
  for (const one of [...ticking]) one(now);
  timer = ticking.size ? setTimeout(tick, 1000 - (Date.now() % 1000)) : null;
}

export function everySecond(run, signal) {
  ticking.add(run);
  signal?.addEventListener("abort", () => ticking.delete(run));
  run(Date.now());
  timer ??= setTimeout(tick, 1000 - (Date.now() % 1000));
}

/** Days, hours, minutes and seconds until then. */
export function parts(until, now = Date.now()) {
  const seconds = Math.max(0, Math.round((new Date(until) - now) / 1000));
  return {
    d: Math.floor(seconds / 86_400),
    h: Math.floor(seconds / 3600) % 24,
    m: Math.floor(seconds / 60) % 60,
    s: seconds % 60,
    over: seconds === 0,
  };
}

const two = (value) => String(value).padStart(2, "0");

/** "2 d 03:15:09", or "15:09". */
export function countdownText(until, now) {
  const { d, h, m, s } = parts(until, now);
  const clock = d || h ? `${two(h)}:${two(m)}:${two(s)}` : `${two(m)}:${two(s)}`;
  return d ? `${t("days", { n: d })} ${clock}` : clock;
}
