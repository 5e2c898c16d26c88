// Every page by axe (accessibility) and Lighthouse, as players, admins and verifiers see it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import lighthouse from "lighthouse";
import { DESKTOP, PHONE, World } from "./world.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

let world, over;
before(async () => {
  world = await World.start();
  over = await world.openDraw();
  const ann = await world.player("ann", 1_000_000);
  await world.api("POST", `/draws/${over.id}/tickets`, { tickets: Array(3).fill({ quick_pick: true }), payment: "wallet" }, ann);
  await world.conduct(over.id);
  await world.openDraw();
  await world.openDraw({ lottery: "6of45" });
  await world.api("POST", "/wallet/withdrawals", { amount: 1000 }, ann);
});
after(() => world?.stop());

/** The findings of axe that keep somebody from using the page. */
async function findings(tab) {
  // Not by a script element: the page's policy forbids that.
  await tab.page.evaluate(AXE);
  const { violations } = await tab.page.evaluate(() => globalThis.axe.run({ resultTypes: ["violations"] }));
  const serious = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
  return serious.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html.slice(0, 200)).join(" | ")}`);
}

const PLAYER = ["#/", "#/tickets", "#/results", "#/wallet", "#/account", "#/draw/1"];
const ADMIN = ["#/", "#/draws", "#/draw/1", "#/users", "#/withdrawals", "#/charges", "#/finance", "#/exports", "#/audit"];

for (const [language, dark, viewport, what] of [
  ["en", false, PHONE, "English, light, a phone"],
  ["ru", true, DESKTOP, "Russian, dark, a desktop"],
]) {
  test(`axe has no serious finding: ${what}`, async () => {
    const found = {};
    const look = async (tab, name) => {
      await tab.settled();
      const here = await findings(tab);
      if (here.length) found[name] = here;
    };
    const options = { viewport, language, dark };
    const visitor = await world.visit("/", options);
    await look(visitor, "/ without a log-in");
    if (language === "en") {
      await visitor.click("button", "Add a quick pick");
      await visitor.click("button", viewport === PHONE ? "Buy" : "Buy for ₽100");
      await look(visitor, "the dialog that buys");
    }
    await visitor.close();
    for (const [address, routes, name] of [["/", PLAYER, "ann"], ["/admin", ADMIN, "boss"]]) {
      const tab = await world.visit(address, options);
      await tab.withSession(name);
      for (const route of routes) {
        await tab.page.evaluate((route) => (location.hash = route), route);
        await look(tab, `${address}${route}`);
      }
      await tab.close();
    }
    for (const address of ["/verify", `/verify/${over.id}`]) {
      const tab = await world.visit(address, options);
      await look(tab, address);
      await tab.close();
    }
    assert.deepEqual(found, {});
  });
}

// On a quiet machine; on a busy one the figure of one run says little, so the best of a few counts.
const LEAST = 95;
const TRIES = 3;

for (const address of ["/", "/admin", "/verify"]) {
  test(`Lighthouse gives ${address} at least ${LEAST} in each category, on a phone`, async () => {
    const port = Number(new URL(world.browser.wsEndpoint()).port);
    const best = {};
    for (let tried = 0; tried < TRIES; tried++) {
      const { lhr } = await lighthouse(world.direct + address, { port, output: "json", logLevel: "error" });
      for (const [name, { score }] of Object.entries(lhr.categories)) {
        best[name] = Math.max(best[name] ?? 0, Math.round(score * 100));
      }
      if (Object.values(best).every((score) => score >= LEAST)) break;
    }
    console.log(address, best);
    for (const [name, score] of Object.entries(best)) assert.ok(score >= LEAST, `${address}: ${name} ${score}`);
  });
}
