// Tables of the admin's pages: their columns, their pages, and filters above them.

import { h, replace } from "../dom.js";
import { t } from "../i18n.js";
import { pager } from "../components/pager.js";

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

/** A table of a list of the API, page by page. `path()` gives its address with the filters. Answers `{node, load}`. */
export function pagedTable({ path, columns, caption, empty = t("admin.nothing"), signal }) {
  const place = h("div");
  let body = null;
  const { foot, load } = pager({
    path,
    limit: 50,
    signal,
    begin: () => replace(place, h("div.blank.rows")),
    show: (items, isFirst) => {
      if (isFirst) {
        const shown = table(columns, [], { caption });
        body = shown.querySelector("tbody");
        replace(place, items.length ? shown : h("p.muted.nothing", empty));
      }
      body.append(...items.map((row) => tableRow(columns, row)));
    },
  });
  return { node: h("div.paged", place, foot), load };
}

export const status = (name, text = name) => h("span.status", { class: name }, text);
export const userLink = (id) => h("a", { href: `#/user/${id}` }, `#${id}`);
