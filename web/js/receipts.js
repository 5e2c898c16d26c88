// Receipts: files with which the owner of a ticket proves later that it is in the sealed list.

import { download } from "./dom.js";
import { handReceipt } from "./handover.js";
import { user } from "./session.js";

/** What the file of a receipt has. `receipt` is the API's `{proof, salt}`. */
function fileOf(receipt, tickets) {
  const [first] = tickets;
  return {
    what: "lottery receipt",
    service: location.origin,
    draw_id: first.draw_id,
    lottery: first.lottery,
    user_id: user.value?.id,
    tickets: tickets.map(({ id, number, numbers }) => ({ id, number, numbers })),
    ...receipt,
  };
}

export function saveReceipt(receipt, tickets) {
  const [{ draw_id: draw, number }] = tickets;
  const text = `${JSON.stringify(fileOf(receipt, tickets), null, 2)}\n`;
  download(`receipt-draw-${draw}-ticket-${number}.json`, text);
}

/** The page that verifies is opened next, and verifies this receipt. */
export const handToVerifier = (receipt, tickets) => handReceipt(fileOf(receipt, tickets));
