// The log-in of this tab. The access token lives in memory only; the refresh token is a cookie that no script can read.
// Tabs renew one after the other under a lock: a refresh token that is spent again half a minute later ends the session.

import { Store } from "./dom.js";
import { call, Problem, useTokens } from "./api.js";

/** The logged-in user; null: nobody; undefined: not known yet. */
export const user = new Store(undefined);
/** The balance of the wallet in minor units; null while unknown. */
export const balance = new Store(null);

/** Says that this browser had a session, so that a first visit asks for none. */
const HINT = "lottery.session";
/** A token is renewed this long before its end. */
const MARGIN = 30_000;
const RESTORE_PAUSE = 4000;

let token = null;
let expires = 0;
let askToLogIn = null;
let leaving = false;
let ending = null;

const channel = "BroadcastChannel" in globalThis ? new BroadcastChannel("lottery") : null;
channel?.addEventListener("message", ({ data }) => {
  if (data === "logged out" && token) forget();
  if (data === "logged in" && !token) restore();
});

/** What shows the log-in dialog when a session has ended. Resolves to whether somebody logged in. */
export const onSessionEnd = (show) => (askToLogIn = show);

function keep(answer) {
  token = answer.access_token;
  expires = performance.now() + answer.expires_in * 1000;
  localStorage.setItem(HINT, "1");
  const known = user.value?.id === answer.user.id;
  if (!known || JSON.stringify(user.value) !== JSON.stringify(answer.user)) user.set(answer.user);
  if (!known) loadBalance();
}

function forget() {
  token = null;
  localStorage.removeItem(HINT);
  balance.set(null);
  user.set(null);
}

/** Renews the session. Answers whether there is one. A lost connection is no end of a session. */
function renew() {
  const ask = async () => {
    try {
      keep(await call("POST", "/web/session/refresh", { body: {}, auth: false }));
      return true;
    } catch (problem) {
      if (problem.status === 401 || problem.status === 403) return false;
      throw problem;
    }
  };
  return navigator.locks ? navigator.locks.request("lottery.refresh", ask) : ask();
}

let renewing = null;
const renewOnce = () => (renewing ??= renew().finally(() => (renewing = null)));

/** At the start of a page: takes up the session of this browser, if there is one. */
export async function restore() {
  if (!localStorage.getItem(HINT)) return user.set(null);
  try {
    if (!(await renewOnce())) forget();
  } catch {
    // The service cannot be reached now, which is no end of the session.
    user.set(null);
    setTimeout(restore, RESTORE_PAUSE);
  }
}

async function accessToken() {
  if (renewing) await renewing.catch(() => null);
  if (token && performance.now() > expires - MARGIN) {
    if (!(await renewOnce().catch(() => true))) await endSession();
  }
  return token;
}

/** After a 401: renews, or asks to log in. Answers whether the call may be sent again. */
async function renewToken() {
  if (leaving) return false;
  if (ending) return ending;
  if (!token) return false;
  return (await renewOnce()) || endSession();
}

useTokens({ current: accessToken, renew: renewToken });

/** The session is over: asks to log in, once for all calls that found out. Answers whether somebody did. */
function endSession() {
  const name = user.value?.username;
  const ask = async () => {
    forget();
    return askToLogIn ? askToLogIn(name) : false;
  };
  return (ending ??= ask().finally(() => (ending = null)));
}

export async function logIn(login, password) {
  keep(await call("POST", "/web/session", { body: { login, password }, auth: false }));
  channel?.postMessage("logged in");
}

export async function register({ username, email, password }) {
  await call("POST", "/auth/register", { body: { username, email, password }, auth: false });
  await logIn(username, password);
}

export async function logOut() {
  // Calls that are on their way may be refused now. That is no reason to ask for a log-in.
  leaving = true;
  try {
    await call("DELETE", "/web/session", { auth: false });
    channel?.postMessage("logged out");
    forget();
  } finally {
    leaving = false;
  }
}

export async function loadBalance() {
  if (!token) return;
  try {
    balance.set((await call("GET", "/wallet")).balance);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
  }
}
