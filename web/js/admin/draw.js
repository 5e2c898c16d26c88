// One draw: where it is in its life, the step that comes next, its pool, its tickets, its money.

import { h, replace, announce } from "../dom.js";
import { t, dayTime, lotteryName, money, number, dateTime } from "../i18n.js";
import { call, get } from "../api.js";
import { drawOf, forgetDraws, reasonText } from "../draws.js";
import { watchDraw } from "../events.js";
import { confirmStep, field, form, openDialog, toast, whileBusy } from "../components/forms.js";
import { balls } from "../components/balls.js";
import { icon } from "../components/icons.js";
import { path } from "../components/draw-path.js";
import { chips } from "../components/tabs.js";
import { pagedTable, status, userLink } from "./table.js";
import { timeField, utcTime } from "./draws.js";

/** The steps that a status allows; the first is the next one in the draw's life. */
const STEPS = { scheduled: ["open"], open: ["close"], closed: ["conduct"] };
const CHANGEABLE = ["scheduled", "open"];
const CANCELLABLE = ["scheduled", "open", "closed"];
/** So many pool tickets are made with one call, so that the progress shows. */
const POOL_STEP = 5000;

export async function drawPage(root, [id], signal) {
  replace(root, h("div.card.blank.tall"));
  let draw = await drawOf(id, signal);
  const head = h("div");
  const steps = h("section.card.lifecycle");
  const facts = h("section.card");
  const tickets = h("section.card");
  const finance = h("section.card");
  replace(
    root,
    h("a.back", { href: "#/draws" }, icon("back", 20), t("admin.draws")),
    head,
    steps,
    h("div.dash-columns", facts, finance),
    tickets,
  );

  const show = () => {
    const name = `${lotteryName(draw.lottery)}, ${t("draw.number", { n: draw.number })}`;
    const title = h("h1", name);
    replace(
      head,
      h(
        "div.head-line",
        title,
        h(
          "div.actions",
          h("a.button.small", { href: `/#/draw/${draw.id}` }, t("draw.as_player")),
          h("a.button.small", { href: `/verify/${draw.id}` }, t("footer.verify")),
        ),
      ),
    );
    showSteps();
    showFacts();
  };
  const update = (next) => {
    draw = { ...draw, ...next };
    forgetDraws();
    show();
    showFinance();
  };

  const showSteps = () => {
    const step = (name, kind = "") =>
      h(
        "button.button",
        { type: "button", class: kind, onclick: (event) => take(name, event.currentTarget) },
        t(`step.do.${name}`),
      );
    replace(
      steps,
      path(draw),
      draw.cancel_reason
        ? h("p.problem.info", t("draw.cancelled", { reason: reasonText(draw.cancel_reason) }))
        : null,
      h(
        "div.actions",
        (STEPS[draw.status] ?? []).map((name) => step(name, "primary")),
        CHANGEABLE.includes(draw.status)
          ? [
              h(
                "button.button",
                { type: "button", onclick: () => reschedule(draw, update) },
                icon("clock", 20),
                t("step.do.reschedule"),
              ),
              h(
                "button.button",
                { type: "button", onclick: () => addToPool(draw, update) },
                icon("plus", 20),
                t("step.do.pool"),
              ),
            ]
          : null,
        CANCELLABLE.includes(draw.status) ? step("cancel", "danger soft") : null,
      ),
      h("p.muted.small", t(`lifecycle.${draw.status}`)),
    );
  };

  const take = async (name, button) => {
    const asked =
      name === "cancel"
        ? await confirmStep(
            t("step.do.cancel"),
            t("step.sure.cancel", { n: draw.tickets_sold }),
            t("step.do.cancel"),
            { danger: true, input: { label: t("step.reason") } },
          )
        : await confirmStep(
            t(`step.do.${name}`),
            t(`step.sure.${name}`, { n: draw.tickets_sold }),
            t(`step.do.${name}`),
          );
    if (!asked) return;
    await whileBusy(button, async () => {
      try {
        update(
          await call("POST", `/admin/draws/${draw.id}/${name}`, {
            body: name === "cancel" ? { reason: asked } : undefined,
          }),
        );
        announce(t(`status.${draw.status}`));
      } catch (problem) {
        toast(problem.text, "bad");
        update(await drawOf(draw.id, signal));
      }
    });
  };

  const showFacts = () =>
    replace(
      facts,
      h("h2", t("draw.facts")),
      draw.winning_numbers ? balls(draw.winning_numbers, { drawn: true }) : null,
      h(
        "dl.sums",
        [
          [t("col.price"), money(draw.price, draw.currency)],
          [t("col.sold"), number(draw.tickets_sold)],
          [t("col.pool"), number(draw.tickets_available)],
          [t("col.fund"), money(draw.prize_fund, draw.currency)],
          [t("draws.opens"), draw.sales_open_at ? dayTime(draw.sales_open_at) : t("draws.by_hand")],
          [t("draws.closes"), dayTime(draw.sales_close_at)],
          [t("draws.drawn"), dayTime(draw.draw_at)],
          draw.drawn_at ? [t("col.drawn"), dayTime(draw.drawn_at)] : null,
          [t("draw.fairness"), draw.fairness ? t(`fairness.${draw.fairness}`) : "—"],
        ]
          .filter(Boolean)
          .map(([name, value]) => h("div", h("dt", name), h("dd", value))),
      ),
    );

  const showFinance = async () => {
    const { items } = await get("/admin/finance/draws?limit=200", { signal }).catch(() => ({ items: [] }));
    const row = items.find((one) => one.draw_id === draw.id);
    replace(
      finance,
      h("h2", t("dash.money")),
      row
        ? h(
            "dl.sums",
            ["sales", "rollover_in", "reserve", "prizes", "refunds", "rollover_out", "revenue"].map((name) =>
              h("div", h("dt", t(`money.${name}`)), h("dd", money(row[name], row.currency))),
            ),
          )
        : h("p.muted", t("admin.nothing")),
    );
  };

  show();
  showFinance();
  showTickets(tickets, draw, signal);
  watchDraw(
    draw.id,
    {
      sales: (sales) => {
        Object.assign(draw, sales);
        showFacts();
      },
      status: ({ status: next }) => {
        if (next !== draw.status)
          drawOf(draw.id, signal)
            .then(update)
            .catch(() => null);
      },
    },
    signal,
  );
}

