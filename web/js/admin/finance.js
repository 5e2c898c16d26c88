// The books: all accounts, the money of each draw, and exports.

import { h, replace, download } from "../dom.js";
import { t, dateTime, lotteryName, money } from "../i18n.js";
import { call, get, serviceConfig } from "../api.js";
import { select, toast, whileBusy, field } from "../components/forms.js";
import { icon } from "../components/icons.js";
import { pagedTable, status, table } from "./table.js";

const TABLES = ["draws", "tickets", "users", "payments", "transfers", "winners", "finance", "finance_draws"];
const OF_ONE_DRAW = ["tickets", "winners"];
const FORMATS = ["csv", "ndjson", "xlsx"];
const SUMS = ["sales", "rollover_in", "reserve", "prizes", "refunds", "rollover_out", "revenue"];

export async function financePage(root, params, signal) {
  replace(root, h("h1", t("admin.finance")), h("div.card.blank.tall"));
  const finance = await get("/admin/finance", { signal });
  const sum = finance.accounts.reduce((total, one) => total + one.balance, 0);
  const { currency } = finance;
  const list = pagedTable({
    path: () => "/admin/finance/draws",
    caption: t("finance.draws"),
    signal,
    columns: [
      [
        t("col.draw"),
        (row) =>
          h("a", { href: `#/draw/${row.draw_id}` }, `${lotteryName(row.lottery)} ${t("no", { n: row.number })}`),
      ],
      [t("col.status"), (row) => status(row.status, t(`status.${row.status}`))],
      ...SUMS.map((name) => [
        t(`money.${name}`),
        (row) => (row[name] ? money(row[name], row.currency) : "—"),
        "num",
      ]),
    ],
  });
  replace(
    root,
    h("div.head-line", h("h1", t("admin.finance")), h("span.muted.small", dateTime(finance.at))),
    h(
      "section.card",
      h(
        "div.head-line",
        h("h2", t("finance.accounts")),
        h(
          "span.status",
          { class: sum === 0 ? "paid" : "failed" },
          icon(sum === 0 ? "check" : "cross", 16),
          t("finance.sum", { amount: money(sum, currency) }),
        ),
      ),
      table(
        [
          [
            t("finance.account"),
            (one) => [
              t(`account.kind.${one.kind}`),
              one.lottery ? h("span.muted", ` ${lotteryName(one.lottery)}`) : null,
            ],
          ],
          [t("wallet.balance"), (one) => money(one.balance, currency), "num"],
        ],
        finance.accounts,
      ),
    ),
    h("section.card", h("h2", t("finance.draws")), list.node),
  );
  await list.load();
}

export async function exportsPage(root, params, signal) {
  await serviceConfig();
  const what = select(
    t("export.table"),
    TABLES.map((name) => [name, t(`export.${name}`)]),
  );
  const format = select(
    t("export.format"),
    FORMATS.map((name) => [name, name.toUpperCase()]),
  );
  const draw = field(t("export.draw"), { inputmode: "numeric", hint: t("export.draw.hint") });
  const dependent = () => (draw.hidden = !OF_ONE_DRAW.includes(what.input.value));
  what.input.addEventListener("change", dependent);
  dependent();
  const go = h(
    "button.button.primary",
    {
      type: "button",
      onclick: () =>
        whileBusy(go, async () => {
          try {
            const [name, kind] = [what.input.value, format.input.value];
            const number = draw.hidden ? "" : draw.input.value.trim();
            const blob = await call(
              "GET",
              `/admin/export/${name}?format=${kind}${number && `&draw_id=${encodeURIComponent(number)}`}`,
              { as: "blob", signal },
            );
            download(`${name}${number && `-${number}`}.${kind}`, blob);
            toast(t("export.done"));
          } catch (problem) {
            if (!signal.aborted) toast(problem.text ?? t("error.internal_error"), "bad");
          }
        }),
    },
    icon("download", 20),
    t("export.go"),
  );
  replace(
    root,
    h("h1", t("admin.exports")),
    h("section.card.narrow.export-card", h("p.muted", t("export.text")), what, format, draw, go),
  );
}
