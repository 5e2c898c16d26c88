// The first page: draws on sale, the numbers, the basket.

import { h, replace, rich } from "../dom.js";
import { t, money, dayTime, lotteryName, share } from "../i18n.js";
import { allLotteries, drawOf, drawsOnSale, forgetDraws, headlinePrize, lottery, poll } from "../draws.js";
import { everySecond, countdownText, parts } from "../clock.js";
import { watchDraw } from "../events.js";
import { linesOf } from "../basket.js";
import { icon } from "../components/icons.js";
import { toast } from "../components/forms.js";
import { showBasket } from "../components/basket-panel.js";
import { showPicker } from "../components/picker.js";
import { prizeTable } from "../components/prize-table.js";

/** How often the list of draws is read again. */
const LIST_PAUSE = 20_000;

export async function playPage(root, [wanted], signal) {
  const hero = h("section.hero", { "aria-labelledby": "hero-title" });
  const choice = h("div.draw-choice", { role: "group", "aria-label": t("play.draws") });
  const picker = h("section.card.picker", { "aria-labelledby": "picker-title" });
  const side = h("aside.side", { "aria-label": t("basket.title") });
  const prizes = h("section.card.prizes", { "aria-labelledby": "prizes-title" });
  skeleton(hero, choice, picker, side);
  replace(root, h("div.play", h("div.play-main", hero, choice, picker, prizes), side));

  let [draws, lotteries] = await Promise.all([drawsOnSale(signal), allLotteries()]);
  if (signal.aborted) return;
  let shown = null;
  let page = null;
  const select = async (draw) => {
    page?.abort();
    page = new AbortController();
    const own = page.signal;
    signal.addEventListener("abort", () => page.abort());
    shown = draw;
    markChoice();
    const game = lotteries.find((one) => one.id === draw.lottery) ?? (await lottery(draw.lottery));
    showDraw(hero, picker, side, prizes, draw, game, own, ended);
  };
  const markChoice = () => {
    for (const button of choice.children)
      button.setAttribute("aria-pressed", Number(button.dataset.draw) === shown?.id);
  };
  const list = () => {
    // Buttons are kept where the draws are the same, so that nobody loses the focus.
    const same =
      draws.map((draw) => draw.id).join() === [...choice.children].map((button) => button.dataset.draw).join();
    if (!same) {
      replace(
        choice,
        draws.map((draw) => {
          const game = lotteries.find((one) => one.id === draw.lottery);
          return drawButton(draw, game, signal, () => select(draw));
        }),
      );
      choice.hidden = draws.length < 2;
    }
    markChoice();
  };
  const ended = () => {
    forgetDraws();
    toast(t("play.closed"));
    renew();
  };
  const renew = async () => {
    draws = await drawsOnSale(signal);
    list();
    if (!draws.length) return nothingOnSale(root);
    if (!draws.some((draw) => draw.id === shown?.id)) select(draws[0]);
  };

  if (!draws.length) {
    nothingOnSale(root);
    return poll(
      async () => {
        forgetDraws();
        draws = await drawsOnSale(signal);
        if (draws.length) playPage(root, [wanted], signal);
      },
      LIST_PAUSE,
      signal,
    );
  }
  list();
  await select(
    draws.find((draw) => String(draw.id) === wanted) ?? draws.find((draw) => linesOf(draw.id).length) ?? draws[0],
  );
  poll(renew, LIST_PAUSE, signal);
}

/** Boxes of the final size, so that nothing moves when the data come. */
function skeleton(hero, choice, picker, side) {
  replace(
    hero,
    h(
      "div.hero-in",
      h("p.hero-kicker", t("play.kicker")),
      h("h1", { id: "hero-title" }, t("play.title")),
      h("div.hero-amount.blank"),
      h("div.hero-foot.blank"),
    ),
  );
  replace(choice, h("div.draw-button.blank"), h("div.draw-button.blank"));
  replace(
    picker,
    h("h2", { id: "picker-title" }, t("picker.title")),
    h("div.tabs.tabs-blank"),
    h("div.pick-head"),
    h(
      "div.grid-blank",
      { "aria-hidden": "true" },
      Array.from({ length: 36 }, () => h("span.pick.blank")),
    ),
    h("div.pick-foot.foot-blank"),
  );
  replace(side, h("div.card.basket.blank", h("h2", t("basket.title"))));
}

