// Tables of the admin's pages: their columns, their pages, and filters above them.

import { h, replace } from "../dom.js";
import { t } from "../i18n.js";
import { get } from "../api.js";
import { whileBusy } from "../components/forms.js";

/** `columns`: [[heading, cell(row), 'num'?], …]. On a phone each row becomes a card that names its cells. */
export function table(columns, rows, { caption } = {}) {
  return h(
    "div.table-box",
    h(
      "table.table.cards-on-phone",
      caption ? h("caption.sr", caption) : null,
      h(
        "thead",
        h(
          "tr",
          columns.map(([name, , kind]) => h("th", { scope: "col", class: kind ?? "" }, name)),
        ),
      ),
      h(
        "tbody",
        rows.map((row) => tableRow(columns, row)),
      ),
    ),
  );
}

const tableRow = (columns, row) =>
  h(
    "tr",
    columns.map(([name, cell, kind], at) =>
      h(at ? "td" : "th", { "data-name": name, class: kind ?? "", scope: at ? null : "row" }, cell(row)),
    ),
  );

/** A list of the API, page by page. `path()` gives its address with the filters. Answers `{node, load}`. */
export function pagedTable({ path, columns, caption, empty = t("admin.nothing"), signal }) {
  const place = h("div");
  const foot = h("div.center");
  const node = h("div.paged", place, foot);
  let body = null;
  let turn = 0;
  const load = async (cursor = "") => {
    const own = ++turn;
    if (!cursor) replace(place, h("div.blank.rows"));
    replace(foot);
    const address = path();
    try {
      const page = await get(
        `${address}${address.includes("?") ? "&" : "?"}limit=50${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`,
        { signal },
      );
      if (own !== turn) return;
      if (!cursor) {
        const shown = table(columns, [], { caption });
        body = shown.querySelector("tbody");
        replace(place, page.items.length ? shown : h("p.muted.nothing", empty));
      }
      body.append(...page.items.map((row) => tableRow(columns, row)));
      if (page.next_cursor)
        replace(
          foot,
          h(
            "button.button",
            { type: "button", onclick: (event) => whileBusy(event.currentTarget, () => load(page.next_cursor)) },
            t("more"),
          ),
        );
    } catch (problem) {
      if (!signal?.aborted && own === turn)
        replace(
          foot,
          h("p.problem", { role: "alert" }, problem.text ?? t("error.internal_error")),
          h("button.button", { type: "button", onclick: () => load(cursor) }, t("retry")),
        );
    }
  };
  return { node, load: () => load() };
}

export const status = (name, text = name) => h("span.status", { class: name }, text);
export const userLink = (id) => h("a", { href: `#/user/${id}` }, `#${id}`);
