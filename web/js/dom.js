// Builds DOM nodes without innerHTML, so that no text from the service can become markup.

/** h('button.primary', {onclick, disabled, 'aria-label': …}, child, …). Children: nodes, texts, arrays; null is left out. */
export function h(tag, props, ...children) {
  const [name, ...classes] = tag.split(".");
  const node = document.createElement(name || "div");
  if (classes.length) node.className = classes.join(" ");
  if (props && (props instanceof Node || typeof props !== "object" || Array.isArray(props))) {
    children.unshift(props);
    props = null;
  }
  for (const [key, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "class") node.className += ` ${value}`;
    else if (key === "dataset") Object.assign(node.dataset, value);
    else if (key in PROPERTIES) node[key] = value;
    else node.setAttribute(key, value === true ? "" : value);
  }
  append(node, children);
  return node;
}

const PROPERTIES = { value: 1, checked: 1, hidden: 1, disabled: 1, indeterminate: 1, selected: 1, open: 1 };

export function append(node, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : String(child));
  }
  return node;
}

export function replace(node, ...children) {
  node.replaceChildren();
  return append(node, children);
}

/** A text with **emphasis**, for catalogue texts. */
export function rich(text) {
  return text.split("**").map((part, index) => (index % 2 ? h("strong", part) : part));
}

let ids = 0;
export const uid = (prefix = "id") => `${prefix}-${++ids}`;

/** Lets a screen reader say a text. */
export function announce(text, urgent = false) {
  const region = document.getElementById(urgent ? "say-now" : "say");
  if (!region) return;
  region.textContent = "";
  setTimeout(() => (region.textContent = text), 30);
}

/** A value that others watch. */
export class Store {
  #watchers = new Set();
  constructor(value) {
    this.value = value;
  }
  set(value) {
    this.value = value;
    for (const watcher of [...this.#watchers]) watcher(value);
  }
  /** Calls the function now and at each change, until the signal ends it. */
  watch(watcher, signal, now = true) {
    this.#watchers.add(watcher);
    signal?.addEventListener("abort", () => this.#watchers.delete(watcher));
    if (now) watcher(this.value);
  }
}

/** Downloads a text as a file. */
export function download(name, text, type = "application/json") {
  const url = URL.createObjectURL(text instanceof Blob ? text : new Blob([text], { type }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
export const calmMotion = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