function showTickets(place, draw, signal) {
  let filter = "";
  const list = pagedTable({
    path: () => `/admin/draws/${draw.id}/tickets${filter && `?status=${filter}`}`,
    caption: t("draw.tickets"),
    empty: t("draw.tickets.none"),
    signal,
    columns: [
      [t("col.number"), (ticket) => (ticket.number ? number(ticket.number) : "—")],
      [t("col.numbers"), (ticket) => ticket.numbers.join(" ")],
      [t("col.user"), (ticket) => userLink(ticket.user_id)],
      [t("col.status"), (ticket) => status(ticket.status, t(`status.ticket.${ticket.status}`))],
      [t("col.matches"), (ticket) => ticket.matches ?? "—", "num"],
      [t("col.prize"), (ticket) => (ticket.prize ? money(ticket.prize, draw.currency) : "—"), "num"],
      [t("col.at"), (ticket) => dateTime(ticket.created_at)],
    ],
  });
  const kinds = ["", "paid", "reserved", "won", "lost", "refunded", "expired"];
  replace(
    place,
    h("h2", t("draw.tickets")),
    chips(
      t("draw.tickets"),
      kinds.map((key) => [key, key ? t(`status.ticket.${key}`) : t("tickets.all")]),
      (key) => {
        filter = key;
        list.load();
      },
      "",
    ),
    list.node,
  );
  list.load();
}

function reschedule(draw, update) {
  openDialog(t("step.do.reschedule"), (body, close) => {
    const open =
      draw.status === "scheduled" ? timeField(t("draws.opens"), draw.sales_open_at, t("draws.opens.hint")) : null;
    const closes = timeField(t("draws.closes"), draw.sales_close_at);
    const drawn = timeField(t("draws.drawn"), draw.draw_at);
    replace(
      body,
      form(
        [open, closes, drawn],
        t("save"),
        async () => {
          const change = {};
          const set = (name, node, old) => {
            const next = utcTime(node.input.value);
            // The field has no seconds: only what somebody changed is sent.
            if (next && Math.abs(new Date(next) - new Date(old ?? 0)) >= 60_000) change[name] = next;
          };
          if (open) set("sales_open_at", open, draw.sales_open_at);
          set("sales_close_at", closes, draw.sales_close_at);
          set("draw_at", drawn, draw.draw_at);
          if (Object.keys(change).length) update(await call("PATCH", `/admin/draws/${draw.id}`, { body: change }));
          close();
          toast(t("saved"));
        },
        { fields: { sales_open_at: open, sales_close_at: closes, draw_at: drawn } },
      ),
    );
  });
}

function addToPool(draw, update) {
  openDialog(t("step.do.pool"), (body, close) => {
    const count = field(t("pool.count"), {
      inputmode: "numeric",
      value: "1000",
      hint: t("pool.have", { n: draw.tickets_available }),
    });
    const bar = h("progress.progress", { max: 1, value: 0, hidden: true, "aria-label": t("pool.progress") });
    const said = h("p.muted", { role: "status" });
    replace(
      body,
      form(
        [count, bar, said],
        t("pool.make"),
        async () => {
          const wish = Number(count.input.value.replace(/\s/g, ""));
          if (!Number.isSafeInteger(wish) || wish < 1) return count.error(t("pool.count.bad"));
          bar.hidden = false;
          let made = 0;
          while (made < wish && body.isConnected) {
            const answer = await call("POST", `/admin/draws/${draw.id}/pool`, {
              body: { count: Math.min(POOL_STEP, wish - made) },
            });
            made += answer.created;
            bar.value = made / wish;
            said.textContent = t("pool.made", { n: made, all: wish });
            update({ tickets_available: answer.tickets_available });
          }
          close();
          toast(t("pool.done", { n: made }));
        },
        { fields: { count } },
      ),
    );
  });
}
