// The lines that a player is about to buy, for each draw. They outlive a reload and the end of a session.

import { Store } from "./dom.js";

const KEY = "lottery.basket";
/** The largest order that the service takes. */
export const MOST_LINES = 100;

function read() {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? {};
  } catch {
    return {};
  }
}

/** `{drawId: [line]}`. A line is as in the API's orders; of a ready-made ticket it also has the numbers to show. */
export const basket = new Store(read());

export const linesOf = (draw) => basket.value[draw] ?? [];

export function setLines(draw, lines) {
  const next = { ...basket.value, [draw]: lines };
  if (!lines.length) delete next[draw];
  localStorage.setItem(KEY, JSON.stringify(next));
  basket.set(next);
}

/** Adds lines, as many as there is room for. Answers how many were added. */
export function addLines(draw, lines) {
  const have = linesOf(draw);
  const added = lines.slice(0, MOST_LINES - have.length);
  setLines(draw, [...have, ...added]);
  return added.length;
}

export const removeLine = (draw, index) =>
  setLines(
    draw,
    linesOf(draw).filter((_, at) => at !== index),
  );

/** As the API wants them. */
export const orderLines = (lines) =>
  lines.map((line) =>
    line.pool_ticket_id
      ? { pool_ticket_id: line.pool_ticket_id }
      : line.quick_pick
        ? { quick_pick: true }
        : { numbers: line.numbers },
  );