function nothingOnSale(root) {
  replace(
    root,
    h(
      "div.empty-state",
      icon("clock", 40),
      h("h1", t("play.none")),
      h("p", t("play.none.text")),
      h("a.button", { href: "#/results" }, t("nav.results")),
    ),
  );
}

function drawButton(draw, game, signal, choose) {
  // With another price the guaranteed prizes are others, which the list of draws does not tell.
  const prize = draw.price === game?.price ? headlinePrize(game.prizes, draw.prize_fund).amount : draw.prize_fund;
  const left = h("span.draw-button-left");
  everySecond((now) => (left.textContent = countdownText(draw.sales_close_at, now)), signal);
  return h(
    "button.draw-button",
    { type: "button", dataset: { draw: draw.id }, onclick: choose },
    h("span.draw-button-name", lotteryName(draw.lottery), h("span.muted", ` ${t("no", { n: draw.number })}`)),
    h("span.draw-button-time", h("strong", money(prize, draw.currency)), icon("clock", 16), left),
  );
}

function showDraw(hero, picker, side, prizes, draw, game, signal, ended) {
  let headline;
  const kicker = h("p.hero-kicker", `${lotteryName(draw.lottery)} · ${t("draw.number", { n: draw.number })}`);
  const title = h("h1", { id: "hero-title", "data-title": t("play.title") });
  const fund = h("span");
  const sold = h("span");
  const show = () => {
    headline = headlinePrize(draw.prizes ?? game.prizes, draw.prize_fund);
    replace(
      title,
      h("span.hero-label", t(`prize.${headline.kind}`)),
      h("span.hero-amount", money(headline.amount, draw.currency)),
    );
    fund.textContent = t("draw.price", { price: money(draw.price, draw.currency) });
    sold.textContent =
      headline.kind === "least" && draw.prize_fund
        ? t("prize.fund_now", { amount: money(draw.prize_fund, draw.currency) })
        : t("draw.sold", { n: draw.tickets_sold });
  };
  show();
  const count = countdown(draw.sales_close_at, signal);
  replace(
    hero,
    h(
      "div.hero-in",
      kicker,
      title,
      h(
        "div.hero-foot",
        h("div.hero-count", h("span.hero-small", t("play.closes", { at: dayTime(draw.sales_close_at) })), count),
        h(
          "div.hero-facts",
          h("span.live", fund),
          sold,
          h("a", { href: `/verify/${draw.id}` }, icon("verify", 18), t("play.verifiable")),
        ),
      ),
    ),
  );

  watchDraw(
    draw.id,
    {
      sales: (sales) => {
        Object.assign(draw, sales);
        show();
      },
      status: ({ status }) => {
        if (status !== "open" && status !== "scheduled") ended();
      },
    },
    signal,
  );

  showPicker(picker, draw, game, signal);
  showPrizes(prizes, draw, game, signal);
  showBasket(side, draw, game.pick, signal);
}

function countdown(until, signal) {
  const units = ["d", "h", "m", "s"].map((unit) => [unit, h("b"), h("span")]);
  const node = h(
    "div.countdown",
    { role: "timer", "aria-live": "off" },
    units.map(([, value, name]) => h("div", value, name)),
  );
  everySecond((now) => {
    const left = parts(until, now);
    for (const [unit, value, name] of units) {
      value.textContent = unit === "d" ? left.d : String(left[unit]).padStart(2, "0");
      name.textContent = t(`unit.${unit}`, { n: left[unit] });
    }
    node.setAttribute("aria-label", countdownText(until, now));
  }, signal);
  return node;
}

async function showPrizes(place, draw, game, signal) {
  const full = await drawOf(draw.id, signal).catch(() => ({ prizes: game.prizes }));
  if (signal.aborted) return;
  draw.prizes = full.prizes;
  replace(
    place,
    h("h2", { id: "prizes-title" }, t("prizes.title")),
    prizeTable(full.prizes, draw.currency, game.pick),
    h("p.muted.small", rich(t("prizes.text", { share: share(game.fund_share) }))),
  );
}
