// What happens now: sales, commits, money and health, read every two seconds while somebody looks.

import { h, replace } from "../dom.js";
import { t, money, number, lotteryName, time } from "../i18n.js";
import { call, get } from "../api.js";
import { poll } from "../draws.js";
import { everySecond, countdownText } from "../clock.js";
import { confirmStep, toast } from "../components/forms.js";
import { icon } from "../components/icons.js";
import { plot } from "./plot.js";

const PAUSE = 2000;
/** Ten minutes of points. */
const KEPT = 300;
/** Two minutes of a draw's sales. */
const SPARKS = 60;
/** The latencies since the page was opened; the service keeps the sales itself. */
const latencies = [];
/** The sales a second of each draw since the page was opened, the newest last. */
const drawSales = new Map();

export async function dashboardPage(root, params, signal) {
  const tiles = h("div.tiles");
  const notices = h("div.notices");
  const draws = h("section.card", h("h2", t("dash.draws")), h("div.blank.rows"));
  const accounts = h("section.card.accounts", h("h2", t("dash.money")), h("div.blank.rows"));
  const sales = plot(t("dash.sales"), { signal, unit: t("dash.per_second") });
  const commits = plot(t("dash.latency"), { signal, unit: t("dash.ms"), names: ["p50", "p99"] });
  const at = h("span.muted.small");
  replace(
    root,
    h("div.head-line", h("h1", t("admin.dashboard")), at),
    notices,
    tiles,
    h("div.plots", sales.node, commits.node),
    h("div.dash-columns", draws, accounts),
  );
  replace(
    tiles,
    Array.from({ length: 6 }, () => h("div.tile.blank")),
  );

  const show = async () => {
    const stats = await get("/admin/stats", { signal });
    at.textContent = t("dash.at", { at: time(stats.at) });
    latencies.push([Date.parse(stats.at) / 1000, stats.commit_latency.p50, stats.commit_latency.p99]);
    if (latencies.length > KEPT) latencies.shift();
    replace(
      tiles,
      tile(
        t("dash.sales_now"),
        number(stats.sales_per_second, { maximumFractionDigits: 1 }),
        t("dash.per_second"),
      ),
      tile(t("dash.sold"), number(stats.tickets_sold), t("dash.sold_note")),
      tile(
        t("dash.commit"),
        stats.commit_latency.p99 === null
          ? "—"
          : t("dash.ms_value", { n: number(stats.commit_latency.p99, { maximumFractionDigits: 1 }) }),
        stats.commit_latency.p50 === null
          ? t("dash.no_commit")
          : t("dash.p50", { n: number(stats.commit_latency.p50, { maximumFractionDigits: 1 }) }),
      ),
      tile(t("dash.queue"), number(stats.queue), t("dash.in_flight", { n: stats.orders_in_flight })),
      tile(t("admin.charges"), number(stats.charges_waiting), t("dash.charges_note")),
      healthTile(stats.health),
    );
    showNotices(notices, stats, show);
    const step = stats.sales.interval_seconds;
    const end = Date.parse(stats.at) / 1000;
    const points = stats.sales.tickets;
    sales.show(
      [points.map((_, index) => end - (points.length - 1 - index) * step), points.map((n) => n / step)],
      [stats.sales_per_second],
    );
    commits.show([
      latencies.map(([moment]) => moment),
      latencies.map(([, p50]) => p50),
      latencies.map(([, , p99]) => p99),
    ]);
    showDraws(draws, stats, signal);
    showAccounts(accounts, stats);
  };
  await show();
  poll(show, PAUSE, signal);
}

const tile = (name, value, note, state = "") =>
  h(
    "div.tile",
    { class: state },
    h("span.tile-name", name),
    h("strong.tile-value", value),
    h("span.tile-note", note),
  );

function healthTile(health) {
  const bad = Object.entries(health)
    .filter(([name, value]) => (["clock_paused", "draining"].includes(name) ? value : !value))
    .map(([name]) => t(`health.${name}`));
  return tile(
    t("dash.health"),
    bad.length ? t("dash.unwell") : t("dash.well"),
    bad.join(", ") || t("dash.well_note"),
    bad.length ? "bad" : "good",
  );
}

