// The page that verifies must find what was altered, and say yes only to what it has computed itself.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { MINI, World } from "./world.mjs";

let world, draw, ann, order;
before(async () => {
  world = await World.start(MINI);
  draw = await world.openDraw({ lottery: "mini" });
  ann = await world.player("ann", 100_000);
  const lines = [{ numbers: [1, 2] }, { numbers: [3, 4] }];
  order = await world.api("POST", `/draws/${draw.id}/tickets`, { tickets: lines, payment: "wallet" }, ann);
  await world.conduct(draw.id);
});
after(() => world?.stop());

const HOLDS = "Everything was computed here, and it holds";
const WRONG = "This does not hold";

/** The transcript with another text of one of its entries. */
const withEntry = (pick, change) => (transcript) => {
  const texts = transcript.entries.map((one) => Buffer.from(one.entry, "base64").toString());
  const at = texts.findIndex(pick);
  assert.ok(at >= 0, "there is such an entry");
  const changed = change(texts[at]);
  assert.notEqual(changed, texts[at]);
  transcript.entries[at].entry = Buffer.from(changed).toString("base64");
};

test("an honest draw holds, step by step, and so does its transcript as a file", async () => {
  const tab = await world.visit(`/verify/${draw.id}`);
  await tab.see(HOLDS);
  assert.deepEqual(await tab.wrongSteps(), []);
  await tab.open("/verify");
  const transcript = await world.api("GET", `/draws/${draw.id}/proof`, undefined, null);
  await tab.choose("#receipt-file", "transcript.json", JSON.stringify(transcript));
  await tab.see(HOLDS);
  await tab.close();
});

const completed = (text) => text.includes("draw_completed");
const announced = (text) => text.includes("draw_announced");
for (const [what, change] of [
  ["other winning numbers", withEntry(completed, (text) => text.replace(/"winning_numbers":\[(\d+),(\d+)\]/, (_, a, b) => (a === "1" && b === "2" ? '"winning_numbers":[1,3]' : '"winning_numbers":[1,2]')))],
  ["another commitment", withEntry(announced, (text) => text.replace(/"commitment":"(.)/, (_, c) => `"commitment":"${c === "0" ? "1" : "0"}`))],
  ["a proof of another entry", (transcript) => {
    const [first, second] = transcript.entries;
    [first.proof, second.proof] = [second.proof, first.proof];
  }],
  ["an entry that is missing", (transcript) => {
    transcript.entries.splice(1, 1);
  }],
  ["a signature with another byte", (transcript) => {
    for (const one of transcript.entries) {
      one.proof = one.proof.replace(/^(— \S+ \S{20})(.)/m, (_, before, c) => before + (c === "A" ? "B" : "A"));
    }
  }],
]) {
  test(`${what}: found`, async () => {
    const transcript = await world.api("GET", `/draws/${draw.id}/proof`, undefined, null);
    change(transcript);
    const tab = await world.visit("/verify");
    await tab.choose("#receipt-file", "transcript.json", JSON.stringify(transcript));
    await tab.see(WRONG);
    assert.notDeepEqual(await tab.wrongSteps(), []);
    await tab.close();
  });
}

test("a cancelled draw shows why, and what it would have drawn", async () => {
  const other = await world.openDraw({ lottery: "mini" });
  await world.api("POST", `/admin/draws/${other.id}/close`);
  await world.api("POST", `/admin/draws/${other.id}/cancel`, { reason: "a flood in the hall" });
  const tab = await world.visit(`/verify/${other.id}`);
  await tab.see("This draw was cancelled after its list was sealed");
  await tab.see("a flood in the hall");
  await tab.see("It would have drawn");
  assert.equal(await tab.page.$$eval(".verify-numbers .ball", (balls) => balls.length), 2);
  assert.deepEqual(await tab.wrongSteps(), []);
  await tab.close();
});

test("a receipt holds; one with another salt or of another order does not", async () => {
  const receipt = JSON.stringify({ receipt: order.receipt, tickets: order.tickets });
  const tab = await world.visit("/verify");
  await tab.choose("#receipt-file", "receipt.json", receipt);
  await tab.see(HOLDS);
  assert.deepEqual(await tab.wrongSteps(), []);
  const flip = (text, at) => text.slice(0, at) + (text[at] === "A" ? "B" : "A") + text.slice(at + 1);
  const lines = order.receipt.proof.split("\n");
  // The first hash of the proof, or the data that it proves.
  const at = lines.findIndex((line) => /^[A-Za-z0-9+/]{43}=$/.test(line));
  lines[at] = flip(lines[at], 5);
  const altered = { ...order.receipt, proof: lines.join("\n") };
  await tab.choose("#receipt-file", "altered.json", JSON.stringify({ receipt: altered, tickets: order.tickets }));
  await tab.see(WRONG);
  await tab.choose("#receipt-file", "nonsense.json", "{}");
  await tab.see("neither a receipt nor the record of a draw");
  await tab.close();
});
