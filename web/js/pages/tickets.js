// The player's tickets, newest first, by draw.

import { h, replace } from "../dom.js";
import { t, lotteryName, money } from "../i18n.js";
import { call, get } from "../api.js";
import { allLotteries, drawOf, drawTime } from "../draws.js";
import { user, balance, loadBalance } from "../session.js";
import { icon } from "../components/icons.js";
import { chips } from "../components/tabs.js";
import { openDialog, toast, whileBusy } from "../components/forms.js";
import { pager } from "../components/pager.js";
import { ticketCard, ticketSkeleton } from "../components/ticket-card.js";
import { accountForm } from "../components/account-form.js";
import { fundForm } from "../components/fund.js";

const FILTERS = {
  all: "",
  waiting: "?status=paid&status=reserved",
  won: "?status=won",
  over: "?status=lost&status=refunded",
};

export async function ticketsPage(root, params, signal) {
  const place = h("div");
  replace(root, h("h1", t("nav.tickets")), place);
  user.watch((now) => {
    if (now === undefined) replace(place, ticketSkeleton());
    else if (now === null)
      replace(
        place,
        h(
          "div.card.narrow",
          h("p", t("tickets.log_in")),
          accountForm(() => null, { mode: "login" }),
        ),
      );
    else list(place, signal);
  }, signal);
}

function list(place, signal) {
  let filter = "all";
  let draws = new Map();
  const hint = h("p.notice", { hidden: true }, icon("file", 20), h("span", t("receipt.hint")));
  const groups = h("div.groups");
  const { foot, load } = pager({
    path: () => `/tickets${FILTERS[filter]}`,
    limit: 50,
    signal,
    begin: () => {
      draws = new Map();
      replace(groups, ticketSkeleton());
    },
    show: async (tickets, isFirst) => {
      await allLotteries();
      const missing = [...new Set(tickets.map((one) => one.draw_id))].filter((id) => !draws.has(id));
      for (const draw of await Promise.all(missing.map((id) => drawOf(id, signal)))) draws.set(draw.id, draw);
      if (isFirst) {
        replace(groups, tickets.length ? null : nothing(filter));
        hint.hidden = !tickets.some((one) => one.status === "paid");
      }
      for (const ticket of tickets)
        if (ticket.status !== "expired") addTicket(ticket, draws.get(ticket.draw_id));
    },
  });
  replace(
    place,
    chips(
      t("tickets.filter"),
      Object.keys(FILTERS).map((key) => [key, t(`tickets.${key}`)]),
      (key) => {
        filter = key;
        load();
      },
      filter,
    ),
    hint,
    groups,
    foot,
  );

  const addTicket = (ticket, draw) => {
    let group = groups.querySelector(`[data-draw="${draw.id}"] .ticket-list`);
    if (!group) {
      group = h("div.ticket-list");
      groups.append(
        h(
          "section.group",
          { dataset: { draw: draw.id } },
          h(
            "header.group-head",
            h(
              "div",
              h("h2", `${lotteryName(draw.lottery)}, ${t("draw.number", { n: draw.number })}`),
              h("p.muted", t(`status.${draw.status}`), " · ", drawTime(draw)),
            ),
            h(
              "a.button.small",
              { href: `#/draw/${draw.id}` },
              draw.status === "completed" ? t("tickets.result") : t("tickets.watch"),
            ),
          ),
          group,
        ),
      );
    }
    const pay =
      ticket.status === "reserved"
        ? [
            h(
              "button.button.small.primary",
              {
                type: "button",
                onclick: (event) =>
                  whileBusy(event.currentTarget, () => payReserved(ticket, draw, () => load())),
              },
              t("ticket.pay"),
            ),
            h(
              "button.button.small",
              {
                type: "button",
                onclick: (event) =>
                  whileBusy(event.currentTarget, async () => {
                    try {
                      await call("DELETE", `/tickets/${ticket.id}`);
                      load();
                    } catch (problem) {
                      toast(problem.text, "bad");
                    }
                  }),
              },
              t("ticket.give_back"),
            ),
          ]
        : null;
    group.append(
      ticketCard(ticket, { currency: draw.currency, winning: draw.winning_numbers, actions: pay, signal }),
    );
  };
  load();
}

const nothing = (filter) =>
  h(
    "div.empty-state",
    icon("tickets", 40),
    h("p", t(`tickets.none.${filter === "all" ? "all" : "some"}`)),
    h("a.button.primary", { href: "#/" }, t("nav.play")),
  );

/** Pays the payment that a reserved ticket belongs to, with all its tickets. */
async function payReserved(ticket, draw, done) {
  try {
    const payments = await get("/payments?limit=200");
    const payment = payments.items.find((one) => one.status === "pending" && one.ticket_ids.includes(ticket.id));
    if (!payment) return done();
    await loadBalance();
    const missing = payment.amount - (balance.value ?? 0);
    if (missing > 0) {
      const funded = await openDialog(
        t("checkout.fund", { amount: money(missing, draw.currency) }),
        (body, close) => replace(body, fundForm({ currency: draw.currency, missing, done: () => close(true) })),
      );
      if (!funded) return;
    }
    await call("POST", `/payments/${payment.id}/pay`, { body: { method: "wallet" }, key: crypto.randomUUID() });
    await loadBalance();
    toast(t("ticket.paid", { n: payment.ticket_ids.length }));
    done();
  } catch (problem) {
    toast(problem.text ?? t("error.internal_error"), "bad");
  }
}
