// Money into the wallet by card: the sandbox's cards as buttons, or Stripe's own element.

import { h, replace, announce } from "../dom.js";
import { t, language, money, parseMoney, minorDigits } from "../i18n.js";
import { call, serviceConfig, Problem } from "../api.js";
import { balance, loadBalance } from "../session.js";
import { field, form, whileBusy } from "./forms.js";
import { icon } from "./icons.js";

const SANDBOX_CARDS = ["tok_visa", "tok_declined", "tok_insufficient", "tok_async"];
const STRIPE = "https://js.stripe.com/v3/";

/** Amounts to choose from: what is missing first, then round ones. */
function suggestions(missing, currency) {
  const unit = 10 ** minorDigits(currency);
  const round = [500, 1000, 5000].map((value) => value * unit).filter((value) => value > missing);
  return missing ? [missing, ...round.slice(0, 3)] : round;
}

/** `done()` is called when the money is there. */
export function fundForm({ currency, missing = 0, done }) {
  const node = h("div.fund");
  let [amount] = suggestions(missing, currency);
  // One key for one wish: a repeat after a lost answer charges the card once.
  let wish = null;
  const message = h("p.problem", { role: "alert", hidden: true });
  const say = (text, bad = true) => {
    message.textContent = text;
    message.hidden = !text;
    message.classList.toggle("info", !bad);
    if (text) message.scrollIntoView({ block: "nearest" });
  };

  /** Answers whether it is not known if the card was charged: then the same token must be sent again. */
  const pay = async (token) => {
    say("");
    if (!amount || (missing && amount < missing))
      return say(t("fund.too_little", { amount: money(missing || 1, currency) }));
    if (!wish || wish.amount !== amount || wish.token !== token)
      wish = { amount, token, key: crypto.randomUUID() };
    let payment;
    try {
      payment = await call("POST", "/wallet/deposits", { body: { amount, token }, key: wish.key });
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (!problem.isUncertain) wish = null;
      say(problem.isUncertain ? t("fund.uncertain") : problem.text);
      return problem.isUncertain;
    }
    wish = null;
    await loadBalance();
    if (payment.status === "paid") {
      announce(t("fund.done", { amount: money(amount, currency) }));
      return done(payment);
    }
    say(
      payment.status === "failed" ? t(`failure.${payment.failure_code}`) : t("fund.processing"),
      payment.status === "failed",
    );
  };

  const amounts = h("div.chips", { role: "group", "aria-label": t("fund.amount") });
  const other = field(t("fund.other"), { inputmode: "decimal", autocomplete: "off" });
  const choose = (value, own = false) => {
    amount = value;
    for (const chip of amounts.children)
      chip.setAttribute("aria-pressed", !own && Number(chip.dataset.amount) === value);
    if (!own) other.input.value = "";
    say("");
  };
  amounts.append(
    ...suggestions(missing, currency).map((value) =>
      h(
        "button.chip",
        {
          type: "button",
          dataset: { amount: value },
          "aria-pressed": String(value === amount),
          onclick: () => choose(value),
        },
        money(value, currency),
      ),
    ),
  );
  other.input.addEventListener("input", () => choose(parseMoney(other.input.value, currency), true));

  const cards = h("div.cards");
  replace(node, h("p.muted", t("fund.amount")), amounts, other, message, cards);
  serviceConfig()
    .then((config) => {
      if (config.provider === "stripe") return stripeForm(cards, config.stripe_publishable_key, pay);
      sandboxCards(cards, pay);
    })
    .catch((problem) => say(problem.text ?? String(problem)));
  return node;
}

function sandboxCards(place, pay) {
  replace(
    place,
    h("p.notice", icon("card", 20), h("span", t("fund.sandbox"))),
    SANDBOX_CARDS.map((token, index) => {
      const button = h(
        "button.bank-card",
        {
          type: "button",
          class: index ? "" : "first",
          dataset: { token },
          onclick: () => whileBusy(button, () => pay(token)),
        },
        h("span.bank-card-name", t(`card.${token}`)),
        h("span.bank-card-note", t(`card.${token}.note`)),
        icon("arrow", 20),
      );
      return button;
    }),
  );
}

/** Stripe's element: its script is the only foreign one, and is loaded here only. */
async function stripeForm(place, key, pay) {
  if (!key) return replace(place, h("p.problem", t("fund.stripe_key")));
  if (!globalThis.Stripe) {
    await new Promise((resolve, reject) =>
      document.head.append(
        h("script", { src: STRIPE, onload: resolve, onerror: () => reject(new Problem("network")) }),
      ),
    );
  }
  const stripe = globalThis.Stripe(key, { locale: language });
  const card = stripe.elements().create("card");
  const mount = h("div.stripe-card");
  // The card's token is kept while it is not known whether it was charged: a new one would be charged again.
  let method = null;
  const node = form([mount], t("fund.pay"), async () => {
    if (!method) {
      const { paymentMethod, error } = await stripe.createPaymentMethod({ type: "card", card });
      if (error) return node.fail(error.message);
      method = paymentMethod.id;
    }
    if (!(await pay(method))) method = null;
  });
  replace(place, node);
  card.mount(mount);
}

/** The balance as a pill that follows the wallet. */
export function balancePill(currency, signal) {
  const value = h("strong");
  const node = h("a.balance", { href: "#/wallet" }, icon("wallet", 20), h("span.sr", t("wallet.balance")), value);
  balance.watch((now) => (value.textContent = now === null ? "…" : money(now, currency)), signal);
  return node;
}
