// Receipts: files with which the owner of a ticket proves later that it is in the sealed list.

import { get } from "./api.js";
import { download } from "./dom.js";
import { user } from "./session.js";

/** `receipt` is the API's `{proof, salt}`. */
export function saveReceipt(receipt, tickets) {
  const [first] = tickets;
  const file = {
    what: "lottery receipt",
    service: location.origin,
    draw_id: first.draw_id,
    lottery: first.lottery,
    user_id: user.value?.id,
    tickets: tickets.map(({ id, number, numbers }) => ({ id, number, numbers })),
    ...receipt,
  };
  download(`receipt-draw-${first.draw_id}-ticket-${first.number}.json`, `${JSON.stringify(file, null, 2)}\n`);
}

export async function fetchReceipt(ticket) {
  saveReceipt(await get(`/tickets/${ticket.id}/proof`), [ticket]);
}
