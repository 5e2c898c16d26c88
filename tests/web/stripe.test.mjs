// Paying with Stripe's card element. Neither Stripe's script nor its API can be reached here: stand-ins take their places,
// which have only what Stripe documents. So this shows what the page calls, when it loads the script, and that its policy
// lets it; not that Stripe's own script works under this policy.

import assert from "node:assert/strict";
import http from "node:http";
import { after, before, test } from "node:test";
import { MINI, World } from "./world.mjs";

const SCRIPT = "https://js.stripe.com/v3/";

/** docs.stripe.com/js: Stripe(key, options), elements(), create("card"), mount(element), createPaymentMethod(options). */
const STAND_IN = `
  globalThis.stripeCalls = [];
  const told = (name, ...values) => stripeCalls.push([name, ...values]);
  globalThis.Stripe = (key, options) => {
    told("Stripe", key, options);
    let made;
    return {
      elements: (...values) => {
        told("elements", ...values);
        return {
          create: (type) => {
            told("create", type);
            return (made = { mount: (place) => {
              told("mount", place.isConnected);
              place.append(Object.assign(document.createElement("input"), { ariaLabel: "Card number", className: "card" }));
            } });
          },
        };
      },
      createPaymentMethod: async ({ type, card }) => {
        told("createPaymentMethod", type, card === made);
        const number = document.querySelector("input.card").value;
        if (!number) return { error: { message: "Your card number is incomplete." } };
        return { paymentMethod: { id: "pm_" + number } };
      },
    };
  };
`;

/** The part of Stripe's API that a charge needs. */
function api() {
  const server = http.createServer(async (request, response) => {
    let text = "";
    for await (const part of request) text += part;
    const form = new URLSearchParams(text);
    const answer = (status, body) => {
      response.writeHead(status, { "Content-Type": "application/json" });
      response.end(JSON.stringify(body));
    };
    if (request.method === "GET") return answer(200, { data: [], has_more: false });
    if (form.get("payment_method") === "pm_expired")
      return answer(402, { error: { type: "card_error", code: "expired_card" } });
    const amount = Number(form.get("amount"));
    const metadata = { payment: form.get("metadata[payment]"), begun: form.get("metadata[begun]") };
    answer(200, { id: "pi_1", status: "succeeded", amount, amount_received: amount, currency: "rub", livemode: false, metadata });
  });
  return new Promise((done) => server.listen(0, "127.0.0.1", () => done(server)));
}

let world, stripe;
before(async () => {
  stripe = await api();
  world = await World.start({
    ...MINI,
    LOTTERY__PAYMENTS__PROVIDER: "stripe",
    LOTTERY__PAYMENTS__STRIPE_KEY: "sk_test_1",
    LOTTERY__PAYMENTS__STRIPE_PUBLISHABLE_KEY: "pk_test_1",
    LOTTERY__PAYMENTS__WEBHOOK_SECRET: "a secret of the endpoint at Stripe",
    LOTTERY__PAYMENTS__STRIPE_URL: `http://127.0.0.1:${stripe.address().port}`,
  });
});
after(async () => {
  await world?.stop();
  stripe?.close();
});

test("Stripe's script is loaded where a card is asked for, and the card is charged", async () => {
  await world.openDraw({ lottery: "mini" });
  await world.player("ann");
  const tab = await world.visit("/", { language: "ru" });
  tab.expected.push(`a request to ${SCRIPT}`);
  let loaded = 0;
  await tab.page.setRequestInterception(true);
  tab.page.on("request", (request) => {
    if (request.url() !== SCRIPT) return request.continue();
    loaded++;
    request.respond({ contentType: "text/javascript", body: STAND_IN });
  });
  await tab.withSession("ann");
  await tab.page.evaluate(() => (location.hash = "#/wallet"));
  await tab.see("Операций пока нет");
  assert.equal(loaded, 0, "not before it is needed");
  await tab.click("button", "Пополнить");
  await tab.page.waitForSelector("input.card");
  assert.equal(loaded, 1);
  const calls = () => tab.page.evaluate(() => globalThis.stripeCalls.splice(0));
  assert.deepEqual(await calls(), [
    ["Stripe", "pk_test_1", { locale: "ru" }],
    ["elements"],
    ["create", "card"],
    ["mount", true],
  ]);
  // What Stripe says is shown as it is: in the language that the page has asked for.
  await tab.click("button", "Оплатить картой");
  await tab.see("Your card number is incomplete.");
  await tab.page.type("input.card", "expired");
  await tab.click("button", "Оплатить картой");
  await tab.see("Срок карты истёк");
  await tab.page.$eval("input.card", (it) => (it.value = "visa"));
  await tab.click("button", "Оплатить картой");
  await tab.see("Кошелёк пополнен");
  assert.deepEqual(await calls(), Array(3).fill(["createPaymentMethod", "card", true]));
  assert.equal(await world.balanceOf("ann"), 50_000);
  await tab.close();

  // The pages for admins and verifiers know nothing of it.
  for (const address of ["/admin", "/verify"]) {
    const other = await world.visit(address);
    await other.settled();
    await other.close();
  }
});
