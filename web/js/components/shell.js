// What surrounds every page: the header, the navigation, the language, the bar of a lost connection.

import { h, replace } from "../dom.js";
import { t, LANGUAGES, language, chooseLanguage } from "../i18n.js";
import { connectionBar } from "../api.js";
import { icon } from "./icons.js";

/** The switch between the languages. `changed()` shows the page anew. */
export function languageSwitch(changed) {
  return h(
    "div.languages",
    { role: "group", "aria-label": t("language") },
    Object.entries(LANGUAGES).map(([code, name]) =>
      h(
        "button.language",
        {
          type: "button",
          lang: code,
          "aria-pressed": String(code === language),
          onclick: async () => {
            await chooseLanguage(code);
            changed();
          },
        },
        code.toUpperCase(),
        h("span.sr", ` ${name}`),
      ),
    ),
  );
}

/** Links to pages; the one that is shown is marked. `items`: [[name, href, icon, text], …] */
export function navigation(label, items, className) {
  const links = items.map(([name, href, picture, text]) =>
    h("a", { href, dataset: { name } }, icon(picture, 24), h("span", text)),
  );
  const node = h("nav", { "aria-label": label, class: className }, links);
  node.mark = (name) =>
    links.forEach((link) => {
      if (link.dataset.name === name) {
        link.setAttribute("aria-current", "page");
        // In a row that is wider than the page.
        node.scrollLeft = link.offsetLeft - node.clientWidth / 2 + link.clientWidth / 2;
      } else link.removeAttribute("aria-current");
    });
  return node;
}

/** The items of the navigation at the foot of a phone, where five names must fit. */
export const phoneItems = (items) =>
  items.map(([name, href, picture, text]) => [name, href, picture, name === "tickets" ? t("nav.tickets.short") : text]);

/** Puts the bar of a lost connection in once. */
export const addConnectionBar = () => document.body.prepend(connectionBar());

export function skipLink() {
  const link = document.getElementById("skip");
  link.textContent = t("skip");
  link.onclick = (event) => {
    event.preventDefault();
    const main = document.getElementById("main");
    main.tabIndex = -1;
    main.focus();
  };
}

export const fillFooter = (footer) =>
  replace(
    footer,
    h(
      "div.footer-in",
      h("p", t("footer.text")),
      h(
        "p.footer-links",
        h("a", { href: "/verify" }, t("footer.verify")),
        h("a", { href: "/api/docs" }, t("footer.api")),
      ),
    ),
  );