function showNotices(place, stats, again) {
  const notices = [];
  if (stats.health.clock_paused)
    notices.push(
      h(
        "p.notice.warn",
        icon("clock", 20),
        h("span", t("dash.clock")),
        h("button.button.small", { type: "button", onclick: () => confirmClock(again) }, t("dash.clock.look")),
      ),
    );
  if (stats.draws_stopped) {
    notices.push(
      h(
        "p.notice.warn",
        icon("cross", 20),
        h("span", t("dash.stopped", { n: stats.draws_stopped })),
        h("a.button.small", { href: "#/draws" }, t("dash.look")),
      ),
    );
  }
  if (stats.charges_waiting)
    notices.push(
      h(
        "p.notice.warn",
        icon("card", 20),
        h("span", t("dash.charges", { n: stats.charges_waiting })),
        h("a.button.small", { href: "#/charges" }, t("dash.look")),
      ),
    );
  // The same notices stay as they are, so that a button under the pointer stays.
  const texts = notices.map((one) => one.textContent).join();
  if (place.dataset.shown === texts) return;
  place.dataset.shown = texts;
  replace(place, notices);
}

async function confirmClock(again) {
  const clock = await get("/admin/clock");
  const fine = await confirmStep(
    t("dash.clock.title"),
    t("dash.clock.text", { at: time(clock.wall), n: number(clock.offset_ms / 1000) }),
    t("dash.clock.confirm"),
  );
  if (!fine) return;
  try {
    await call("POST", "/admin/clock/confirm");
    again();
  } catch (problem) {
    toast(problem.text, "bad");
  }
}

function showDraws(place, stats, signal) {
  const most = Math.max(1, ...stats.draws.map((draw) => draw.tickets_sold));
  const shown = place.querySelector("ul.dash-draws");
  const key = stats.draws.map((draw) => draw.draw_id + draw.status).join();
  if (!shown || shown.dataset.key !== key) {
    const list = h(
      "ul.dash-draws",
      { dataset: { key } },
      stats.draws.map((draw) => {
        const left = h("span.muted.small");
        const until = draw.status === "open" ? draw.sales_close_at : draw.draw_at;
        if (["open", "closed"].includes(draw.status))
          everySecond(
            (now) =>
              (left.textContent = `${t(draw.status === "open" ? "dash.closes" : "dash.draws_in")} ${countdownText(until, now)}`),
            signal,
          );
        return h(
          "li",
          h(
            "a.dash-draw",
            { href: `#/draw/${draw.draw_id}` },
            h("span.dash-draw-name", h("strong", lotteryName(draw.lottery)), ` ${t("no", { n: draw.number })}`),
            h("span.status", { class: draw.status }, t(`status.${draw.status}`)),
            left,
            h("span.bar", h("span.bar-fill")),
            sparkline(),
            h("span.dash-draw-sold.num"),
          ),
        );
      }),
    );
    replace(
      place,
      h("div.head-line", h("h2", t("dash.draws")), h("a.button.small", { href: "#/draws" }, t("admin.draws"))),
      stats.draws.length ? list : h("p.muted", t("dash.no_draws")),
    );
  }
  [...place.querySelectorAll(".dash-draw")].forEach((row, index) => {
    const draw = stats.draws[index];
    const history = drawSales.get(draw.draw_id) ?? [];
    drawSales.set(draw.draw_id, [...history, draw.sales_per_second].slice(-SPARKS));
    row.querySelector("polyline").setAttribute("points", sparkPoints(drawSales.get(draw.draw_id)));
    row.querySelector(".bar-fill").style.width = `${(100 * draw.tickets_sold) / most}%`;
    row.querySelector(".dash-draw-sold").textContent =
      `${t("dash.tickets", { n: draw.tickets_sold })} · ${number(draw.sales_per_second, { maximumFractionDigits: 1 })} ${t("dash.per_second")}`;
  });
}

const SPARK_HEIGHT = 24;

/** A small plot of a draw's sales. The figures beside it say the same in words. */
function sparkline() {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", `0 0 ${SPARKS} ${SPARK_HEIGHT}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("class", "spark");
  svg.setAttribute("aria-hidden", "true");
  svg.append(document.createElementNS("http://www.w3.org/2000/svg", "polyline"));
  return svg;
}

function sparkPoints(values) {
  const most = Math.max(1, ...values);
  const height = SPARK_HEIGHT - 2;
  return values
    .map((value, at) => `${SPARKS - values.length + at},${1 + height - (height * value) / most}`)
    .join(" ");
}

function showAccounts(place, { accounts, currency }) {
  replace(
    place,
    h("div.head-line", h("h2", t("dash.money")), h("a.button.small", { href: "#/finance" }, t("admin.finance"))),
    accounts
      ? h(
          "dl.sums",
          Object.entries(accounts).map(([name, value]) =>
            h("div", h("dt", t(`account.kind.${name}`)), h("dd", money(value, currency))),
          ),
        )
      : h("p.muted", t("dash.no_accounts")),
  );
}
