// The live events of a draw. The browser reconnects by itself after a break; after a refusal we do, with longer and
// longer pauses. While the page is hidden there is no stream, so many tabs do not use up the browser's connections.

import { API, connection } from "./api.js";

const PAUSES = [1000, 2000, 4000, 8000, 15_000];

/** Calls `on.status`, `on.sales`, `on.number` with the data of each event, until the signal ends it or the draw is over. */
export function watchDraw(id, on, signal) {
  let source = null;
  let retry = null;
  let attempts = 0;
  let over = false;

  const close = () => {
    source?.close();
    source = null;
    clearTimeout(retry);
    retry = null;
  };
  const open = () => {
    close();
    if (over || signal.aborted || document.hidden) return;
    source = new EventSource(`${API}/draws/${id}/events`);
    source.onopen = () => {
      attempts = 0;
      connection.set("ok");
    };
    for (const name of ["status", "sales", "number"]) {
      source.addEventListener(name, (event) => {
        const data = JSON.parse(event.data);
        if (name === "status" && ["completed", "cancelled"].includes(data.status)) {
          over = true;
          close();
        }
        on[name]?.(data);
      });
    }
    source.onerror = () => {
      if (over || signal.aborted) return;
      // A refusal closes the stream; anything else is a break of the connection.
      if (source.readyState === EventSource.CONNECTING) connection.set("lost");
      // The browser's own attempts have a fixed pause and end at a refusal: ours take over.
      close();
      retry = setTimeout(open, PAUSES[Math.min(attempts++, PAUSES.length - 1)]);
    };
  };
  const again = () => {
    attempts = 0;
    open();
  };
  const visible = () => (document.hidden ? close() : open());
  addEventListener("online", again, { signal });
  document.addEventListener("visibilitychange", visible, { signal });
  signal.addEventListener("abort", close);
  open();
}
