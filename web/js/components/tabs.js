// A row of choices of which one is on: tabs with their panel, or a filter.

import { h, uid } from "../dom.js";

/** Tabs as in the ARIA pattern: arrow keys move between them. `show(key, panel)` fills the panel. */
export function tabs(label, items, show, first = items[0][0]) {
  const panel = h("div.tab-panel", { id: uid("panel"), role: "tabpanel", tabindex: -1 });
  const buttons = items.map(([key, text]) =>
    h(
      "button.tab",
      {
        type: "button",
        role: "tab",
        id: uid("tab"),
        "aria-controls": panel.id,
        dataset: { key },
        onclick: () => choose(key),
      },
      text,
    ),
  );
  const choose = (key, focus = false) => {
    for (const button of buttons) {
      const on = button.dataset.key === key;
      button.setAttribute("aria-selected", on);
      button.tabIndex = on ? 0 : -1;
      if (on) {
        panel.setAttribute("aria-labelledby", button.id);
        if (focus) button.focus();
      }
    }
    show(key, panel);
  };
  const list = h(
    "div.tabs",
    {
      role: "tablist",
      "aria-label": label,
      onkeydown: (event) => {
        const at = buttons.findIndex((button) => button === document.activeElement);
        const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
        if (next === undefined) return;
        event.preventDefault();
        choose(buttons[(next + buttons.length) % buttons.length].dataset.key, true);
      },
    },
    buttons,
  );
  choose(first);
  return { list, panel, choose };
}

/** A filter: buttons of which one is pressed. */
export function chips(label, items, choose, chosen) {
  const buttons = items.map(([key, text]) =>
    h(
      "button.chip",
      {
        type: "button",
        "aria-pressed": String(key === chosen),
        onclick: () => {
          for (const other of buttons)
            other.setAttribute("aria-pressed", other === buttons[items.findIndex(([one]) => one === key)]);
          choose(key);
        },
      },
      text,
    ),
  );
  return h("div.chips", { role: "group", "aria-label": label }, buttons);
}
