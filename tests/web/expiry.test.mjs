// Access tokens that expire while the page is open, and are renewed without the player seeing it.

import { after, before, test } from "node:test";
import { MINI, World } from "./world.mjs";

const LIFETIME = 3;

let world;
before(async () => (world = await World.start({ ...MINI, LOTTERY__AUTH__ACCESS_TOKEN: `${LIFETIME}s` })));
after(() => world?.stop());

test("an access token that expires is renewed unseen", async () => {
  await world.player("ann", 100_000);
  const tab = await world.visit("/");
  await tab.enter("ann");
  const expired = new Promise((done) => setTimeout(done, (LIFETIME + 1) * 1000));
  await expired;
  await tab.page.evaluate(() => (location.hash = "#/wallet"));
  await tab.see("Card deposit");
  await tab.close();
});
