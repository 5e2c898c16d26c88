// Choosing lines in three ways: numbers on a grid, quick picks, and tickets that were made in advance.

import { h, replace, announce, calmMotion } from "../dom.js";
import { t, money } from "../i18n.js";
import { basket, linesOf } from "../basket.js";
import { balls } from "./balls.js";
import { addAndSay } from "./basket-panel.js";
import { icon } from "./icons.js";
import { randomNumbers } from "./number-grid.js";
import { pager } from "./pager.js";
import { tabs } from "./tabs.js";

const QUICK_PICKS = [1, 3, 5, 10];
const POOL_PAGE = 12;

export function showPicker(picker, draw, game, signal) {
  const items = [
    ["choose", t("picker.choose")],
    ["quick", t("picker.quick")],
    ["pool", t("picker.pool")],
  ];
  const views = {};
  const tab = tabs(t("picker.title"), items, (key, panel) => {
    views[key] ??= { choose: chooseNumbers, quick: quickPick, pool: pool }[key](draw, game, signal);
    replace(panel, views[key]);
  });
  replace(picker, h("h2", { id: "picker-title" }, t("picker.title")), tab.list, tab.panel);
}

function chooseNumbers(draw, game) {
  const grid = document.createElement("number-grid");
  grid.game = game;
  const count = h("p.pick-count", { "aria-live": "polite" });
  const add = h(
    "button.button.primary",
    {
      type: "button",
      onclick: () => {
        if (!grid.isComplete) return announce(t("picker.left", { n: game.pick - grid.value.length }), true);
        if (addAndSay(draw, [{ numbers: grid.value }])) grid.value = [];
      },
    },
    icon("plus", 20),
    t("picker.add"),
  );
  const clear = h("button.button.quiet", { type: "button", onclick: () => (grid.value = []) }, t("picker.clear"));
  const fill = h(
    "button.button",
    { type: "button", onclick: () => spin(grid, game, () => foot.scrollIntoView({ block: "nearest" })) },
    icon("dice", 20),
    t("picker.fill"),
  );
  const change = () => {
    const left = game.pick - grid.value.length;
    count.textContent = left ? t("picker.left", { n: left }) : t("picker.ready");
    add.setAttribute("aria-disabled", String(left > 0));
    clear.disabled = left === game.pick;
  };
  grid.addEventListener("change", change);
  change();
  // On a phone it is below the edge: who has all numbers sees what comes next.
  const foot = h("div.pick-foot", add);
  return [h("div.pick-head", count, h("div.pick-tools", clear, fill)), grid, foot];
}

/** Random numbers, after a short roll that shows that they are random. `done` is called at its end. */
function spin(grid, game, done) {
  let rounds = calmMotion() ? 1 : 6;
  const roll = () => {
    grid.value = randomNumbers(game.pick, game.of);
    if (--rounds) setTimeout(roll, 70);
    else done();
  };
  roll();
}

function quickPick(draw, game) {
  return h(
    "div.quick",
    h("p", t("quick.text", { pick: game.pick, of: game.of })),
    h(
      "div.quick-choices",
      QUICK_PICKS.map((n) =>
        h(
          "button.quick-choice",
          {
            type: "button",
            onclick: () =>
              addAndSay(
                draw,
                Array.from({ length: n }, () => ({ quick_pick: true })),
              ),
          },
          h("strong", t("lines", { n })),
          h("span", money(n * draw.price, draw.currency)),
        ),
      ),
    ),
  );
}

/** The tickets that were made in advance. */
function pool(draw, game, signal) {
  const list = h("ul.pool");
  const rows = new Map();
  const { foot, load } = pager({
    path: () => `/draws/${draw.id}/pool`,
    limit: POOL_PAGE,
    auth: false,
    signal,
    show: (tickets, isFirst) => {
      if (isFirst && !tickets.length) replace(list, h("li.muted", t("pool.none")));
      for (const ticket of tickets) {
        const button = h(
          "button.button.small",
          {
            type: "button",
            onclick: () => addAndSay(draw, [{ pool_ticket_id: ticket.id, numbers: ticket.numbers }]),
          },
          h("span", t("pool.choose")),
          h("span.sr", ` ${ticket.numbers.join(", ")}`),
        );
        rows.set(ticket.id, button);
        list.append(h("li", balls(ticket.numbers, { size: "small" }), button));
      }
      mark();
    },
  });
  const mark = () => {
    const chosen = new Set(linesOf(draw.id).map((line) => line.pool_ticket_id));
    for (const [id, button] of rows) {
      button.disabled = chosen.has(id);
      button.firstChild.textContent = chosen.has(id) ? t("pool.chosen") : t("pool.choose");
    }
  };
  basket.watch(mark, signal, false);
  load();
  return h("div", h("p", t("pool.text")), list, foot);
}
