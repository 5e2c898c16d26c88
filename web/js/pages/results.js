// The results of all draws, and the draws that come.

import { h, replace } from "../dom.js";
import { t, dayTime, lotteryName, money } from "../i18n.js";
import { get } from "../api.js";
import { allLotteries } from "../draws.js";
import { balls, emptyBalls } from "../components/balls.js";
import { icon } from "../components/icons.js";
import { chips } from "../components/tabs.js";
import { whileBusy } from "../components/forms.js";
import { everySecond, countdownText } from "../clock.js";

const BLANKS = 5;

export async function resultsPage(root, params, signal) {
  const list = h("ul.results");
  const foot = h("div.center");
  const filter = h("div.filter-place");
  replace(root, h("h1", t("nav.results")), filter, list, foot);
  let lottery = "";
  let cursor = "";
  const load = async (anew) => {
    if (anew) {
      cursor = "";
      replace(
        list,
        Array.from({ length: BLANKS }, () => h("li.result.blank")),
      );
    }
    replace(foot);
    const asked = lottery;
    try {
      const page = await get(
        `/draws?limit=30${lottery && `&lottery=${lottery}`}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`,
        { auth: false, signal },
      );
      if (asked !== lottery) return;
      if (anew) replace(list);
      if (anew && !page.items.length) replace(list, h("li.empty-state", h("p", t("results.none"))));
      list.append(
        ...page.items.map((draw) =>
          row(
            draw,
            lotteries.find((one) => one.id === draw.lottery),
            signal,
          ),
        ),
      );
      cursor = page.next_cursor;
      if (cursor)
        replace(
          foot,
          h(
            "button.button",
            { type: "button", onclick: (event) => whileBusy(event.currentTarget, () => load(false)) },
            t("more"),
          ),
        );
    } catch (problem) {
      if (!signal.aborted)
        replace(
          foot,
          h("p.problem", problem.text),
          h("button.button", { type: "button", onclick: () => load(anew) }, t("retry")),
        );
    }
  };
  const lotteries = await allLotteries();
  replace(
    filter,
    chips(
      t("results.filter"),
      [["", t("results.all")], ...lotteries.map((one) => [one.id, lotteryName(one.id)])],
      (key) => {
        lottery = key;
        load(true);
      },
      "",
    ),
  );
  await load(true);
}

function row(draw, game, signal) {
  const left = h("span");
  if (["open", "closed"].includes(draw.status)) {
    everySecond(
      (now) =>
        (left.textContent =
          new Date(draw.draw_at) > now
            ? t("draw.drawn_in", { left: countdownText(draw.draw_at, now) })
            : t("draw.any_moment")),
      signal,
    );
  }
  return h(
    "li",
    h(
      "a.result",
      { href: `#/draw/${draw.id}`, class: draw.status },
      h(
        "div.result-name",
        h("strong", lotteryName(draw.lottery)),
        h("span.muted", `${t("no", { n: draw.number })} · ${dayTime(draw.draw_at)}`),
      ),
      draw.winning_numbers
        ? balls(draw.winning_numbers, { drawn: true })
        : emptyBalls(game?.pick ?? 5, { size: "to-come" }),
      h(
        "div.result-end",
        draw.winning_numbers
          ? h("span", t("prize.fund_of", { amount: money(draw.prize_fund, draw.currency) }))
          : h("span.status", { class: draw.status }, t(`status.${draw.status}`)),
        h("span.muted.small", draw.winning_numbers ? t("draw.sold", { n: draw.tickets_sold }) : left),
      ),
      icon("arrow", 20),
    ),
  );
}
