// One draw: before it, while its numbers are drawn, and its result.

import { h, replace, announce, sleep, calmMotion } from "../dom.js";
import { t, money, dayTime, lotteryName, number } from "../i18n.js";
import { get } from "../api.js";
import { drawOf, forgetDraws, isDrawnEarly, lottery, reasonText } from "../draws.js";
import { everySecond, countdownText } from "../clock.js";
import { watchDraw } from "../events.js";
import { user, loadBalance } from "../session.js";
import { emptyBalls } from "../components/balls.js";
import { icon } from "../components/icons.js";
import { path } from "../components/draw-path.js";
import { prizeTable } from "../components/prize-table.js";
import { ticketCard } from "../components/ticket-card.js";

/** Two numbers do not appear faster than this, so that people can follow. */
const BETWEEN_NUMBERS = 900;

export async function drawPage(root, [id], signal) {
  replace(
    root,
    h(
      "div.draw-page",
      h("section.hero.stage", h("div.hero-in", h("p.hero-kicker", t("loading")))),
      h("div.card.blank.tall"),
    ),
  );
  const draw = await drawOf(id, signal);
  const game = await lottery(draw.lottery);
  if (signal.aborted) return;

  const state = h("p.hero-kicker");
  const stage = h("div.stage-balls");
  const said = h("p.stage-text", { role: "status" });
  const facts = h("div.hero-facts");
  const result = h("section.card", { hidden: true, "aria-labelledby": "result-title" });
  const own = h("section.own-tickets", { "aria-labelledby": "own-title" });
  const title = `${lotteryName(draw.lottery)}, ${t("draw.number", { n: draw.number })}`;
  replace(
    root,
    h(
      "div.draw-page",
      h("a.back", { href: "#/results" }, icon("back", 20), t("nav.results")),
      h("section.hero.stage", h("div.hero-in", state, h("h1", title), stage, said, facts)),
      path(draw),
      h(
        "div.draw-columns",
        h("div", own),
        h(
          "div",
          result,
          h("section.card.prizes", h("h2", t("prizes.title")), prizeTable(draw.prizes, draw.currency)),
          h(
            "section.card.verify-card",
            icon("verify", 32),
            h(
              "div",
              h("h2", t("verify.card.title")),
              h("p", t("verify.card.text")),
              h("a.button", { href: `/verify/${draw.id}` }, t("verify.card.go")),
            ),
          ),
        ),
      ),
    ),
  );

  const shown = [];
  let tickets = [];
  // What was drawn before the page was opened appears at once.
  const live = !["settling", "completed"].includes(draw.status);
  const wait = [];
  let running = false;

  const showStage = () =>
    replace(
      stage,
      shown.length
        ? [
            h(
              "span.balls.big",
              { role: "img", "aria-label": t("balls.label", { list: shown.join(", ") }) },
              shown.map((one, index) =>
                h("span.ball.drawn", { class: index === shown.length - 1 && live ? "new" : "" }, one),
              ),
            ),
            shown.length < game.pick ? emptyBalls(game.pick - shown.length, { size: "big" }) : null,
          ]
        : emptyBalls(game.pick, { size: "big" }),
    );
  const showOwn = () => {
    if (!tickets.length) return replace(own, user.value && h("p.muted", t("draw.no_tickets")));
    replace(
      own,
      h("h2", { id: "own-title" }, t("draw.own")),
      h(
        "div.ticket-list",
        tickets.map((ticket) =>
          ticketCard(ticket, { currency: draw.currency, winning: shown.length ? shown : null }),
        ),
      ),
    );
  };
  const showFacts = () =>
    replace(
      facts,
      h(
        "span",
        t(["completed", "settling"].includes(draw.status) ? "prize.fund_of" : "prize.fund_now", {
          amount: money(draw.prize_fund, draw.currency),
        }),
      ),
      h("span", t("draw.sold", { n: draw.tickets_sold })),
      h("span", icon("clock", 18), drawnText(draw)),
    );
  const showStatus = () => {
    // Who looks on sees the end of the draw only after the last number.
    const isDrawing = ["settling", "completed"].includes(draw.status) && shown.length < game.pick;
    const status = isDrawing ? "settling" : draw.status;
    state.textContent = t(`status.${status}`);
    state.dataset.status = status;
    root.querySelector(".path")?.replaceWith(path({ status }));
    if (status === "cancelled" || status === "cancelling") {
      said.textContent = t("draw.cancelled", { reason: reasonText(draw.cancel_reason) });
    } else if (status === "completed") said.textContent = "";
    else if (status === "settling") said.textContent = t(isDrawing ? "draw.drawing" : "draw.settling");
  };
  const loadTickets = async () => {
    if (!user.value) return;
    tickets = (await get(`/tickets?draw_id=${draw.id}&limit=200`, { signal })).items
      .filter((one) => one.status !== "expired")
      .sort((a, b) => (b.prize ?? 0) - (a.prize ?? 0) || (b.matches ?? 0) - (a.matches ?? 0));
    showOwn();
  };
  const loadResult = async () => {
    const answer = await get(`/draws/${draw.id}/results`, { auth: false, signal });
    draw.drawn_at = answer.drawn_at;
    showFacts();
    result.hidden = false;
    replace(
      result,
      h("h2", { id: "result-title" }, t("result.title")),
      h("p.muted", drawnText(draw)),
      tierTable(answer, draw.currency),
    );
    loadBalance();
    await loadTickets();
    const won = tickets.filter((one) => one.prize > 0);
    if (won.length) {
      const sum = money(
        won.reduce((total, one) => total + one.prize, 0),
        draw.currency,
      );
      replace(said, h("span.won-line", icon("results", 24), t("draw.won", { amount: sum })));
      announce(t("draw.won", { amount: sum }), true);
    } else if (tickets.length) said.textContent = t("draw.lost");
  };
  const drain = async () => {
    if (running) return;
    running = true;
    while (wait.length && !signal.aborted) {
      const { index, number: next } = wait.shift();
      if (index <= shown.length) continue;
      shown.push(next);
      showStage();
      showStatus();
      showOwn();
      if (live) {
        announce(t("draw.number_drawn", { n: next, index }));
        await sleep(calmMotion() ? 100 : BETWEEN_NUMBERS);
      }
    }
    running = false;
    if (draw.status === "completed" && !signal.aborted) {
      showStatus();
      showFacts();
      loadResult().catch((problem) => (said.textContent = problem.text ?? ""));
    }
  };

  if (draw.winning_numbers) shown.push(...draw.winning_numbers);
  showStage();
  showFacts();
  showStatus();
  user.watch(() => loadTickets().catch(() => null), signal);
  showOwn();
  if (draw.status === "completed") return loadResult();
  if (draw.status === "cancelled") return;
  everySecond((now) => {
    if (draw.status === "open")
      said.textContent = t("draw.closes_in", { left: countdownText(draw.sales_close_at, now) });
    else if (draw.status === "closed")
      said.textContent =
        new Date(draw.draw_at) > now
          ? t("draw.drawn_in", { left: countdownText(draw.draw_at, now) })
          : t("draw.any_moment");
    else if (draw.status === "scheduled") said.textContent = t("draw.not_open");
  }, signal);
  said.removeAttribute("role");
  watchDraw(
    draw.id,
    {
      sales: (sales) => {
        Object.assign(draw, sales);
        showFacts();
      },
      number: (event) => {
        wait.push(event);
        drain();
      },
      status: ({ status }) => {
        if (status === draw.status) return;
        draw.status = status;
        forgetDraws();
        if (status === "completed") return drain();
        showFacts();
        showStatus();
        announce(t(`status.${status}`));
        if (status === "cancelled")
          drawOf(draw.id, signal).then((now) => {
            Object.assign(draw, now);
            showStatus();
            loadTickets();
          });
      },
    },
    signal,
  );
}

