// The admin's pages: their routes, the navigation, and who may see them.

import { h, replace } from "./dom.js";
import { t, loadTexts } from "./i18n.js";
import { allLotteries } from "./draws.js";
import { user, restore, logOut, onSessionEnd } from "./session.js";
import { startRouter, refresh } from "./router.js";
import { logo, icon } from "./components/icons.js";
import { addConnectionBar, languageSwitch, navigation, skipLink } from "./components/shell.js";
import { accountForm, logInAgain } from "./components/account-form.js";
import { toast, whileBusy } from "./components/forms.js";
import { dashboardPage } from "./admin/dashboard.js";

const later =
  (file, name) =>
  async (...args) =>
    (await import(`./admin/${file}.js`))[name](...args);
const routes = {
  "": dashboardPage,
  draws: later("draws", "drawsPage"),
  draw: later("draw", "drawPage"),
  users: later("users", "usersPage"),
  user: later("users", "userPage"),
  withdrawals: later("money", "withdrawalsPage"),
  charges: later("money", "chargesPage"),
  finance: later("finance", "financePage"),
  exports: later("finance", "exportsPage"),
  audit: later("audit", "auditPage"),
};
const ITEMS = [
  ["", "chart"],
  ["draws", "play"],
  ["users", "users"],
  ["withdrawals", "wallet"],
  ["charges", "card"],
  ["finance", "bank"],
  ["exports", "export"],
  ["audit", "log"],
];

let nav = null;
let marked = "";

function drawShell() {
  skipLink();
  const me = user.value;
  replace(
    document.getElementById("header"),
    h("a.brand", { href: "/admin" }, logo(), h("span", t("brand")), h("span.admin-tag", t("admin"))),
    h(
      "div.header-end",
      languageSwitch(() => (drawShell(), refresh())),
      me
        ? h(
            "button.button.small",
            {
              type: "button",
              onclick: (event) =>
                whileBusy(event.currentTarget, () => logOut().catch((problem) => toast(problem.text, "bad"))),
            },
            t("account.log_out"),
          )
        : null,
    ),
  );
  const isAdmin = me?.role === "admin";
  nav = isAdmin
    ? navigation(
        t("admin.sections"),
        ITEMS.map(([name, picture]) => [name, `#/${name}`, picture, t(`admin.${name || "dashboard"}`)]),
        "admin-nav",
      )
    : null;
  replace(document.getElementById("side"), nav);
  mark(marked);
}

function mark(name) {
  marked = { draw: "draws", user: "users" }[name] ?? name;
  nav?.mark(marked);
}

/** Each page is for admins only. The service refuses others anyway; this says it in words. */
const guarded = (page) => async (root, params, signal) => {
  const me = user.value;
  if (me === undefined) return replace(root, h("div.card.blank.tall"));
  if (me === null)
    return replace(
      root,
      h(
        "div.card.narrow",
        h("h1", t("admin.log_in")),
        accountForm(() => null, { mode: "login", only: true }),
      ),
    );
  if (me.role !== "admin")
    return replace(
      root,
      h(
        "div.empty-state",
        icon("verify", 40),
        h("h1", t("admin.not_you")),
        h("p", t("error.forbidden")),
        h("a.button", { href: "/" }, t("nav.play")),
      ),
    );
  await allLotteries();
  return page(root, params, signal);
};

async function start() {
  await loadTexts();
  addConnectionBar();
  drawShell();
  onSessionEnd((name) => logInAgain(name, true));
  startRouter({
    routes: Object.fromEntries(Object.entries(routes).map(([name, page]) => [name, guarded(page)])),
    root: document.getElementById("main"),
    onChange: mark,
  });
  let role;
  user.watch(
    (now) => {
      drawShell();
      if (now !== undefined && now?.role !== role) refresh();
      role = now?.role;
    },
    null,
    false,
  );
  await restore();
  if (user.value === null) refresh();
}

start();
