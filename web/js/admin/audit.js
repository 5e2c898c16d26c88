// The audit log: what admins did, and what was refused.

import { h, replace } from "../dom.js";
import { t, has, dateTime, number } from "../i18n.js";
import { field, select } from "../components/forms.js";
import { pagedTable, userLink } from "./table.js";

const ACTIONS = [
  "draw.create",
  "draw.reschedule",
  "draw.pool",
  "draw.open",
  "draw.close",
  "draw.conduct",
  "draw.cancel",
  "admin.create",
  "user.change",
  "user.password_reset",
  "user.read",
  "payment.read",
  "charge.read",
  "charge.end",
  "withdrawal.approve",
  "withdrawal.reject",
  "export",
  "clock.confirm",
  "login",
  "login.failed",
  "login.blocked",
  "admin.refused",
];

export async function auditPage(root, params, signal) {
  const action = select(t("audit.action"), [
    ["", t("tickets.all")],
    ...ACTIONS.map((name) => [name, t(`action.${name}`)]),
  ]);
  const actor = field(t("audit.actor"), { inputmode: "numeric", placeholder: "#" });
  const list = pagedTable({
    path: () =>
      `/admin/audit-log?${[action.input.value && `action=${action.input.value}`, /^\d+$/.test(actor.input.value) && `actor_id=${actor.input.value}`].filter(Boolean).join("&")}`,
    caption: t("admin.audit"),
    signal,
    columns: [
      [t("col.at"), (entry) => dateTime(entry.at)],
      [t("audit.actor"), (entry) => (entry.actor_id ? userLink(entry.actor_id) : t("audit.nobody"))],
      [
        t("audit.action"),
        (entry) => [
          has(`action.${entry.action}`) ? t(`action.${entry.action}`) : entry.action,
          entry.count > 1 ? h("span.muted", ` × ${number(entry.count)}`) : null,
        ],
        "whole",
      ],
      [t("audit.subject"), (entry) => subject(entry.subject)],
      [
        t("audit.detail"),
        (entry) => (Object.keys(entry.detail).length ? h("code.fact-value", JSON.stringify(entry.detail)) : "—"),
      ],
      [t("audit.address"), (entry) => entry.address ?? "—"],
    ],
  });
  action.input.addEventListener("change", list.load);
  actor.input.addEventListener("change", list.load);
  replace(
    root,
    h("h1", t("admin.audit")),
    h("p.muted", t("audit.text")),
    h("div.filters", action, actor),
    list.node,
  );
  await list.load();
}

function subject(text) {
  const [kind, id] = text.split(":");
  return ["draw", "user"].includes(kind) && /^\d+$/.test(id)
    ? h("a", { href: `#/${kind}/${id}` }, text)
    : h("code.fact-value", text);
}
