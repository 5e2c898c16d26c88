// The receipt of a ticket: what it is for, a file to keep, and its verification in this browser.

import { h, replace } from "../dom.js";
import { t, lotteryName } from "../i18n.js";
import { get } from "../api.js";
import { drawOf } from "../draws.js";
import { handToVerifier, saveReceipt } from "../receipts.js";
import { balls } from "./balls.js";
import { openDialog } from "./forms.js";
import { icon } from "./icons.js";

/** Shows the receipt of a paid ticket. Rejects if it cannot be read. */
export async function showReceipt(ticket) {
  const [receipt, draw] = await Promise.all([get(`/tickets/${ticket.id}/proof`), drawOf(ticket.draw_id)]);
  // It is here only where somebody asks for a receipt, and needs a library.
  const { parseProof } = await import("../verify/notes.js");
  const { origin, index, note } = parseProof(receipt.proof);
  const facts = [
    ["receipt.draw", `${lotteryName(draw.lottery)}, ${t("draw.number", { n: draw.number })}`],
    ["receipt.place", t("receipt.place.of", { n: index + 1, size: Number(note.split("\n")[1]) })],
  ];
  openDialog(t("receipt.title", { n: ticket.number }), (body, close) =>
    replace(
      body,
      h("p", t("receipt.text")),
      h("p", balls(ticket.numbers, { size: "small" })),
      h(
        "dl.sums",
        facts.map(([name, value]) => h("div", h("dt", t(name)), h("dd", value))),
      ),
      h(
        "details.receipt-details",
        h("summary", t("receipt.details")),
        h("p.muted.small", t("receipt.log")),
        h("code.fact-value", origin),
      ),
      h(
        "div.actions",
        h(
          "button.button.primary",
          { type: "button", onclick: () => saveReceipt(receipt, [ticket]) },
          icon("download", 20),
          t("receipt.save"),
        ),
        h(
          "a.button",
          {
            href: `/verify/${ticket.draw_id}`,
            onclick: () => {
              handToVerifier(receipt, [ticket]);
              close();
            },
          },
          icon("verify", 20),
          t("receipt.verify"),
        ),
      ),
    ),
  );
}
