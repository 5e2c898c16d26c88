// The list of draws, and making a new one.

import { h, replace } from "../dom.js";
import { t, dayTime, lotteryName, minorDigits, money, number, parseMoney } from "../i18n.js";
import { call } from "../api.js";
import { allLotteries, drawTime, forgetDraws } from "../draws.js";
import { field, form, openDialog, select } from "../components/forms.js";
import { chips } from "../components/tabs.js";
import { icon } from "../components/icons.js";
import { pagedTable, status } from "./table.js";

const FILTERS = {
  all: "",
  active: "status=scheduled&status=open&status=closed&status=settling&status=cancelling",
  over: "status=completed&status=cancelled",
};
const HOUR = 3_600_000;

export async function drawsPage(root, params, signal) {
  let filter = "active";
  const list = pagedTable({
    path: () => `/draws?${FILTERS[filter]}`,
    caption: t("admin.draws"),
    signal,
    columns: [
      [
        t("col.draw"),
        (draw) =>
          h("a", { href: `#/draw/${draw.id}` }, `${lotteryName(draw.lottery)} ${t("no", { n: draw.number })}`),
      ],
      [t("col.status"), (draw) => status(draw.status, t(`status.${draw.status}`))],
      [t("col.closes"), (draw) => dayTime(draw.sales_close_at)],
      [t("col.drawn"), drawTime],
      [t("col.sold"), (draw) => number(draw.tickets_sold), "num"],
      [t("col.pool"), (draw) => number(draw.tickets_available), "num"],
      [t("col.fund"), (draw) => money(draw.prize_fund, draw.currency), "num"],
    ],
  });
  replace(
    root,
    h(
      "div.head-line",
      h("h1", t("admin.draws")),
      h("button.button.primary", { type: "button", onclick: create }, icon("plus", 20), t("draws.create")),
    ),
    chips(
      t("draws.filter"),
      Object.keys(FILTERS).map((key) => [key, t(`draws.${key}`)]),
      (key) => {
        filter = key;
        list.load();
      },
      filter,
    ),
    list.node,
  );
  await list.load();
}

/** A time as `<input type="datetime-local">` has it, in the zone of the browser. */
export function localTime(moment) {
  if (!moment) return "";
  const at = new Date(moment);
  return new Date(at - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}
export const utcTime = (text) => (text ? new Date(text).toISOString() : null);

export function timeField(label, value, hint) {
  return field(label, { type: "datetime-local", value: localTime(value), hint });
}

async function create() {
  const lotteries = await allLotteries();
  const next = new Date(Math.ceil((Date.now() + HOUR) / HOUR) * HOUR);
  openDialog(t("draws.create"), (body, close) => {
    const lottery = select(
      t("draws.lottery"),
      lotteries.map((one) => [one.id, lotteryName(one.id)]),
    );
    const [first] = lotteries;
    const price = field(t("draws.price"), {
      inputmode: "decimal",
      value: String(first.price / 10 ** minorDigits(first.currency)),
      hint: t("draws.price.hint"),
    });
    const open = timeField(t("draws.opens"), null, t("draws.opens.hint"));
    const closes = timeField(t("draws.closes"), next);
    const drawn = timeField(t("draws.drawn"), null, t("draws.drawn.hint"));
    lottery.input.addEventListener("change", () => {
      const chosen = lotteries.find((one) => one.id === lottery.input.value);
      price.input.value = String(chosen.price / 10 ** minorDigits(chosen.currency));
    });
    replace(
      body,
      form(
        [lottery, price, open, closes, drawn],
        t("draws.create"),
        async () => {
          const chosen = lotteries.find((one) => one.id === lottery.input.value);
          const amount = parseMoney(price.input.value, chosen.currency);
          if (!amount) return price.error(t("form.amount"));
          if (!closes.input.value) return closes.error(t("form.required"));
          const wish = { lottery: chosen.id, price: amount, sales_close_at: utcTime(closes.input.value) };
          if (open.input.value) wish.sales_open_at = utcTime(open.input.value);
          if (drawn.input.value) wish.draw_at = utcTime(drawn.input.value);
          const draw = await call("POST", "/admin/draws", { body: wish });
          forgetDraws();
          close();
          location.hash = `#/draw/${draw.id}`;
        },
        { fields: { lottery, price, sales_open_at: open, sales_close_at: closes, draw_at: drawn } },
      ),
    );
  });
}
