// The foot of a list that the API gives page by page: the button for the next page, or an error with a button that tries
// again. Shows no items itself.

import { h, replace, announce } from "../dom.js";
import { t } from "../i18n.js";
import { get } from "../api.js";
import { whileBusy } from "./forms.js";

/**
 * `path()` is the list's address with its filters. `begin()` is called before the first page is read, and `show(items,
 * isFirst)` with each page. Answers `{foot, load}`; `load()` reads the list from its beginning.
 */
export function pager({ path, limit, show, begin = () => null, signal, auth = true }) {
  const foot = h("div.center");
  let turn = 0;
  const read = async (cursor) => {
    const own = ++turn;
    if (!cursor) {
      replace(foot);
      begin();
    }
    const address = path();
    const query = `limit=${limit}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`;
    try {
      const page = await get(`${address}${address.includes("?") ? "&" : "?"}${query}`, { auth, signal });
      if (own !== turn) return;
      await show(page.items, !cursor);
      if (own !== turn) return;
      if (cursor) announce(t("more.shown", { n: page.items.length }));
      end(page.next_cursor ? button(t("more"), page.next_cursor) : null);
    } catch (problem) {
      if (signal?.aborted || own !== turn) return;
      if (!problem.text) console.warn(problem);
      end(
        h("p.problem", { role: "alert" }, problem.text ?? t("error.internal_error")),
        button(t("retry"), cursor),
      );
    }
  };
  const button = (text, cursor) =>
    h(
      "button.button",
      { type: "button", onclick: (event) => whileBusy(event.currentTarget, () => read(cursor)) },
      text,
    );
  /** Who has pressed the button goes on from the foot, by the keyboard too. */
  const end = (...nodes) => {
    const hadFocus = foot.contains(document.activeElement);
    replace(foot, nodes);
    if (!hadFocus) return;
    foot.tabIndex = -1;
    (foot.querySelector("button") ?? foot).focus({ preventScroll: true });
  };
  return { foot, load: () => read("") };
}
