// Users: search, one user, blocking, roles, password resets.

import { h, replace } from "../dom.js";
import { t, dateTime, money } from "../i18n.js";
import { call, get, serviceConfig } from "../api.js";
import { user as me } from "../session.js";
import { confirmStep, openDialog, toast, whileBusy } from "../components/forms.js";
import { chips } from "../components/tabs.js";
import { icon } from "../components/icons.js";
import { pagedTable, status } from "./table.js";

const TYPING = 300;
const FILTERS = { all: "", active: "status=active", blocked: "status=blocked", admins: "role=admin" };

export async function usersPage(root, params, signal) {
  let filter = "all";
  let typed = "";
  let timer;
  const list = pagedTable({
    path: () =>
      `/admin/users?${[FILTERS[filter], typed && `query=${encodeURIComponent(typed)}`].filter(Boolean).join("&")}`,
    caption: t("admin.users"),
    signal,
    columns: [
      [t("account.username"), (one) => h("a", { href: `#/user/${one.id}` }, one.username)],
      [t("account.email"), (one) => one.email],
      [t("col.role"), (one) => t(`role.${one.role}`)],
      [t("col.status"), (one) => status(one.status, t(`user.${one.status}`))],
      [t("col.since"), (one) => dateTime(one.created_at)],
      [t("col.id"), (one) => String(one.id), "num"],
    ],
  });
  const search = h("input.search", {
    type: "search",
    "aria-label": t("users.search"),
    placeholder: t("users.search"),
    autocomplete: "off",
    oninput: () => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        typed = search.value.trim();
        list.load();
      }, TYPING);
    },
  });
  replace(
    root,
    h("h1", t("admin.users")),
    h(
      "div.filters",
      search,
      chips(
        t("users.filter"),
        Object.keys(FILTERS).map((key) => [key, t(`users.${key}`)]),
        (key) => {
          filter = key;
          list.load();
        },
        filter,
      ),
    ),
    list.node,
  );
  await list.load();
}

export async function userPage(root, [id], signal) {
  replace(root, h("div.card.blank.tall"));
  const { currency } = await serviceConfig();
  let one = await get(`/admin/users/${encodeURIComponent(id)}`, { signal });
  const card = h("section.card");
  const payments = pagedTable({
    path: () => `/admin/payments?user_id=${one.id}`,
    caption: t("user.payments"),
    signal,
    columns: [
      [t("col.at"), (payment) => dateTime(payment.created_at)],
      [t("col.kind"), (payment) => t(`payment.${payment.kind}`)],
      [t("col.status"), (payment) => status(payment.status, t(`payment.status.${payment.status}`))],
      [t("col.method"), (payment) => (payment.method ? t(`method.${payment.method}`) : "—")],
      [t("wallet.amount"), (payment) => money(payment.amount, payment.currency), "num"],
    ],
  });
  const change = async (button, wish, title, text, danger) => {
    if (!(await confirmStep(title, text, title, { danger }))) return;
    await whileBusy(button, async () => {
      try {
        one = { ...one, ...(await call("PATCH", `/admin/users/${one.id}`, { body: wish })) };
        toast(t("saved"));
      } catch (problem) {
        toast(problem.text, "bad");
      }
      show();
    });
  };
  const show = () => {
    const isMe = one.id === me.value?.id;
    replace(
      card,
      h(
        "div.who-card",
        h("span.avatar", { "aria-hidden": "true" }, one.username[0].toUpperCase()),
        h(
          "div",
          h("h2", one.username, isMe ? h("span.muted", ` ${t("user.you")}`) : null),
          h("p.muted", [one.name, one.email].filter(Boolean).join(" · ")),
          h("p.muted.small", t("account.since", { day: dateTime(one.created_at) })),
        ),
      ),
      h(
        "dl.sums",
        [
          [t("wallet.balance"), money(one.balance ?? one.wallet?.balance ?? 0, currency)],
          [t("col.role"), t(`role.${one.role}`)],
          [t("col.status"), status(one.status, t(`user.${one.status}`))],
        ].map(([name, value]) => h("div", h("dt", name), h("dd", value))),
      ),
      h(
        "div.actions",
        one.status === "active"
          ? h(
              "button.button.danger.soft",
              {
                type: "button",
                onclick: (event) =>
                  change(event.currentTarget, { status: "blocked" }, t("user.block"), t("user.block.sure"), true),
              },
              t("user.block"),
            )
          : h(
              "button.button",
              {
                type: "button",
                onclick: (event) =>
                  change(event.currentTarget, { status: "active" }, t("user.unblock"), t("user.unblock.sure")),
              },
              t("user.unblock"),
            ),
        one.role === "player"
          ? h(
              "button.button",
              {
                type: "button",
                onclick: (event) =>
                  change(event.currentTarget, { role: "admin" }, t("user.promote"), t("user.promote.sure"), true),
              },
              t("user.promote"),
            )
          : h(
              "button.button",
              {
                type: "button",
                onclick: (event) =>
                  change(event.currentTarget, { role: "player" }, t("user.demote"), t("user.demote.sure")),
              },
              t("user.demote"),
            ),
        h(
          "button.button",
          { type: "button", onclick: (event) => resetPassword(event.currentTarget, one) },
          t("user.reset"),
        ),
      ),
    );
  };
  replace(
    root,
    h("a.back", { href: "#/users" }, icon("back", 20), t("admin.users")),
    h("h1", { "data-title": one.username }, t("user.title")),
    card,
    h("section.card", h("h2", t("user.payments")), payments.node),
  );
  show();
  await payments.load();
}

async function resetPassword(button, one) {
  if (!(await confirmStep(t("user.reset"), t("user.reset.sure", { name: one.username }), t("user.reset")))) return;
  await whileBusy(button, async () => {
    try {
      const { token } = await call("POST", `/admin/users/${one.id}/password-reset`);
      openDialog(t("user.reset.token"), (body) =>
        replace(
          body,
          h("p", t("user.reset.text")),
          h("p", h("code.fact-value.token", { tabindex: 0 }, token)),
          h(
            "button.button.primary",
            {
              type: "button",
              onclick: async () => {
                await navigator.clipboard.writeText(token);
                toast(t("copied"));
              },
            },
            t("copy"),
          ),
        ),
      );
    } catch (problem) {
      toast(problem.text, "bad");
    }
  });
}
