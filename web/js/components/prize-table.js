// What each number of matches wins, and how likely it is.

import { h } from "../dom.js";
import { t, money, odds, share } from "../i18n.js";

export function prizeTable(prizes, currency) {
  return h(
    "div.table-box",
    h(
      "table.table",
      h(
        "thead",
        h(
          "tr",
          h("th", { scope: "col" }, t("prizes.matches")),
          h("th", { scope: "col" }, t("prizes.prize")),
          h("th.num", { scope: "col" }, t("prizes.odds")),
        ),
      ),
      h(
        "tbody",
        prizes.map((prize) =>
          h(
            "tr",
            h("th", { scope: "row" }, t("matches", { n: prize.matches })),
            h(
              "td",
              prize.kind === "fixed"
                ? h("strong", money(prize.amount, currency))
                : [
                    h(
                      "strong",
                      prize.minimum
                        ? t("prizes.least", { amount: money(prize.minimum, currency) })
                        : t("prizes.share", { share: share(prize.share) }),
                    ),
                    prize.minimum
                      ? h("span.muted.small.block", t("prizes.or_share", { share: share(prize.share) }))
                      : null,
                  ],
            ),
            h("td.num.muted", odds(prize.odds)),
          ),
        ),
      ),
    ),
  );
}
