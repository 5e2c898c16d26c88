// Withdrawals that wait for an admin, and charges of cards that have no clear end.

import { h, replace } from "../dom.js";
import { t, dateTime, money } from "../i18n.js";
import { call } from "../api.js";
import { confirmStep, field, form, openDialog, select, toast, whileBusy } from "../components/forms.js";
import { chips } from "../components/tabs.js";
import { pagedTable, status, userLink } from "./table.js";

export async function withdrawalsPage(root, params, signal) {
  let filter = "processing";
  const decide = async (button, payment, verdict) => {
    const sum = money(payment.amount, payment.currency);
    if (
      !(await confirmStep(
        t(`withdrawal.${verdict}`),
        t(`withdrawal.${verdict}.sure`, { amount: sum, id: String(payment.user_id) }),
        t(`withdrawal.${verdict}`),
        { danger: verdict === "reject" },
      ))
    )
      return;
    await whileBusy(button, async () => {
      try {
        await call("POST", `/admin/withdrawals/${payment.id}/${verdict}`);
        toast(t(`withdrawal.${verdict}.done`, { amount: sum }));
      } catch (problem) {
        toast(problem.text, "bad");
      }
    });
    list.load();
  };
  const list = pagedTable({
    path: () => `/admin/payments?kind=withdrawal${filter && `&status=${filter}`}`,
    caption: t("admin.withdrawals"),
    empty: t("withdrawals.none"),
    signal,
    columns: [
      [t("col.at"), (payment) => dateTime(payment.created_at)],
      [t("col.user"), (payment) => userLink(payment.user_id)],
      [t("wallet.amount"), (payment) => h("strong", money(payment.amount, payment.currency)), "num"],
      [t("col.status"), (payment) => status(payment.status, t(`payment.status.${payment.status}`))],
      [
        t("col.decide"),
        (payment) =>
          payment.status === "processing"
            ? h(
                "div.actions",
                h(
                  "button.button.small.primary",
                  { type: "button", onclick: (event) => decide(event.currentTarget, payment, "approve") },
                  t("withdrawal.approve"),
                ),
                h(
                  "button.button.small",
                  { type: "button", onclick: (event) => decide(event.currentTarget, payment, "reject") },
                  t("withdrawal.reject"),
                ),
              )
            : dateTime(payment.updated_at),
      ],
    ],
  });
  replace(
    root,
    h("h1", t("admin.withdrawals")),
    chips(
      t("withdrawals.filter"),
      ["processing", "paid", "failed", ""].map((key) => [key, t(`withdrawals.${key || "all"}`)]),
      (key) => {
        filter = key;
        list.load();
      },
      filter,
    ),
    list.node,
  );
  await list.load();
}

export async function chargesPage(root, params, signal) {
  let filter = "waiting";
  const list = pagedTable({
    path: () => `/admin/charges${filter && `?status=${filter}`}`,
    caption: t("admin.charges"),
    empty: t("charges.none"),
    signal,
    columns: [
      [t("col.at"), (charge) => dateTime(charge.begun_at)],
      [t("col.user"), (charge) => userLink(charge.user_id)],
      [t("col.kind"), (charge) => t(`payment.${charge.kind}`)],
      [t("wallet.amount"), (charge) => money(charge.amount, charge.currency), "num"],
      [
        t("col.end"),
        (charge) =>
          charge.outcome
            ? h(
                "span",
                t(`outcome.${charge.outcome}`),
                charge.late ? h("span.muted.small.block", t("charge.late")) : null,
              )
            : h("span.muted", t("charge.open")),
      ],
      [
        t("col.issue"),
        (charge) =>
          [
            charge.issue ? t(`issue.${charge.issue}`) : null,
            charge.dispute ? t("charge.dispute", { state: charge.dispute }) : null,
          ]
            .filter(Boolean)
            .join("; ") || "—",
      ],
      [
        t("col.decide"),
        (charge) =>
          charge.issue && !charge.outcome
            ? h(
                "button.button.small",
                { type: "button", onclick: () => endCharge(charge, () => list.load()) },
                t("charge.end"),
              )
            : "",
      ],
    ],
  });
  replace(
    root,
    h("h1", t("admin.charges")),
    h("p.muted", t("charges.text")),
    chips(
      t("charges.filter"),
      ["waiting", "open", "paid", "failed", "late", "disputed", "refunded", ""].map((key) => [
        key,
        t(`charges.${key || "all"}`),
      ]),
      (key) => {
        filter = key;
        list.load();
      },
      filter,
    ),
    list.node,
  );
  await list.load();
}

function endCharge(charge, done) {
  openDialog(t("charge.end"), (body, close) => {
    const outcome = select(t("col.end"), [
      ["failed", t("outcome.failed")],
      ["paid", t("outcome.paid")],
    ]);
    const note = field(t("charge.note"), { maxlength: 500, hint: t("charge.note.hint") });
    replace(
      body,
      form(
        [h("p", t("charge.end.text", { amount: money(charge.amount, charge.currency) })), outcome, note],
        t("charge.end"),
        async () => {
          if (!note.input.value.trim()) return note.error(t("form.required"));
          await call("POST", `/admin/payments/${charge.payment_id}/end`, {
            body: { outcome: outcome.input.value, note: note.input.value.trim() },
          });
          close();
          toast(t("saved"));
          done();
        },
        { fields: { outcome, note } },
      ),
    );
  });
}
