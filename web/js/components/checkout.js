// From the basket to paid tickets in one dialog: an account if there is none, money if too little is there, then the
// payment. The order has one idempotency key until its answer is known, so a repeat never buys twice.

import { h, replace, announce } from "../dom.js";
import { t, money, dayTime, lotteryName } from "../i18n.js";
import { call, Problem } from "../api.js";
import { user, balance, loadBalance } from "../session.js";
import { linesOf, setLines, orderLines } from "../basket.js";
import { saveReceipt } from "../receipts.js";
import { openDialog, form } from "./forms.js";
import { accountForm } from "./account-form.js";
import { fundForm } from "./fund.js";
import { balls } from "./balls.js";
import { icon } from "./icons.js";

/** Codes of refusals after which the player must change the lines. */
const UNWANTED_LINES = ["ticket_unavailable", "pool_empty"];

export function checkout(draw) {
  const lines = linesOf(draw.id);
  const total = lines.length * draw.price;
  const key = crypto.randomUUID();
  return openDialog(
    t("checkout.title"),
    (body, close, dialog) => {
      const progress = h("ol.steps", { "aria-label": t("checkout.steps") });
      const place = h("div.checkout-step");
      const summary = h(
        "div.summary",
        h(
          "div",
          h("strong", `${lotteryName(draw.lottery)}, ${t("draw.number", { n: draw.number })}`),
          h("span.muted", t("checkout.drawn", { at: dayTime(draw.draw_at) })),
        ),
        h(
          "div.summary-total",
          h("span.muted", t("lines", { n: lines.length })),
          h("strong", money(total, draw.currency)),
        ),
      );
      replace(body, summary, progress, place);

      const show = async () => {
        if (user.value && balance.value === null) await loadBalance();
        const step = !user.value ? "account" : (balance.value ?? 0) < total ? "fund" : "pay";
        replace(
          progress,
          ["account", "fund", "pay"].map((one, index, all) =>
            h(
              "li",
              {
                class: one === step ? "now" : all.indexOf(step) > index ? "done" : "",
                "aria-current": one === step ? "step" : null,
              },
              t(`checkout.step.${one}`),
            ),
          ),
        );
        if (step === "account")
          replace(
            place,
            h("h3", t("checkout.account")),
            h("p.muted", t("checkout.account.next")),
            accountForm(show),
          );
        else if (step === "fund") {
          const missing = total - (balance.value ?? 0);
          replace(
            place,
            h("h3", { tabindex: -1 }, t("checkout.fund", { amount: money(missing, draw.currency) })),
            h("p.muted", t("checkout.fund.next")),
            fundForm({ currency: draw.currency, missing, done: show }),
          );
        } else replace(place, h("h3", t("checkout.confirm")), payForm());
        const next = { fund: "h3", pay: "button" }[step];
        if (next) place.querySelector(next).focus();
      };

      const payForm = () => {
        const node = form(
          [
            h(
              "p",
              t("checkout.from_wallet", {
                balance: money(balance.value, draw.currency),
                after: money(balance.value - total, draw.currency),
              }),
            ),
          ],
          t("checkout.pay", { amount: money(total, draw.currency) }),
          async () => {
            try {
              const order = await call("POST", `/draws/${draw.id}/tickets`, {
                body: { tickets: orderLines(lines), payment: "wallet" },
                key,
              });
              setLines(draw.id, []);
              loadBalance();
              bought(order);
            } catch (problem) {
              if (!(problem instanceof Problem)) throw problem;
              if (problem.code === "insufficient_funds") {
                await loadBalance();
                return show();
              }
              if (problem.isUncertain) {
                node.button.textContent = t("checkout.again");
                return node.fail(t("checkout.uncertain"));
              }
              if (UNWANTED_LINES.includes(problem.code))
                setLines(
                  draw.id,
                  linesOf(draw.id).filter((line) => !line.pool_ticket_id),
                );
              throw problem;
            }
          },
        );
        return node;
      };

      const bought = ({ tickets, receipt }) => {
        dialog.setTitle(t("bought.title", { n: tickets.length }));
        announce(t("bought.title", { n: tickets.length }));
        replace(
          body,
          h(
            "div.bought",
            h("div.bought-mark", icon("check", 36)),
            h("p", t("bought.text", { at: dayTime(draw.draw_at), n: tickets.length })),
            h(
              "ul.bought-tickets",
              tickets
                .slice(0, 6)
                .map((ticket) =>
                  h(
                    "li.stub",
                    h("span.stub-number", t("no", { n: ticket.number })),
                    balls(ticket.numbers, { size: "small" }),
                  ),
                ),
            ),
            tickets.length > 6 ? h("p.muted", t("bought.more", { n: tickets.length - 6 })) : null,
            receipt
              ? h(
                  "button.button",
                  { type: "button", onclick: () => saveReceipt(receipt, tickets) },
                  icon("download", 20),
                  t("receipt.save"),
                )
              : null,
            h("p.muted.small", t("receipt.why")),
            h(
              "div.actions",
              h(
                "a.button.primary",
                { href: `#/draw/${draw.id}`, onclick: () => close("bought") },
                t("bought.watch"),
              ),
              h("a.button", { href: "#/tickets", onclick: () => close("bought") }, t("nav.tickets")),
            ),
          ),
        );
        body.querySelector(".button")?.focus();
      };

      show();
    },
    { className: "checkout" },
  );
}
