// Numbers as balls: of a ticket, of a result, and of a draw that is under way.

import { h } from "../dom.js";
import { t } from "../i18n.js";

/** The numbers in a row. Those in `hits` are marked. A screen reader hears one sentence, not single digits. */
export function balls(numbers, { hits = null, size = "", drawn = false } = {}) {
  const list = numbers.join(", ");
  const matched = hits ? numbers.filter((number) => hits.includes(number)) : [];
  const label = hits
    ? t("balls.matched", { list, matched: matched.join(", ") || "0" })
    : t("balls.label", { list });
  return h(
    "span.balls",
    { role: "img", "aria-label": label, class: size },
    numbers.map((number) =>
      h("span.ball", { class: drawn ? "drawn" : hits ? (hits.includes(number) ? "hit" : "miss") : "" }, number),
    ),
  );
}

/** Places for numbers that are not known yet. */
export const emptyBalls = (count, { size = "", text = "" } = {}) =>
  h(
    "span.balls",
    { "aria-hidden": "true", class: size },
    Array.from({ length: count }, () => h("span.ball.empty", text)),
  );
