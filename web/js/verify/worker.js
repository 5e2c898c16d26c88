// Verifies beside the page, so that it stays responsive while a list of many orders is hashed. Takes `{id, receipt,
// transcript, large, signature}` and answers with the steps, and then with what was found.

import { get } from "../api.js";
import { checkDraw } from "./check.js";
import { bundlePath, entryOf, readEntry } from "./entries.js";

/** What was published, as the service gives it. An answer that the service refuses is no proof of anything. */
function published({ id, receipt = null, transcript = null, large = false, signature = null }) {
  const read = (path, as) => get(path, { auth: false, as });
  return {
    receipt,
    large,
    signature,
    keys: () => read("/keys"),
    proof: async () => transcript ?? read(`/draws/${id}/proof`),
    // The entry only says which draw it was; what that draw published is verified.
    previous: async (index, size) => {
      if (index === undefined) return null;
      const entry = entryOf(await read(`/log/${bundlePath(index, size)}`, "bytes"), index);
      return read(`/draws/${readEntry(entry).draw}/proof`);
    },
    draw: () => read(`/draws/${id}`),
    bundle: (path) => read(`/draws/${id}/log/${path}`, "bytes"),
  };
}

addEventListener("message", async ({ data: wanted }) => {
  const report = ({ refused, ...step }) =>
    postMessage({ step: { ...step, refused: refused && { code: refused.code, detail: refused.detail } } });
  try {
    const { list, ...found } = await checkDraw(wanted.id, published(wanted), report);
    postMessage({ found: { ...found, list: list && { orders: list.orders, tickets: list.tickets } } });
  } catch (error) {
    postMessage({
      problem: error.code
        ? { code: error.code, status: error.status, detail: error.detail, errors: error.errors }
        : { code: "internal_error", detail: String(error.stack ?? error) },
    });
  }
});
