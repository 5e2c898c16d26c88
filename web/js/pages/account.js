// The account: who is logged in, the password, the log-ins of other browsers.

import { h, replace } from "../dom.js";
import { t, dateTime, day, money } from "../i18n.js";
import { call, get, serviceConfig } from "../api.js";
import { user, balance, logOut } from "../session.js";
import { field, form, toast, whileBusy } from "../components/forms.js";
import { accountForm } from "../components/account-form.js";
import { icon } from "../components/icons.js";

export async function accountPage(root, params, signal) {
  const place = h("div");
  replace(root, h("h1", t("nav.account")), place);
  const config = await serviceConfig();
  user.watch((now) => {
    if (now === undefined) replace(place, h("div.card.blank.tall"));
    else if (now === null)
      replace(
        place,
        h(
          "div.card.narrow",
          accountForm(() => null, { mode: "login" }),
        ),
      );
    else account(place, now, config.currency, signal);
  }, signal);
}

function account(place, me, currency, signal) {
  const amount = h("strong");
  balance.watch((now) => (amount.textContent = now === null ? "…" : money(now, currency)), signal);
  const sessions = h("ul.sessions");
  replace(
    place,
    h(
      "div.account-columns",
      h(
        "section.card",
        h(
          "div.who-card",
          h("span.avatar", { "aria-hidden": "true" }, me.username[0].toUpperCase()),
          h(
            "div",
            h("h2", me.username),
            h("p.muted", me.email),
            h("p.muted.small", t("account.since", { day: day(me.created_at) })),
          ),
        ),
        h(
          "a.row-link",
          { href: "#/wallet" },
          icon("wallet"),
          h("span", t("wallet.title")),
          amount,
          icon("arrow", 20),
        ),
        h("a.row-link", { href: "#/tickets" }, icon("tickets"), h("span", t("nav.tickets")), icon("arrow", 20)),
        h("a.row-link", { href: "/verify" }, icon("verify"), h("span", t("nav.verify")), icon("arrow", 20)),
        me.role === "admin"
          ? h("a.row-link", { href: "/admin" }, icon("chart"), h("span", t("account.admin")), icon("arrow", 20))
          : null,
        h(
          "button.button.wide",
          {
            type: "button",
            onclick: (event) =>
              whileBusy(event.currentTarget, async () => {
                try {
                  await logOut();
                  location.hash = "#/";
                } catch (problem) {
                  toast(problem.text ?? String(problem), "bad");
                }
              }),
          },
          t("account.log_out"),
        ),
      ),
      h(
        "div.account-side",
        h("section.card", h("h2", t("sessions.title")), h("p.muted", t("sessions.text")), sessions),
        h("section.card", h("h2", t("password.title")), passwordForm()),
      ),
    ),
  );
  showSessions(sessions, signal);
}

async function showSessions(list, signal) {
  replace(list, h("li.blank"));
  try {
    const { items } = await get("/me/sessions", { signal });
    replace(
      list,
      items.map((one) =>
        h(
          "li.session",
          h(
            "div",
            h("strong", one.current ? t("sessions.current") : t("sessions.other")),
            h(
              "span.muted.small",
              [one.address, t("sessions.used", { at: dateTime(one.last_used_at ?? one.created_at) })]
                .filter(Boolean)
                .join(" · "),
            ),
          ),
          one.current
            ? h("span.status.paid", t("sessions.here"))
            : h(
                "button.button.small",
                {
                  type: "button",
                  onclick: (event) =>
                    whileBusy(event.currentTarget, async () => {
                      try {
                        await call("DELETE", `/me/sessions/${one.id}`);
                        toast(t("sessions.ended"));
                        showSessions(list, signal);
                      } catch (problem) {
                        toast(problem.text, "bad");
                      }
                    }),
                },
                t("sessions.end"),
              ),
        ),
      ),
    );
  } catch (problem) {
    if (!signal.aborted) replace(list, h("li.muted", problem.text ?? ""));
  }
}

function passwordForm() {
  const current = field(t("password.current"), { type: "password", autocomplete: "current-password" });
  const next = field(t("password.new"), {
    type: "password",
    autocomplete: "new-password",
    maxlength: 128,
    hint: t("account.password.hint"),
  });
  const node = form(
    [current, next],
    t("password.change"),
    async () => {
      if (!current.input.value) return (current.error(t("form.required")), current.input.focus());
      if ([...next.input.value].length < 8) return (next.error(t("account.password.short")), next.input.focus());
      await call("POST", "/me/password", {
        body: { current_password: current.input.value, new_password: next.input.value },
      });
      current.input.value = next.input.value = "";
      toast(t("password.changed"));
    },
    { fields: { current_password: current, new_password: next } },
  );
  node.button.classList.remove("primary");
  return node;
}