/** When a draw was drawn: by hand if it was before the planned time. */
function drawnText(draw) {
  const [planned, at] = [dayTime(draw.draw_at), draw.drawn_at && dayTime(draw.drawn_at)];
  if (!at) return t("checkout.drawn", { at: planned });
  return isDrawnEarly(draw) ? t("result.drawn_early", { at, planned }) : t("result.drawn", { at });
}

function tierTable(result, currency) {
  return h(
    "div.table-box",
    h(
      "table.table",
      h(
        "thead",
        h(
          "tr",
          h("th", { scope: "col" }, t("prizes.matches")),
          h("th.num", { scope: "col" }, t("result.winners")),
          h("th.num", { scope: "col" }, t("result.each")),
        ),
      ),
      h(
        "tbody",
        result.tiers.map((tier) =>
          h(
            "tr",
            { class: tier.winners ? "has-winners" : "" },
            h("th", { scope: "row" }, t("matches", { n: tier.matches })),
            h("td.num", number(tier.winners)),
            h("td.num", tier.prize ? h("strong", money(tier.prize, currency)) : "—"),
          ),
        ),
      ),
      h(
        "tfoot",
        h(
          "tr",
          h("th", { scope: "row" }, t("result.fund")),
          h("td", ""),
          h("td.num", money(result.prize_fund, currency)),
        ),
        h(
          "tr",
          h("th", { scope: "row" }, t("result.rollover")),
          h("td", ""),
          h("td.num", money(result.rollover, currency)),
        ),
      ),
    ),
  );
}
