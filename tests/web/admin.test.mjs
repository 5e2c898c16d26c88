// A whole draw by an admin's clicks, the queue of withdrawals, and the users.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { MINI, World } from "./world.mjs";

let world;
before(async () => (world = await World.start(MINI)));
after(() => world?.stop());

async function admin() {
  const tab = await world.visit("/admin");
  await tab.logIn("boss");
  await tab.see("Sales now");
  return tab;
}

test("an admin makes a draw, fills its pool, opens, closes and conducts it", async () => {
  const tab = await admin();
  await tab.click("link", "Draws");
  await tab.click("button", "New draw");
  await tab.click("button", "New draw", '[type="submit"]');
  await tab.see("Next: the sale opens at its time");
  const { items } = await world.api("GET", "/draws?status=scheduled");
  assert.equal(items.length, 1);
  const { id } = items[0];

  await tab.click("button", "Add ready-made tickets");
  await tab.fill("How many", "7");
  await tab.click("button", "Make tickets");
  await tab.see("7 tickets made");
  await tab.closeDialog();
  await tab.step("Open the sale");
  await tab.see("Next: the sale closes at its time");
  const ann = await world.player("ann", 100_000);
  await world.api("POST", `/draws/${id}/tickets`, { tickets: [{ quick_pick: true }], payment: "wallet" }, ann);
  const open = await world.api("GET", `/draws/${id}`);
  assert.deepEqual([open.status, open.tickets_sold, open.tickets_available], ["open", 1, 7]);
  await tab.step("Close the sale");
  await tab.see("Next: the numbers are drawn at their time");
  await tab.step("Draw the numbers");
  await tab.see("every prize is paid");
  assert.equal((await world.api("GET", `/draws/${id}`)).status, "completed");

  // What was clicked is in the audit log.
  await tab.click("link", "Audit log");
  for (const line of ["Draw created", "Tickets made", "Sale opened", "Sale closed", "Numbers drawn"]) await tab.see(line);
  await tab.close();
});

test("an admin cancels a draw, and everybody is refunded", async () => {
  const draw = await world.openDraw({ lottery: "mini" });
  const bob = await world.player("bob", 10_000);
  await world.api("POST", `/draws/${draw.id}/tickets`, { tickets: [{ quick_pick: true }], payment: "wallet" }, bob);
  assert.equal(await world.balanceOf("bob"), 0);
  const tab = await admin();
  await tab.page.evaluate((id) => (location.hash = `#/draw/${id}`), draw.id);
  await tab.click("button", "Cancel the draw");
  await tab.type("Reason (everybody can read it)", "a broken drum");
  await tab.click("button", "Cancel the draw");
  await tab.see("everybody was refunded");
  assert.equal(await world.balanceOf("bob"), 10_000);
  await tab.close();
});

test("the dashboard shows sales as they happen", async () => {
  const draw = await world.openDraw({ lottery: "mini" });
  const tab = await admin();
  await tab.see("Healthy");
  const eve = await world.player("eve", 1_000_000);
  const lines = Array(20).fill({ quick_pick: true });
  await world.api("POST", `/draws/${draw.id}/tickets`, { tickets: lines, payment: "wallet" }, eve);
  await tab.see("20 tickets");
  await tab.close();
});

test("withdrawals wait in a queue and are approved", async () => {
  const cat = await world.player("cat", 50_000);
  const { id } = await world.api("POST", "/wallet/withdrawals", { amount: 30_000 }, cat);
  const tab = await admin();
  await tab.click("link", "Withdrawals");
  await tab.click("button", "Approve");
  await tab.click("button", "Approve", '[type="submit"]');
  await tab.see("₽300 approved");
  assert.equal((await world.api("GET", `/payments/${id}`, undefined, cat)).status, "paid");
  await tab.close();
});

test("an admin finds a user and blocks it; a player sees nothing of this", async () => {
  const token = await world.player("dan");
  const tab = await admin();
  await tab.click("link", "Users");
  await tab.fill("Search by name or email", "dan", "searchbox");
  await tab.click("link", "dan");
  await tab.click("button", "Block");
  await tab.click("button", "Block", '[type="submit"]');
  await tab.see("Blocked");
  await assert.rejects(world.api("GET", "/me", undefined, token), /account_blocked/);
  await tab.close();

  await world.player("fay");
  const other = await world.visit("/admin");
  await other.logIn("fay");
  await other.see("This account is no admin's");
  await other.close();
});
