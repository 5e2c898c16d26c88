// Pages by the hash of the address. A page is a function of a place in the document, the parts of its address and a
// signal that ends with the page.

import { h, replace } from "./dom.js";
import { t } from "./i18n.js";

let current = null;
let settings = null;

export function startRouter({ routes, root, onChange }) {
  settings = { routes, root, onChange };
  addEventListener("hashchange", () => show(true));
  show(false);
}

/** Shows the page of the address anew: after a change of language or of the user. */
export const refresh = () => show(false);

export const path = () => location.hash.replace(/^#\/?/, "");

export function go(to) {
  if (location.hash === to) show(true);
  else location.hash = to;
}

async function show(moved) {
  current?.abort();
  const own = (current = new AbortController());
  const [name = "", ...params] = path().split("/").map(decodeURIComponent);
  const page = settings.routes[name] ?? settings.routes[""];
  const place = h("div.page");
  replace(settings.root, place);
  settings.onChange?.(name in settings.routes ? name : "");
  if (moved) scrollTo(0, 0);
  try {
    await page(place, params, own.signal);
  } catch (error) {
    if (own.signal.aborted) return;
    console.warn(error);
    replace(place, failure(error, refresh));
  }
  if (own.signal.aborted) return;
  const title = place.querySelector("h1");
  if (title) {
    document.title = `${title.dataset.title ?? title.textContent} · ${t("brand")}`;
    if (moved) {
      title.tabIndex = -1;
      title.focus({ preventScroll: true });
    }
  }
}

/** A page that could not be read, with a button that tries again. */
export function failure(error, retry) {
  return h(
    "div.empty-state",
    { role: "alert" },
    h("h1", t("failure.title")),
    h("p", error.text ?? t("error.internal_error")),
    h("button.button.primary", { onclick: retry }, t("retry")),
  );
}
