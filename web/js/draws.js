// Lotteries and draws as the pages read them, kept for a moment so that a change of page shows them at once.

import { get } from "./api.js";
import { t, has, dayTime, nameLotteries } from "./i18n.js";

let lotteries;
export const allLotteries = () =>
  (lotteries ??= get("/lotteries", { auth: false })
    .then(({ items }) => {
      nameLotteries(items);
      return items;
    })
    .catch((problem) => {
      lotteries = undefined;
      throw problem;
    }));

export const lottery = async (id) => (await allLotteries()).find((one) => one.id === id);

const FRESH = 5000;
const kept = new Map();
export function drawList(query, signal) {
  const known = kept.get(query);
  if (known && performance.now() - known.at < FRESH) return Promise.resolve(known.items);
  return get(`/draws?${query}`, { auth: false, signal }).then(({ items }) => {
    kept.set(query, { at: performance.now(), items });
    return items;
  });
}

export const forgetDraws = () => kept.clear();
export const drawOf = (id, signal) => get(`/draws/${encodeURIComponent(id)}`, { auth: false, signal });

/** Whether an operator drew the numbers by hand, before the planned time. */
export const isDrawnEarly = ({ draw_at: planned, drawn_at: drawn }) =>
  drawn !== null && new Date(drawn) < new Date(planned);

/** When a draw was drawn, or for when it is planned: an operator may draw earlier by hand. */
export function drawTime(draw) {
  const { draw_at: planned, drawn_at: drawn } = draw;
  if (drawn === null) return t("draw.planned", { at: dayTime(planned) });
  return isDrawnEarly(draw) ? t("draw.early", { at: dayTime(drawn) }) : dayTime(drawn);
}

/** Why a draw was cancelled: an admin's words, or a reason that the service has itself. */
export const reasonText = (reason) => (has(`void.${reason}`) ? t(`void.${reason}`) : (reason ?? ""));

/** The draws to buy for, the soonest first. */
export async function drawsOnSale(signal) {
  const items = await drawList("status=open&limit=50", signal);
  return [...items].sort((a, b) => a.sales_close_at.localeCompare(b.sales_close_at) || a.id - b.id);
}

/** What the headline of a draw says: its fund, or the top prize that is guaranteed while the fund is smaller. */
export function headlinePrize(prizes, fund) {
  const top = prizes[0];
  const least = top.kind === "fixed" ? top.amount : (top.minimum ?? 0);
  return fund > least ? { kind: "fund", amount: fund } : { kind: "least", amount: least };
}

/** Calls a function again and again while the page is looked at. */
export function poll(run, pause, signal) {
  let timer;
  const next = () => {
    timer = setTimeout(async () => {
      if (!document.hidden) await run().catch(() => null);
      if (!signal.aborted) next();
    }, pause);
  };
  next();
  signal.addEventListener("abort", () => clearTimeout(timer));
}
