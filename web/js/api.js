// Calls of the REST API: one function, one error type, and the state of the connection.

import { h, Store, sleep } from "./dom.js";
import { t, has } from "./i18n.js";

/** Where access tokens come from: `session.js` says so. This module knows no log-ins. */
let tokens = { current: async () => null, renew: async () => false };
export const useTokens = (source) => (tokens = source);

export const API = "/api/v1";
/** How long a call may take before the page says so. */
const PATIENCE = 20_000;
/** Pauses before a read is sent again. */
const PAUSES = [500, 1500, 4000];

/** Whether the service can be reached: 'ok' or 'lost'. */
export const connection = new Store(navigator.onLine ? "ok" : "lost");
addEventListener("offline", () => connection.set("lost"));
addEventListener("online", () => connection.set("ok"));

/** Codes after which a call may have had its effect. Others say that nothing was taken. */
const UNCERTAIN = ["network", "timeout", "outcome_unknown", "idempotency_in_progress", "internal_error"];

/** What went wrong, in words for the person at the page. */
export class Problem extends Error {
  constructor(code, { status = 0, detail = "", errors = [], retryAfter = null } = {}) {
    super(code);
    Object.assign(this, { code, status, detail, errors, retryAfter });
  }
  get text() {
    const own = has(`error.${this.code}`) ? t(`error.${this.code}`) : this.detail || t("error.internal_error");
    if (!this.errors.length) return own;
    return this.errors.map(fieldText).join(" ");
  }
  /** Whether it is not known if the call had its effect. The same key makes a repeat safe. */
  get isUncertain() {
    return UNCERTAIN.includes(this.code);
  }
}

/** The name of the field of an error: `numbers` of `tickets[0].numbers`. */
export const fieldName = ({ field }) => field.split(".").at(-1).replace(/\[\d+\]/g, "");

/** What a field must be. The catalogue says it in the language of the page, the service in English. */
export function fieldText(error) {
  const key = `field.${fieldName(error)}`;
  return has(key) ? t(key) : `${error.field}: ${error.message}`;
}

/** A signal that ends with the first of two. Browsers of 2023 do not have `AbortSignal.any`. */
function either(one, other) {
  if (!one) return other;
  if (AbortSignal.any) return AbortSignal.any([one, other]);
  const both = new AbortController();
  for (const signal of [one, other]) {
    if (signal.aborted) both.abort(signal.reason);
    signal.addEventListener("abort", () => both.abort(signal.reason));
  }
  return both.signal;
}

/** Sends one request. `key` is an Idempotency-Key, `auth: false` sends no token. */
export async function call(method, path, { body, key, signal, auth = true, as = "json", retried = false } = {}) {
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (key) headers["Idempotency-Key"] = key;
  const token = auth ? await tokens.current() : null;
  if (token) headers.Authorization = `Bearer ${token}`;
  const timeout = AbortSignal.timeout(PATIENCE);
  let answer;
  try {
    answer = await fetch(path.startsWith("/web/") ? path : API + path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: either(signal, timeout),
      cache: "no-cache",
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    connection.set("lost");
    throw new Problem(error.name === "TimeoutError" ? "timeout" : "network");
  }
  connection.set("ok");
  if (answer.ok) {
    if (answer.status === 204) return null;
    return as === "json"
      ? answer.json()
      : as === "bytes"
        ? new Uint8Array(await answer.arrayBuffer())
        : answer[as]();
  }
  const problem = await answer.json().catch(() => ({}));
  if (answer.status === 401 && auth && token && !retried && (await tokens.renew())) {
    return call(method, path, { body, key, signal, auth, as, retried: true });
  }
  throw new Problem(problem.code ?? (answer.status >= 500 ? "network" : "internal_error"), {
    status: answer.status,
    detail: problem.detail ?? problem.title,
    errors: problem.errors,
    retryAfter: Number(answer.headers.get("Retry-After")) || null,
  });
}

/** Reads, and tries again while the service cannot be reached. */
export async function get(path, options = {}) {
  for (let attempt = 0; ; attempt++) {
    try {
      return await call("GET", path, options);
    } catch (problem) {
      const passing =
        problem instanceof Problem &&
        (problem.code === "network" || problem.status === 503 || problem.code === "timeout");
      if (!passing || attempt === PAUSES.length || options.signal?.aborted) throw problem;
      await sleep(Math.max(PAUSES[attempt], (problem.retryAfter ?? 0) * 1000));
    }
  }
}

/** All pages of a list, up to a limit. */
export async function all(path, { most = 1000, ...options } = {}) {
  const items = [];
  let cursor = "";
  do {
    const page = await get(
      `${path}${path.includes("?") ? "&" : "?"}limit=200${cursor && `&cursor=${encodeURIComponent(cursor)}`}`,
      options,
    );
    items.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor && items.length < most);
  return items;
}

let config;
/** What the pages need to know of the service: the payment provider, the currency. */
export const serviceConfig = () =>
  (config ??= call("GET", "/web/config", { auth: false }).catch((problem) => {
    config = undefined;
    if (problem.status === 404) return { provider: "sandbox", currency: "RUB" };
    throw problem;
  }));

/** The bar that says that the connection is lost. */
export function connectionBar() {
  const bar = h("div.connection", { role: "status" });
  connection.watch((state) => {
    bar.textContent = state === "lost" ? t("connection.lost") : "";
    bar.classList.toggle("shown", state === "lost");
  });
  return bar;
}
