// The basket of a draw: its lines, their price, and the button that buys. On a phone there is a bar with the same button.

import { h, replace, announce } from "../dom.js";
import { t, money, lotteryName } from "../i18n.js";
import { addLines, basket, linesOf, MOST_LINES, removeLine } from "../basket.js";
import { user } from "../session.js";
import { balls, emptyBalls } from "./balls.js";
import { checkout } from "./checkout.js";
import { toast } from "./forms.js";
import { icon } from "./icons.js";

/** Adds lines and says so. Answers how many were added. */
export function addAndSay(draw, lines) {
  const n = addLines(draw.id, lines);
  if (!n) toast(t("basket.full", { n: MOST_LINES }), "bad");
  else announce(t("basket.added", { n, all: linesOf(draw.id).length }));
  return n;
}

/** `pick`: how many numbers a line has. */
export function showBasket(side, draw, pick, signal) {
  const list = h("ol.basket-lines");
  const empty = h(
    "div.basket-empty",
    h("p", t("basket.empty")),
    h(
      "button.button",
      { type: "button", onclick: () => addAndSay(draw, [{ quick_pick: true }]) },
      icon("dice", 20),
      t("basket.quick"),
    ),
  );
  const total = h("strong.total");
  const count = h("span.muted");
  const pay = h("button.button.primary.wide", { type: "button", onclick: () => checkout(draw) });
  // Who buys for the first time hears what comes.
  const steps = h("p.muted.small", t("basket.steps"));
  user.watch((now) => (steps.hidden = now !== null), signal);
  const foot = h("div.basket-foot", h("div.basket-total", count, total), pay, steps);
  const bar = h(
    "div.pay-bar",
    h("div", h("span.pay-bar-count"), h("strong")),
    h("button.button.primary", { type: "button", onclick: () => checkout(draw) }, t("basket.buy")),
  );
  const elsewhere = h("p.muted.small");
  replace(
    side,
    h(
      "div.card.basket",
      h("h2", t("basket.title")),
      h("p.muted.small", `${lotteryName(draw.lottery)}, ${t("draw.number", { n: draw.number })}`),
      empty,
      list,
      foot,
      elsewhere,
    ),
    bar,
  );
  basket.watch(() => {
    const lines = linesOf(draw.id);
    const sum = money(lines.length * draw.price, draw.currency);
    replace(
      list,
      lines.map((line, index) =>
        h(
          "li",
          line.numbers
            ? balls(line.numbers, { size: "small" })
            : h("span.quick-line", emptyBalls(pick, { size: "small", text: "?" }), h("span.sr", t("line.quick"))),
          h(
            "button.icon-button",
            {
              type: "button",
              "aria-label": t("basket.remove", { n: index + 1 }),
              onclick: () => {
                removeLine(draw.id, index);
                (
                  list.children[Math.min(index, lines.length - 2)]?.querySelector("button") ??
                  empty.querySelector("button")
                ).focus();
              },
            },
            icon("trash", 20),
          ),
        ),
      ),
    );
    empty.hidden = lines.length > 0;
    foot.hidden = bar.hidden = !lines.length;
    document.body.classList.toggle("has-pay-bar", lines.length > 0);
    total.textContent = sum;
    count.textContent = t("lines", { n: lines.length });
    bar.querySelector("strong").textContent = sum;
    bar.querySelector(".pay-bar-count").textContent = t("lines", { n: lines.length });
    pay.textContent = t("basket.pay", { amount: sum });
    const others = Object.keys(basket.value).filter((id) => id !== String(draw.id)).length;
    elsewhere.textContent = others ? t("basket.elsewhere", { n: others }) : "";
  }, signal);
  signal.addEventListener("abort", () => document.body.classList.remove("has-pay-bar"));
}
