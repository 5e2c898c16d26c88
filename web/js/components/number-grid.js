// <number-grid>: chooses `pick` numbers of 1 to `of`. One tab stop; arrow keys move, space and enter choose.

import { h, announce, replace } from "../dom.js";
import { t } from "../i18n.js";

class NumberGrid extends HTMLElement {
  #chosen = new Set();
  #buttons = [];
  #focused = 0;

  set game({ pick, of }) {
    if (this.pick === pick && this.of === of) return;
    Object.assign(this, { pick, of });
    this.#chosen.clear();
    this.setAttribute("role", "group");
    this.setAttribute("aria-label", t("grid.label", { pick, of }));
    this.#buttons = Array.from({ length: of }, (_, index) =>
      h(
        "button.pick",
        {
          type: "button",
          tabindex: index ? -1 : 0,
          "aria-pressed": "false",
          onclick: () => this.#toggle(index + 1),
        },
        index + 1,
      ),
    );
    // Whole rows on a wide page, where the numbers can be divided so.
    this.style.setProperty("--columns", [12, 15, 11, 10, 14, 13, 9].find((columns) => of % columns === 0) ?? 12);
    replace(this, this.#buttons);
    this.addEventListener("keydown", this.#move);
    this.addEventListener("focusin", (event) => this.#stop(this.#buttons.indexOf(event.target)));
  }

  get value() {
    return [...this.#chosen].sort((a, b) => a - b);
  }
  set value(numbers) {
    this.#chosen = new Set(numbers);
    this.#show();
  }
  get isComplete() {
    return this.#chosen.size === this.pick;
  }

  #toggle(number) {
    if (this.#chosen.has(number)) this.#chosen.delete(number);
    else if (this.isComplete) {
      announce(t("grid.full", { n: this.pick }), true);
      this.classList.remove("full");
      requestAnimationFrame(() => this.classList.add("full"));
      this.dispatchEvent(new CustomEvent("full"));
      return;
    } else this.#chosen.add(number);
    this.#show();
  }

  #show() {
    this.#buttons.forEach((button, index) => button.setAttribute("aria-pressed", this.#chosen.has(index + 1)));
    this.classList.toggle("complete", this.isComplete);
    this.dispatchEvent(new CustomEvent("change"));
  }

  #stop(index) {
    if (index < 0) return;
    this.#buttons[this.#focused].tabIndex = -1;
    this.#focused = index;
    this.#buttons[index].tabIndex = 0;
  }

  #move = (event) => {
    // The columns follow the width of the page: those in the row of the first one.
    const top = this.#buttons[0].offsetTop;
    const columns = this.#buttons.filter((button) => button.offsetTop === top).length;
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
    let next =
      event.key in steps
        ? this.#focused + steps[event.key]
        : event.key === "Home"
          ? 0
          : event.key === "End"
            ? this.of - 1
            : null;
    if (next === null) return;
    event.preventDefault();
    if (next >= 0 && next < this.of) this.#buttons[next].focus();
  };
}

customElements.define("number-grid", NumberGrid);

/** Numbers by the browser's random source, each combination equally likely. */
export function randomNumbers(pick, of) {
  const numbers = Array.from({ length: of }, (_, index) => index + 1);
  for (let i = 0; i < pick; i++) {
    const rest = of - i;
    const limit = 2 ** 32 - (2 ** 32 % rest);
    let value;
    do [value] = crypto.getRandomValues(new Uint32Array(1));
    while (value >= limit);
    const j = i + (value % rest);
    [numbers[i], numbers[j]] = [numbers[j], numbers[i]];
  }
  return numbers.slice(0, pick).sort((a, b) => a - b);
}
