// A ticket that looks like one: a stub with its number, its numbers as balls, and what became of it.

import { h } from "../dom.js";
import { t, money, dateTime, lotteryName } from "../i18n.js";
import { everySecond, countdownText } from "../clock.js";
import { toast, whileBusy } from "./forms.js";
import { balls } from "./balls.js";
import { icon } from "./icons.js";
import { showReceipt } from "./receipt.js";

/** `winning`: the numbers that are drawn so far. `actions`: more buttons. */
export function ticketCard(ticket, { currency, winning = null, draw = null, actions = null, signal = null } = {}) {
  const status = ticket.status;
  const won = ticket.prize > 0;
  const receipt =
    ticket.number && status !== "refunded"
      ? h(
          "button.button.small",
          {
            type: "button",
            onclick: (event) =>
              whileBusy(event.currentTarget, () =>
                showReceipt(ticket).catch((problem) => toast(problem.text ?? t("error.internal_error"), "bad")),
              ),
          },
          icon("file", 18),
          h("span", t("receipt"), h("span.sr", ` ${t("receipt.of", { n: ticket.number })}`)),
        )
      : null;
  const left = h("span");
  if (status === "reserved" && ticket.reserved_until && signal)
    everySecond(
      (now) => (left.textContent = t("ticket.reserved_left", { left: countdownText(ticket.reserved_until, now) })),
      signal,
    );
  return h(
    "article.ticket",
    { class: won ? "won" : status },
    h(
      "div.ticket-stub",
      h("span.ticket-lottery", lotteryName(ticket.lottery)),
      h("span.ticket-no", ticket.number ? t("no", { n: ticket.number }) : "—"),
    ),
    h(
      "div.ticket-body",
      h(
        "div.ticket-top",
        balls(ticket.numbers, { hits: winning }),
        h(
          "span.status",
          { class: won ? "won" : status },
          won ? t("status.ticket.won") : t(`status.ticket.${status}`),
        ),
      ),
      won
        ? h("p.ticket-prize", t("ticket.won", { amount: money(ticket.prize, currency), n: ticket.matches }))
        : ticket.matches !== null && ticket.matches !== undefined
          ? h("p.muted", t("ticket.matches", { n: ticket.matches }))
          : null,
      status === "reserved" ? h("p.muted", left) : null,
      h(
        "div.ticket-foot",
        h("span.muted.small", draw ? draw : dateTime(ticket.created_at)),
        h("div.ticket-actions", actions, receipt),
      ),
    ),
  );
}

export const ticketSkeleton = (count = 3) =>
  h(
    "div.ticket-list",
    { "aria-hidden": "true" },
    Array.from({ length: count }, () => h("div.ticket.blank")),
  );
