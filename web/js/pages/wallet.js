// The wallet: its balance, money in and out, and every movement.

import { h, replace } from "../dom.js";
import { t, dateTime, money, parseMoney } from "../i18n.js";
import { call, get, serviceConfig, Problem } from "../api.js";
import { user, balance, loadBalance } from "../session.js";
import { field, form, openDialog, toast } from "../components/forms.js";
import { pager } from "../components/pager.js";
import { accountForm } from "../components/account-form.js";
import { fundForm } from "../components/fund.js";
import { icon } from "../components/icons.js";

export async function walletPage(root, params, signal) {
  const place = h("div");
  replace(
    root,
    h("a.back", { href: "#/account" }, icon("back", 20), t("nav.account")),
    h("h1", t("wallet.title")),
    place,
  );
  const { currency } = await serviceConfig();
  user.watch((now) => {
    if (now === undefined) replace(place, h("div.card.blank.tall"));
    else if (now === null)
      replace(
        place,
        h(
          "div.card.narrow",
          h("p", t("wallet.log_in")),
          accountForm(() => null, { mode: "login" }),
        ),
      );
    else wallet(place, currency, signal);
  }, signal);
}

function wallet(place, currency, signal) {
  const amount = h("p.wallet-amount");
  balance.watch((now) => (amount.textContent = now === null ? "…" : money(now, currency)), signal);
  const list = h("ul.transfers");
  const history = pager({
    path: () => "/wallet/transfers",
    limit: 30,
    signal,
    show: (items, isFirst) => {
      if (isFirst) replace(list, items.length ? null : h("li.muted", t("wallet.empty")));
      list.append(...items.map((one) => transfer(one, currency)));
    },
  });
  const pending = h("div.pending");
  replace(
    place,
    h(
      "div.wallet-columns",
      h(
        "section.card.wallet-card",
        h("p.muted", t("wallet.balance")),
        amount,
        h(
          "div.actions",
          h(
            "button.button.primary",
            { type: "button", onclick: () => addMoney(currency, load) },
            icon("plus", 20),
            t("wallet.add"),
          ),
          h("button.button", { type: "button", onclick: () => withdraw(currency, load) }, t("wallet.withdraw")),
        ),
        pending,
      ),
      h("section.card", h("h2", t("wallet.history")), list, history.foot),
    ),
  );
  const load = () => {
    loadBalance();
    get("/payments?limit=50", { signal })
      .then(({ items }) => {
        const open = items.filter((one) => one.status === "processing" && one.kind !== "purchase");
        replace(
          pending,
          open.map((one) =>
            h(
              "p.notice",
              icon("clock", 20),
              h("span", t(`wallet.pending.${one.kind}`, { amount: money(one.amount, currency) })),
            ),
          ),
        );
      })
      .catch(() => null);
    history.load();
  };
  load();
}

const transfer = (one, currency) =>
  h(
    "li.transfer",
    h("div", h("strong", t(`transfer.${one.kind}`)), h("span.muted.small", dateTime(one.created_at))),
    h(
      "div.num",
      h(
        "strong",
        { class: one.amount > 0 ? "plus" : "" },
        money(one.amount, currency, { signDisplay: "exceptZero" }),
      ),
      h("span.muted.small", money(one.balance_after, currency)),
    ),
  );

function addMoney(currency, done) {
  openDialog(t("wallet.add"), (body, close) =>
    replace(
      body,
      fundForm({
        currency,
        done: (payment) => {
          close();
          toast(t("fund.done", { amount: money(payment.amount, currency) }));
          done();
        },
      }),
    ),
  );
}

function withdraw(currency, done) {
  openDialog(t("wallet.withdraw"), (body, close) => {
    const amount = field(t("wallet.amount"), {
      inputmode: "decimal",
      autocomplete: "off",
      hint: t("wallet.available", { amount: money(balance.value ?? 0, currency) }),
    });
    // A new amount is a new wish; the same amount after a lost answer is the same one.
    let wish = null;
    replace(
      body,
      form(
        [h("p", t("wallet.withdraw.text")), amount],
        t("wallet.withdraw"),
        async () => {
          const value = parseMoney(amount.input.value, currency);
          if (!value) return (amount.error(t("form.amount")), amount.input.focus());
          if (value > (balance.value ?? 0))
            return (amount.error(t("error.insufficient_funds")), amount.input.focus());
          if (wish?.value !== value) wish = { value, key: crypto.randomUUID() };
          try {
            await call("POST", "/wallet/withdrawals", { body: { amount: value }, key: wish.key });
          } catch (problem) {
            if (problem instanceof Problem && !problem.isUncertain) wish = null;
            throw problem;
          }
          close();
          toast(t("wallet.withdrawn", { amount: money(value, currency) }));
          done();
        },
        { fields: { amount } },
      ),
    );
  });
}
