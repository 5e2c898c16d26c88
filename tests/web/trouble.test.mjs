// What a player sees when things go wrong: the network drops, the session ends, the service is slow, two tabs share a
// session.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { MINI, World, until } from "./world.mjs";

let world;
before(async () => (world = await World.start(MINI)));
after(() => world?.stop());
// A test that failed leaves the line as it was.
afterEach(() => {
  world.line.mend();
  world.line.slow(0);
});

const LOST = "Connection lost";
// What the browser itself writes into the console about requests that fail.
const NETWORK = ["net::ERR_", "Failed to load resource: net::"];

async function player(name, amount = 100_000) {
  await world.player(name, amount);
  const tab = await world.visit("/");
  await tab.enter(name);
  return tab;
}

test("the network drops and comes back: the page says so, recovers, and shows what was drawn meanwhile", async () => {
  const draw = await world.openDraw({ lottery: "mini" });
  const tab = await world.visit(`/#/draw/${draw.id}`);
  tab.expected.push(...NETWORK);
  await tab.see("Sale closes in");
  world.line.cut();
  await tab.see(LOST);
  await world.conduct(draw.id);
  await until("the draw is over", async () => (await world.api("GET", `/draws/${draw.id}`)).status === "completed");
  world.line.mend();
  const { winning_numbers: drawn } = await world.api("GET", `/draws/${draw.id}`);
  await tab.page.waitForSelector(`::-p-aria([name="Numbers ${drawn.join(", ")}"])`);
  await tab.seeNoMore(LOST);
  await tab.close();
});

test("an order whose answer was lost is sent again and paid once", async () => {
  const draw = await world.openDraw({ lottery: "mini" });
  const tab = await player("ann");
  tab.expected.push(...NETWORK);
  await tab.page.evaluate((id) => (location.hash = `#/play/${id}`), draw.id);
  await tab.click("button", "Add a quick pick");
  await tab.click("button", "Buy for ₽100");
  await tab.see("From your wallet");
  // The order arrives, and the line is cut before its answer.
  world.line.slow(600_000);
  await tab.click("button", "Pay ₽100");
  await until("the order is paid", async () => (await world.balanceOf("ann")) === 90_000);
  world.line.cut();
  world.line.slow(0);
  await tab.see("we do not know yet");
  world.line.mend();
  await tab.click("button", "Send again");
  await tab.see("Your ticket is bought");
  assert.equal(await world.balanceOf("ann"), 90_000, "paid once");
  await tab.close();
});

test("a session that was ended asks to log in again and keeps the basket", async () => {
  const draw = await world.openDraw({ lottery: "mini" });
  const tab = await player("bob");
  tab.expected.push("401");
  await tab.page.evaluate((id) => (location.hash = `#/play/${id}`), draw.id);
  await tab.click("button", "Add a quick pick");
  const token = await world.tokenOf("bob");
  const { items } = await world.api("GET", "/me/sessions", undefined, token);
  for (const { id } of items.filter((one) => !one.current)) await world.api("DELETE", `/me/sessions/${id}`, undefined, token);
  await tab.click("button", "Buy for ₽100");
  await tab.clickIfThere("button", "Pay ₽100");
  await tab.see("Please log in again");
  await tab.type("Password", "battery staple of ann");
  await tab.click("button", "Log in", '[type="submit"]');
  await tab.clickIfThere("button", "Pay ₽100");
  await tab.see("Your ticket is bought");
  await tab.close();
});

test("a ready-made ticket that somebody else buys first leaves the basket, and the rest is bought", async () => {
  const draw = await world.openDraw({ lottery: "mini", pool: 1 });
  const tab = await player("dan");
  tab.expected.push("409");
  await tab.page.evaluate((id) => (location.hash = `#/play/${id}`), draw.id);
  await tab.click("button", "Add a quick pick");
  await tab.click("tab", "Ready-made");
  await tab.clickBeginning("button", "Choose ");
  await tab.click("button", "Buy for ₽200");
  await tab.see("From your wallet");
  const order = { tickets: [{ from_pool: true }], payment: "wallet" };
  await world.api("POST", `/draws/${draw.id}/tickets`, order, await world.player("fay", 10_000));
  await tab.click("button", "Pay ₽200");
  await tab.see("One of the ready-made tickets was just sold");
  assert.equal(await world.balanceOf("dan"), 100_000, "nothing was taken");
  await tab.closeDialog();
  await tab.click("button", "Buy for ₽100");
  await tab.click("button", "Pay ₽100");
  await tab.see("Your ticket is bought");
  await tab.close();
});

test("a deposit whose answer was lost is sent again and charged once", async () => {
  const tab = await player("gil");
  tab.expected.push(...NETWORK);
  await tab.page.evaluate(() => (location.hash = "#/wallet"));
  await tab.click("button", "Add money");
  await tab.see("These are test cards");
  world.line.slow(600_000);
  await tab.clickBeginning("button", "Test card that pays");
  await until("the money is there", async () => (await world.balanceOf("gil")) === 150_000);
  world.line.cut();
  world.line.slow(0);
  await tab.see("Press the same card again");
  world.line.mend();
  await tab.clickBeginning("button", "Test card that pays");
  await tab.see("₽500 added to your wallet");
  assert.equal(await world.balanceOf("gil"), 150_000);
  await tab.close();
});

test("who logs out is logged out in every tab", async () => {
  const first = await player("hal");
  const second = await first.another("/#/account");
  await second.see("Your log-ins");
  await first.page.bringToFront();
  await first.click("button", "Log out");
  await first.see("Log in");
  await second.seeNoMore("Your log-ins");
  await first.close();
  await second.close();
});

test("two tabs that renew their session at the same time both stay logged in", async () => {
  const first = await player("cat");
  const second = await first.another("/#/account");
  await second.see("Your log-ins");
  // A reloaded tab has no access token, so both have to renew at once.
  for (let round = 0; round < 5; round++) {
    await Promise.all([first, second].map((tab) => tab.page.reload({ waitUntil: "load" })));
    await Promise.all([first, second].map((tab) => tab.see("Your log-ins")));
  }
  await first.close();
  await second.close();
});

test("a slow service: the page is there at once, and its data come", async () => {
  await world.openDraw({ lottery: "mini" });
  world.line.slow(1_500);
  const tab = await world.visit("/");
  await tab.click("button", "1");
  await tab.click("button", "2");
  await tab.click("button", "Add this ticket");
  await tab.see("Buy for ₽100");
  await tab.close();
});
