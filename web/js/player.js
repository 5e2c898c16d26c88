// The player's pages: their routes, the header, and what happens when the user or the language changes.

import { h, replace } from "./dom.js";
import { t, loadTexts } from "./i18n.js";
import { serviceConfig } from "./api.js";
import { user, restore, onSessionEnd } from "./session.js";
import { startRouter, refresh } from "./router.js";
import { logo, icon } from "./components/icons.js";
import { addConnectionBar, fillFooter, languageSwitch, navigation, phoneItems, skipLink } from "./components/shell.js";
import { balancePill } from "./components/fund.js";
import { logInAgain, logInDialog } from "./components/account-form.js";
import { playPage } from "./pages/play.js";

/** The pages that are not shown first are loaded when somebody goes there. */
const later =
  (file, name) =>
  async (...args) =>
    (await import(`./pages/${file}.js`))[name](...args);
const routes = {
  "": playPage,
  play: playPage,
  draw: later("draw", "drawPage"),
  tickets: later("tickets", "ticketsPage"),
  results: later("results", "resultsPage"),
  wallet: later("wallet", "walletPage"),
  account: later("account", "accountPage"),
};

let currency = "RUB";
let marked = "";
const navs = [];

function drawShell() {
  skipLink();
  const items = [
    ["play", "#/", "play", t("nav.play")],
    ["tickets", "#/tickets", "tickets", t("nav.tickets")],
    ["results", "#/results", "results", t("nav.results")],
    ["verify", "/verify", "verify", t("nav.verify")],
  ];
  const top = navigation(t("nav.label"), items, "top-nav");
  const bottom = navigation(
    t("nav.label.short"),
    phoneItems([...items, ["account", "#/account", "user", t("nav.account")]]),
    "bottom-nav",
  );
  const who = h("div.who");
  const own = new AbortController();
  drawShell.end?.abort();
  drawShell.end = own;
  user.watch((now) => {
    who.classList.toggle("unknown", now === undefined);
    replace(
      who,
      now
        ? [
            balancePill(currency, own.signal),
            h(
              "a.icon-button.account-link",
              { href: "#/account", "aria-label": t("account.of", { name: now.username }) },
              icon("user"),
            ),
          ]
        : h("button.button.small", { type: "button", onclick: () => logInDialog() }, t("account.log_in")),
    );
  }, own.signal);
  replace(
    document.getElementById("header"),
    h("a.brand", { href: "/#/", "aria-label": t("brand") }, logo(), h("span", t("brand"))),
    top,
    h(
      "div.header-end",
      languageSwitch(() => (drawShell(), refresh())),
      who,
    ),
  );
  replace(document.getElementById("bottom"), bottom);
  fillFooter(document.getElementById("footer"));
  navs.splice(0, navs.length, top, bottom);
  mark(marked);
}

function mark(name) {
  marked = { "": "play", draw: "results", wallet: "account" }[name] ?? name;
  for (const nav of navs) nav.mark(marked);
}

async function start() {
  await loadTexts();
  addConnectionBar();
  drawShell();
  onSessionEnd(logInAgain);
  startRouter({ routes, root: document.getElementById("main"), onChange: mark });
  restore();
  serviceConfig()
    .then((config) => (currency = config.currency))
    .catch(() => null);
}

start();
