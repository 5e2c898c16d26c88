// The results of all draws, and the draws that come.

import { h, replace } from "../dom.js";
import { t, lotteryName, money } from "../i18n.js";
import { allLotteries, drawList, drawTime } from "../draws.js";
import { balls, emptyBalls } from "../components/balls.js";
import { icon } from "../components/icons.js";
import { chips } from "../components/tabs.js";
import { pager } from "../components/pager.js";
import { everySecond, countdownText } from "../clock.js";

const BLANKS = 5;
const MOST_NEXT = 2;
const AHEAD = "status=scheduled&status=open&status=closed&status=settling&status=cancelling";
const OVER = "status=completed&status=cancelled";
const WITHOUT_NUMBERS = ["cancelling", "cancelled"];

export async function resultsPage(root, params, signal) {
  const list = h("ul.results");
  const filter = h("div.filter-place");
  let lottery = "";
  const { foot, load } = pager({
    path: () => `/draws?${OVER}${lottery && `&lottery=${lottery}`}`,
    limit: 30,
    auth: false,
    signal,
    begin: () =>
      replace(
        list,
        Array.from({ length: BLANKS }, () => h("li.result.blank")),
      ),
    show: (items, isFirst) => {
      if (isFirst) replace(list, items.length ? null : h("li.empty-state", h("p", t("results.none"))));
      list.append(...items.map((draw) => row(draw, game(draw), signal)));
    },
  });
  const next = h("ul.results");
  const nextTitle = h("h2", t("results.next"));
  const overTitle = h("h2", t("results.over"));
  replace(root, h("h1", t("nav.results")), filter, nextTitle, next, overTitle, list, foot);
  const game = (draw) => lotteries.find((one) => one.id === draw.lottery);
  /** The draws whose numbers come next. Their places are kept while they are read. */
  const showNext = async () => {
    const asked = lottery;
    if (!next.children.length)
      replace(
        next,
        Array.from({ length: MOST_NEXT }, () => h("li.result.blank")),
      );
    const draws = await drawList(`${AHEAD}&limit=50${lottery && `&lottery=${lottery}`}`, signal).catch(() => []);
    if (asked !== lottery || signal.aborted) return;
    const soonest = [...draws].sort((a, b) => a.draw_at.localeCompare(b.draw_at)).slice(0, MOST_NEXT);
    nextTitle.hidden = overTitle.hidden = !soonest.length;
    replace(
      next,
      soonest.map((draw) => row(draw, game(draw), signal)),
    );
  };
  const lotteries = await allLotteries();
  replace(
    filter,
    chips(
      t("results.filter"),
      [["", t("results.all")], ...lotteries.map((one) => [one.id, lotteryName(one.id)])],
      (key) => {
        lottery = key;
        load();
        showNext();
      },
      "",
    ),
  );
  showNext();
  await load();
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
        h("span.muted", `${t("no", { n: draw.number })} · ${drawTime(draw)}`),
      ),
      draw.winning_numbers
        ? balls(draw.winning_numbers, { drawn: true })
        : WITHOUT_NUMBERS.includes(draw.status)
          ? h("span")
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
